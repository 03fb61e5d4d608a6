//! The agent proper: opens the port and serves it until the machine ends.

use crate::channel::Channel;
use crate::frames::Parser;
use crate::room::Room;
use crate::template::Template;
use crate::{port, supervisor, sys};
use std::fs;
use std::io::Read;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

const STACK_BYTES: usize = 64 * 1024;
/// A stream needs seven at most, a kept process six.
const MAX_OPEN_FILES: u64 = 8_192;
const READ_BYTES: usize = 32 * 1024;
/// While no host is connected; a reconnecting host waits at most this long.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// Does not return: an error that cannot be lived with ends the process, and with it the machine.
pub fn run() -> ! {
    if let Err(error) = serve() {
        eprintln!("guest-agent: {}", error);
    }
    std::process::exit(1)
}

fn serve() -> std::io::Result<()> {
    sys::keep_heap_small();
    sys::limit_open_files(MAX_OPEN_FILES)?;
    fs::write("/proc/self/oom_score_adj", "-1000")?;
    let room = Arc::new(Room::new(Template::load()?));
    let watched = room.clone();
    thread::Builder::new()
        .stack_size(STACK_BYTES)
        .spawn(move || supervisor::run(&watched))?;
    if room.template.clone_safe {
        room.supervisor.start();
    }
    let port = Arc::new(port::open()?);
    let channel = Arc::new(Channel::new(room));
    let outbox = channel.outbox.clone();
    let written = port.clone();
    thread::Builder::new()
        .stack_size(STACK_BYTES)
        .spawn(move || outbox.write_for_ever(&written))?;
    let mut parser = Parser::new();
    let mut bytes = vec![0; READ_BYTES];
    let mut connected = true;
    loop {
        // Zero bytes, or an error: the host's end of the port is closed.
        let count = (&*port).read(&mut bytes).unwrap_or(0);
        if count > 0 {
            connected = true;
            channel.receive(&mut parser, &bytes[..count]);
            continue;
        }
        if connected {
            connected = false;
            channel.disconnected(&mut parser);
        }
        thread::sleep(LOOK_AGAIN);
    }
}
