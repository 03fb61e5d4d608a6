//! The guest agent: everything that the host does in a room, it does through this program. One static binary, three roles:
//! `/init` of the initrd (initrd.rs), PID 1 of the room (init.rs), and the agent proper, which PID 1 forks (agent.rs).

mod agent;
mod channel;
mod claim;
mod connect;
mod exec;
mod failure;
mod fields;
mod files;
mod figures;
mod frames;
mod init;
mod initrd;
mod logs;
mod outbox;
mod port;
mod process;
mod ready;
mod room;
mod services;
mod stream;
mod supervisor;
mod sys;
mod template;
mod users;
mod write;

#[cfg(test)]
mod tests;

/// Told by `ready`, written into build.json.
pub const VERSION: &str = "1.0.0";

fn main() {
    let role = std::env::args().next().unwrap_or_default();
    match role.as_str() {
        "/init" => initrd::run(),
        "alcove-init" => init::run(),
        _ => println!("alcove guest agent {}, protocol {}", VERSION, frames::VERSION),
    }
}
