//! The guest agent: everything that the host does in a room, it does through this program. One static binary, three roles:
//! `/init` of the initrd (initrd.rs), PID 1 of the room (init.rs), and the agent proper, which PID 1 forks (agent.rs).

mod agent;
mod channel;
mod claim;
mod connect;
mod course;
mod door;
mod entries;
mod exec;
mod failure;
mod fields;
mod files;
mod figures;
mod frames;
mod freezer;
mod init;
mod initrd;
mod kept;
mod logs;
mod metadata;
mod outbox;
mod output;
mod port;
mod process;
mod processes;
mod pump;
mod ready;
mod rights;
mod room;
mod services;
mod stream;
mod supervisor;
mod sys;
mod template;
mod tsc;
mod users;
mod watch;
mod write;

#[cfg(test)]
mod tests;

/// Told by `ready`, written into build.json.
pub const VERSION: &str = "1.0.0";

fn main() {
    let words: Vec<String> = std::env::args().collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["/init", ..] => initrd::run(),
        ["alcove-init", ..] => init::run(),
        // On the host: the figure for the boot parameter tsc_early_khz.
        [_, "tsc-khz"] => println!("{}", tsc::kilohertz()),
        _ => println!("alcove guest agent {}, protocol {}", VERSION, frames::VERSION),
    }
}
