//! What goes out: one bounded buffer for the whole channel. Streams append whole frames, one thread writes them to the port.
//! A new session empties it, and whoever still belongs to the old one is told that it is gone.

use crate::failure::{Failure, Outcome};
use crate::frames::{header, Kind, HEADER};
use std::fs::File;
use std::io::Write;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

/// Beyond this, data waits. One frame of the largest size may go over it.
const DATA_LIMIT: usize = 128 * 1024;
/// Beyond this, control frames wait too: only for a host that asks without reading the answers.
const CONTROL_LIMIT: usize = 256 * 1024;
/// After this long without anything to write, the buffers are given back.
const IDLE: Duration = Duration::from_millis(500);

pub struct Outbox {
    queue: Mutex<Queue>,
    changed: Condvar,
}

struct Queue {
    session: u64,
    bytes: Vec<u8>,
    writing: bool,
}

impl Outbox {
    pub fn new() -> Outbox {
        let queue = Queue {
            session: 0,
            bytes: Vec::new(),
            writing: false,
        };
        Outbox {
            queue: Mutex::new(queue),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<Queue> {
        self.queue.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Ends the session and begins the next with `first` bytes on the wire; its number.
    pub fn begin_session(&self, first: &[u8]) -> u64 {
        let mut queue = self.lock();
        queue.session += 1;
        queue.bytes.clear();
        queue.bytes.extend_from_slice(first);
        self.changed.notify_all();
        queue.session
    }

    /// Appends one frame, waiting for room. `Gone` when the session ended.
    pub fn send(&self, session: u64, stream: u32, kind: Kind, lane: u8, payload: &[u8]) -> Outcome<()> {
        let limit = if kind == Kind::Data { DATA_LIMIT } else { CONTROL_LIMIT };
        let mut queue = self.lock();
        while queue.session == session && queue.bytes.len() >= limit {
            queue = self.changed.wait(queue).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
        if queue.session != session {
            return Err(Failure::Gone);
        }
        queue.bytes.reserve(HEADER + payload.len());
        queue.bytes.extend_from_slice(&header(payload.len(), stream, kind, lane));
        queue.bytes.extend_from_slice(payload);
        self.changed.notify_all();
        Ok(())
    }

    /// Waits until everything was handed to the port.
    pub fn flush(&self, session: u64) -> Outcome<()> {
        let mut queue = self.lock();
        while queue.session == session && (queue.writing || !queue.bytes.is_empty()) {
            queue = self.changed.wait(queue).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
        if queue.session == session {
            Ok(())
        } else {
            Err(Failure::Gone)
        }
    }

    /// The writing thread. What was taken is written to its end even when the session ends meanwhile: the host looks for
    /// the next sync in whatever comes.
    pub fn write_for_ever(&self, mut port: &File) -> ! {
        let mut bytes = Vec::new();
        loop {
            self.take(&mut bytes);
            if port.write_all(&bytes).is_err() {
                // The port went away under us. The host will sync again once it is back.
                thread::sleep(Duration::from_millis(5));
            }
            bytes.clear();
            self.lock().writing = false;
            self.changed.notify_all();
        }
    }

    /// Waits for bytes and swaps them for the empty `into`, so that two buffers go round while there is traffic.
    fn take(&self, into: &mut Vec<u8>) {
        let mut queue = self.lock();
        while queue.bytes.is_empty() {
            queue = if queue.bytes.capacity() == 0 && into.capacity() == 0 {
                self.changed.wait(queue).unwrap_or_else(|poisoned| poisoned.into_inner())
            } else {
                let waited = self.changed.wait_timeout(queue, IDLE);
                let (mut queue, result) = waited.unwrap_or_else(|poisoned| poisoned.into_inner());
                if result.timed_out() && queue.bytes.is_empty() {
                    queue.bytes = Vec::new();
                    *into = Vec::new();
                }
                queue
            };
        }
        queue.writing = true;
        std::mem::swap(&mut queue.bytes, into);
        self.changed.notify_all();
    }
}
