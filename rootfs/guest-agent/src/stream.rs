//! One stream as its service sees it: bytes and messages out (within the host's credit), bytes in (within ours), and an
//! eventfd that says when something changed, so that a service can poll it beside its own descriptors.

use crate::failure::{Failure, Outcome};
use crate::fields;
use crate::frames::{Kind, LANE_MESSAGE, MAX_PAYLOAD};
use crate::outbox::Outbox;
use crate::sys::{self, PollFd};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::io::AsRawFd;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Each direction starts with this much credit, and never has more.
pub const WINDOW: usize = 262_144;
/// Credit is returned in portions of at least this, so that small reads do not cost a frame each.
const RETURN_AT: usize = 32_768;

pub struct Stream {
    pub id: u32,
    session: u64,
    outbox: Arc<Outbox>,
    state: Mutex<State>,
    changed: File,
}

struct State {
    incoming: VecDeque<u8>,
    /// Credit of the host that is neither used nor waiting in `incoming`.
    receivable: usize,
    consumed: usize,
    sendable: usize,
    host_ended: bool,
    guest_ended: bool,
    gone: bool,
    /// The service is finished: what still comes is thrown away, and credited.
    deaf: bool,
}

impl State {
    /// Counts bytes as consumed; the credit that is due for it now.
    fn consume(&mut self, bytes: usize) -> usize {
        self.consumed += bytes;
        if self.consumed < RETURN_AT {
            return 0;
        }
        self.receivable += self.consumed;
        std::mem::take(&mut self.consumed)
    }
}

/// What `Stream::take` found.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    Bytes(usize),
    Nothing,
    End,
}

impl Stream {
    pub fn new(id: u32, session: u64, outbox: Arc<Outbox>) -> Outcome<Stream> {
        let state = State {
            incoming: VecDeque::new(),
            receivable: WINDOW,
            consumed: 0,
            sendable: WINDOW,
            host_ended: false,
            guest_ended: false,
            gone: false,
            deaf: false,
        };
        Ok(Stream {
            id,
            session,
            outbox,
            state: Mutex::new(state),
            changed: sys::eventfd()?,
        })
    }

    fn lock(&self) -> MutexGuard<State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn notify(&self) {
        // Fails only when the counter is full, and then it is readable already.
        let _ = (&self.changed).write(&1u64.to_ne_bytes());
    }

    // ---- called by the channel

    /// Bytes from the host; false when it overran the window.
    pub fn deliver(&self, bytes: &[u8]) -> bool {
        let mut state = self.lock();
        if state.host_ended {
            return true;
        }
        if bytes.len() > state.receivable {
            return false;
        }
        state.receivable -= bytes.len();
        let credit = if state.deaf {
            state.consume(bytes.len())
        } else {
            state.incoming.extend(bytes);
            0
        };
        drop(state);
        self.return_credit(credit);
        self.notify();
        true
    }

    /// Credit from the host; false when it is more than was ever used.
    pub fn grant(&self, bytes: usize) -> bool {
        let mut state = self.lock();
        state.sendable = state.sendable.saturating_add(bytes);
        let fair = state.sendable <= WINDOW;
        drop(state);
        self.notify();
        fair
    }

    pub fn host_ended(&self) {
        self.lock().host_ended = true;
        self.notify();
    }

    /// The stream ended without us: every wait of the service returns `Gone`.
    pub fn abandon(&self) {
        self.lock().gone = true;
        self.notify();
    }

    /// The service is finished and reads no more.
    pub fn stop_listening(&self) {
        let mut state = self.lock();
        state.deaf = true;
        let unread = state.incoming.len();
        state.incoming = VecDeque::new();
        let credit = state.consume(unread);
        drop(state);
        self.return_credit(credit);
    }

    // ---- called by the service

    fn frame(&self, kind: Kind, lane: u8, payload: &[u8]) -> Outcome<()> {
        self.outbox.send(self.session, self.id, kind, lane, payload)
    }

    /// Outside the lock: sending may wait, and the reader must be able to abandon the stream meanwhile.
    fn return_credit(&self, credit: usize) {
        if credit > 0 {
            // Gone is noticed at the next wait.
            let _ = self.frame(Kind::Window, 0, &(credit as u32).to_le_bytes());
        }
    }

    /// How many bytes may be sent now.
    pub fn credit(&self) -> usize {
        self.lock().sendable
    }

