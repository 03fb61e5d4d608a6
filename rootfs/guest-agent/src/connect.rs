//! `connect`: bytes both ways between the host and a port of the room's loopback.

use crate::failure::{refuse, Failure, Outcome, INVALID};
use crate::fields::Fields;
use crate::frames::LANE_BYTES;
use crate::stream::{Stream, Taken};
use crate::sys::{self, PollFd};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpStream};
use std::os::unix::io::AsRawFd;
use std::time::{Duration, Instant};

const CHUNK: usize = 32 * 1024;
const TRY_AGAIN: Duration = Duration::from_millis(5);
/// A program whose queue of connections is full answers nothing: a thread is not to wait for it.
const TAKEN_WITHIN: Duration = Duration::from_secs(5);
const LONGEST_WAIT_MS: u64 = 600_000;

pub fn serve(stream: &Stream, fields: &Fields) -> Outcome<()> {
    fields.only(&["svc", "port", "waitMs", "hello"])?;
    let port = match fields.number("port")? {
        Some(port @ 1..=65_535) => port as u16,
        _ => return refuse(INVALID, "port is missing or wrong"),
    };
    let wait_ms = fields.number("waitMs")?.unwrap_or(0).min(LONGEST_WAIT_MS);
    let hello = fields.flag("hello")?;
    let socket = open(stream, port, Duration::from_millis(wait_ms))?;
    if hello {
        stream.message(&[])?;
    }
    carry(stream, socket)
}

/// Bytes both ways, until both directions have ended.
pub fn carry(stream: &Stream, socket: TcpStream) -> Outcome<()> {
    socket.set_nodelay(true)?;
    socket.set_nonblocking(true)?;
    let mut pump = Pump {
        socket,
        pending: Vec::new(),
        host_ended: false,
        room_ended: false,
    };
    pump.run(stream)
}

fn open(stream: &Stream, port: u16, patience: Duration) -> Outcome<TcpStream> {
    let since = Instant::now();
    loop {
        match TcpStream::connect_timeout(&SocketAddrV4::new(Ipv4Addr::LOCALHOST, port).into(), TAKEN_WITHIN) {
            Ok(socket) => return Ok(socket),
            Err(error) if error.kind() == ErrorKind::ConnectionRefused && since.elapsed() < patience => {
                stream.pause(TRY_AGAIN)?;
            }
            Err(error) => return Err(Failure::from(error)),
        }
    }
}

struct Pump {
    socket: TcpStream,
    /// Bytes of the host that the socket has not taken yet.
    pending: Vec<u8>,
    host_ended: bool,
    room_ended: bool,
}

impl Pump {
    /// Until both directions have ended.
    fn run(&mut self, stream: &Stream) -> Outcome<()> {
        let mut chunk = vec![0; CHUNK];
        loop {
            self.to_room(stream, &mut chunk)?;
            self.to_host(stream, &mut chunk)?;
            if self.room_ended && self.host_ended {
                return Ok(());
            }
            let mut events = 0;
            if !self.room_ended && stream.credit() > 0 {
                events |= sys::POLLIN;
            }
            if !self.pending.is_empty() {
                events |= sys::POLLOUT;
            }
            let mut fds = [
                // A negative descriptor is passed over: without it a peer's hang-up would wake us for ever.
                PollFd::new(if events == 0 { -1 } else { self.socket.as_raw_fd() }, events),
            ];
            stream.wait(&mut fds, None)?;
        }
    }

    fn to_room(&mut self, stream: &Stream, chunk: &mut [u8]) -> Outcome<()> {
        loop {
            if self.pending.is_empty() {
                match stream.take(chunk) {
                    Taken::Nothing => return Ok(()),
                    Taken::End => {
                        if !self.host_ended {
                            self.host_ended = true;
                            // Fails when the room has closed already.
                            let _ = self.socket.shutdown(Shutdown::Write);
                        }
                        return Ok(());
                    }
                    Taken::Bytes(count) => self.pending.extend_from_slice(&chunk[..count]),
                }
            }
            match self.socket.write(&self.pending) {
                Ok(count) => drop(self.pending.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(_) if self.room_ended => {
                    // The room has closed both ways: the rest is of no use to anybody.
                    self.host_ended = true;
                    return Ok(());
                }
                Err(error) => return Err(Failure::from(error)),
            }
        }
    }

    fn to_host(&mut self, stream: &Stream, chunk: &mut [u8]) -> Outcome<()> {
        while !self.room_ended {
            let most = chunk.len().min(stream.credit());
            if most == 0 {
                return Ok(());
            }
            match self.socket.read(&mut chunk[..most]) {
                Ok(0) => {
                    self.room_ended = true;
                    stream.end()?;
                }
                Ok(count) => stream.send(LANE_BYTES, &chunk[..count])?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(Failure::from(error)),
            }
        }
        Ok(())
    }
}
