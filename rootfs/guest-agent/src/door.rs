//! `door`: a loopback address through which programs of the room reach services of the platform. The guest agent only takes the
//! connection and hands its bytes to the host, one waiting stream of the host for each; what may be asked there, and for whom, the
//! host decides. The address is one for all doors: the name in the request tells them apart.

use crate::claim::replace;
use crate::connect::carry;
use crate::failure::{refuse, Failure, Outcome, BUSY, INVALID, LIMIT};
use crate::fields::Fields;
use crate::stream::Stream;
use crate::sys::redirect::redirect_connects;
use crate::sys::{self, PollFd};
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::unix::io::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// What the names of doors mean in the room.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 80);
const PORT: u16 = 80;
/// Where a connection to `PORT` really ends. Only root may listen on so low a port, so that a server of the room may have port 80 of
/// every address; who is root may take this one, and has then closed the doors of its own room.
const PORT_BEHIND: u16 = 79;
const HOSTS: &str = "/run/alcove/hosts";
const MAX_HOSTS_BYTES: u64 = 64 * 1024;
const MAX_NAMES: usize = 16;
const ADDRESS_IN_USE: i32 = 98;

static REDIRECTED: AtomicBool = AtomicBool::new(false);

/// Once, by PID 1, when the room's control group is there. Where the kernel cannot do it, doors listen on port 80 itself.
pub fn prepare(group: &str) {
    match File::open(group).and_then(|group| redirect_connects(&group, SocketAddrV4::new(ADDRESS, PORT), PORT_BEHIND)) {
        Ok(()) => REDIRECTED.store(true, Ordering::SeqCst),
        Err(error) => eprintln!("init: doors: {}", error),
    }
}

/// The listener, from the first time that the host asks for it, and the names that were told for it.
pub struct Doors {
    port: u16,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    listener: Option<Arc<TcpListener>>,
    names: Vec<String>,
}

impl Doors {
    pub fn new() -> Doors {
        Doors::at(if REDIRECTED.load(Ordering::SeqCst) { PORT_BEHIND } else { PORT })
    }

    pub fn at(port: u16) -> Doors {
        Doors {
            port,
            state: Mutex::new(State::default()),
        }
    }

    fn lock(&self) -> MutexGuard<State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// What `/etc/hosts` says of the doors that the host has told of so far.
    pub fn hosts_lines(&self) -> String {
        lines(&self.lock().names)
    }

    /// Listens, unless it does already. `tell` gets the lines for names that are new.
    pub fn open(&self, names: &[&str], tell: impl FnOnce(&str) -> io::Result<()>) -> Outcome<Arc<TcpListener>> {
        let mut state = self.lock();
        let new: Vec<String> = names.iter().filter(|name| !state.names.iter().any(|known| known == *name)).map(|name| name.to_string()).collect();
        if state.names.len() + new.len() > MAX_NAMES {
            return refuse(LIMIT, "too many names of doors");
        }
        let listener = match &state.listener {
            Some(listener) => listener.clone(),
            None => Arc::new(listen(self.port)?),
        };
        state.listener = Some(listener.clone());
        if !new.is_empty() {
            tell(&lines(&new))?;
            state.names.extend(new);
        }
        Ok(listener)
    }
}

fn lines(names: &[String]) -> String {
    names.iter().map(|name| format!("{} {}\n", ADDRESS, name)).collect()
}

fn listen(port: u16) -> Outcome<TcpListener> {
    match TcpListener::bind(SocketAddrV4::new(ADDRESS, port)) {
        Ok(listener) => {
            listener.set_nonblocking(true)?;
            Ok(listener)
        }
        Err(error) if error.raw_os_error() == Some(ADDRESS_IN_USE) => refuse(BUSY, "a program of the room has the port of the doors"),
        Err(error) => Err(Failure::from(error)),
    }
}

pub fn serve(stream: &Stream, fields: &Fields, doors: &Doors) -> Outcome<()> {
    fields.only(&["svc", "name"])?;
    let names = fields.all("name")?;
    if names.is_empty() || !names.iter().all(|name| is_host_name(name)) {
        return refuse(INVALID, "name is missing or wrong");
    }
    let listener = doors.open(&names, add_to_hosts)?;
    let socket = accept(stream, &listener)?;
    stream.message(&[])?;
    carry(stream, socket)
}

/// RFC 1123: what may stand in a line of hosts(5) and nothing else.
pub fn is_host_name(name: &str) -> bool {
    let good = |label: &str| {
        let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        !label.is_empty() && label.len() <= 63 && label.bytes().all(allowed) && !label.starts_with('-') && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(good)
}

/// Waits for a program's connection. Several streams may wait at one listener: who comes too late waits on.
pub fn accept(stream: &Stream, listener: &TcpListener) -> Outcome<TcpStream> {
    loop {
        match listener.accept() {
            Ok((socket, _)) => return Ok(socket),
            Err(error) if error.kind() == ErrorKind::WouldBlock => stream.wait(&mut [PollFd::new(listener.as_raw_fd(), sys::POLLIN)], None)?,
            // It has gone before it was taken.
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted) => (),
            Err(error) => return Err(Failure::from(error)),
        }
    }
}

/// A claim writes the file anew, with the names that are known by then.
fn add_to_hosts(lines: &str) -> io::Result<()> {
    let known = fs::metadata(HOSTS)?;
    if known.len() > MAX_HOSTS_BYTES {
        return Err(io::Error::new(ErrorKind::InvalidData, "/etc/hosts is too long"));
    }
    let text = fs::read_to_string(HOSTS)?;
    replace("hosts", 0o644, format!("{}\n{}", text.trim_end(), lines).as_bytes())
}