    /// Sends bytes on a lane, in frames as large as the credit allows, waiting for more.
    pub fn send(&self, lane: u8, bytes: &[u8]) -> Outcome<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let count = self.reserve(1, rest.len().min(MAX_PAYLOAD))?;
            self.frame(Kind::Data, lane, &rest[..count])?;
            rest = &rest[count..];
        }
        Ok(())
    }

    /// Sends one message of fields.
    pub fn message(&self, entries: &[(&str, &[u8])]) -> Outcome<()> {
        let payload = fields::encode(entries);
        self.reserve(payload.len(), payload.len())?;
        self.frame(Kind::Data, LANE_MESSAGE, &payload)
    }

    /// Takes between `least` and `most` bytes of credit.
    fn reserve(&self, least: usize, most: usize) -> Outcome<usize> {
        loop {
            {
                let mut state = self.lock();
                if state.gone {
                    return Err(Failure::Gone);
                }
                if state.sendable >= least {
                    let count = most.min(state.sendable);
                    state.sendable -= count;
                    return Ok(count);
                }
            }
            self.wait(&mut [], None)?;
        }
    }

    /// Says, once, that the service sends no more.
    pub fn end(&self) -> Outcome<()> {
        if std::mem::replace(&mut self.lock().guest_ended, true) {
            return Ok(());
        }
        self.frame(Kind::End, 0, &[])
    }

    /// Ends the stream both ways with a code.
    pub fn reset(&self, code: &str, detail: &str) -> Outcome<()> {
        let mut length = detail.len().min(512);
        while !detail.is_char_boundary(length) {
            length -= 1;
        }
        let payload = fields::encode(&[("code", code.as_bytes()), ("detail", detail[..length].as_bytes())]);
        self.frame(Kind::Reset, 0, &payload)
    }

    /// Waits until all frames so far were handed to the port.
    pub fn flush(&self) -> Outcome<()> {
        self.outbox.flush(self.session)
    }

    /// Takes bytes that have arrived, without waiting.
    pub fn take(&self, into: &mut [u8]) -> Taken {
        let mut state = self.lock();
        if state.incoming.is_empty() {
            return if state.host_ended { Taken::End } else { Taken::Nothing };
        }
        // Reading from a VecDeque<u8> cannot fail.
        let count = state.incoming.read(into).unwrap_or(0);
        if state.incoming.is_empty() {
            state.incoming = VecDeque::new();
        }
        let credit = state.consume(count);
        drop(state);
        self.return_credit(credit);
        Taken::Bytes(count)
    }

    /// Waits for bytes; 0 at the end of what the host sends.
    pub fn read(&self, into: &mut [u8]) -> Outcome<usize> {
        loop {
            if self.is_gone() {
                return Err(Failure::Gone);
            }
            match self.take(into) {
                Taken::Bytes(count) => return Ok(count),
                Taken::End => return Ok(0),
                Taken::Nothing => self.wait(&mut [], None)?,
            }
        }
    }

    /// For one thread that serves several streams: readable when something about this one changed. After the poll, `settle`.
    pub fn poll_fd(&self) -> PollFd {
        PollFd::new(self.changed.as_raw_fd(), sys::POLLIN)
    }

    /// What changed so far was noticed.
    pub fn settle(&self) {
        let _ = (&self.changed).read(&mut [0; 8]);
    }

    pub fn is_gone(&self) -> bool {
        self.lock().gone
    }

    /// Waits until something about the stream changed, one of `fds` is ready, or the time is over.
    /// Look again at whatever you wait for: it may return early.
    pub fn wait(&self, fds: &mut [PollFd], timeout: Option<Duration>) -> Outcome<()> {
        let mut all = Vec::with_capacity(fds.len() + 1);
        all.extend_from_slice(fds);
        all.push(self.poll_fd());
        sys::poll(&mut all, timeout.map(sys::poll_time))?;
        self.settle();
        for (fd, polled) in fds.iter_mut().zip(&all) {
            fd.revents = polled.revents;
        }
        if self.is_gone() {
            return Err(Failure::Gone);
        }
        Ok(())
    }

    /// Waits for a time, but not longer than the stream lives.
    pub fn pause(&self, time: Duration) -> Outcome<()> {
        let until = Instant::now() + time;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            self.wait(&mut [], Some(left))?;
        }
    }
}
