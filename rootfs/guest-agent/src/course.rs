//! The course of one process: its timeout, the gentle end and the hard one, and how it ended.

use crate::failure::Outcome;
use crate::stream::Stream;
use crate::sys::{self, PollFd};
use std::fs::File;
use std::os::unix::io::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

/// Between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(2);

pub struct Course {
    pub child: Child,
    /// Becomes readable when the process ends.
    pub ended: File,
    pub status: Option<ExitStatus>,
    deadline: Option<Instant>,
    kill_at: Option<Instant>,
    timed_out: bool,
    /// It was ended for what it wrote.
    pub truncated: bool,
}

/// How a process ended, as it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Absent: a signal ended it.
    pub exit: Option<i32>,
    pub signal: i32,
    pub timed_out: bool,
    pub truncated: bool,
}

impl Course {
    /// The timeout counts from here; absent or 0 is none.
    pub fn new(child: Child, timeout_ms: Option<u64>) -> Outcome<Course> {
        let timeout = timeout_ms.filter(|value| *value > 0);
        Ok(Course {
            ended: sys::pidfd(child.id())?,
            child,
            status: None,
            deadline: timeout.and_then(|value| Instant::now().checked_add(Duration::from_millis(value))),
            kill_at: None,
            timed_out: false,
            truncated: false,
        })
    }

    /// Time until something is due.
    pub fn patience(&self) -> Option<Duration> {
        if self.status.is_some() {
            return None;
        }
        let due = self.kill_at.or(self.deadline)?;
        Some(due.saturating_duration_since(Instant::now()))
    }

    /// Does what is due.
    pub fn keep_time(&mut self) {
        let now = Instant::now();
        if self.status.is_some() {
            return;
        }
        if self.kill_at.map_or(false, |due| due <= now) {
            sys::kill_group(self.child.id(), sys::SIGKILL);
            self.kill_at = None;
            self.deadline = None;
        } else if self.deadline.map_or(false, |due| due <= now) {
            self.timed_out = true;
            self.deadline = None;
            self.end_gently();
        }
    }

    /// SIGTERM now, SIGKILL when its time has come.
    pub fn end_gently(&mut self) {
        if self.kill_at.is_none() {
            sys::kill_group(self.child.id(), sys::SIGTERM);
            self.kill_at = Some(Instant::now() + GRACE);
        }
    }

    /// Looks whether the process has ended; true once, when it just has.
    pub fn look_for_end(&mut self) -> Outcome<bool> {
        if self.status.is_some() {
            return Ok(false);
        }
        self.status = self.child.try_wait()?;
        if self.status.is_some() && (self.timed_out || self.truncated) {
            sys::kill_group(self.child.id(), sys::SIGKILL);
        }
        Ok(self.status.is_some())
    }

    /// Ends the whole group and waits for it: SIGTERM, two seconds, SIGKILL.
    pub fn end_group(&mut self) {
        if self.status.is_some() {
            return;
        }
        let group = self.child.id();
        sys::kill_group(group, sys::SIGTERM);
        let mut fds = [PollFd::new(self.ended.as_raw_fd(), sys::POLLIN)];
        let _ = sys::poll(&mut fds, Some(GRACE.as_millis() as u64));
        sys::kill_group(group, sys::SIGKILL);
        self.status = self.child.wait().ok();
    }

    /// How it ended; of one that cannot be known, as if SIGKILL had ended it.
    pub fn end(&self) -> End {
        End {
            exit: self.status.and_then(|status| status.code()),
            signal: self.status.map_or(sys::SIGKILL, |status| status.signal().unwrap_or(0)),
            timed_out: self.timed_out,
            truncated: self.truncated,
        }
    }
}

impl End {
    pub fn tell(&self, stream: &Stream) -> Outcome<()> {
        let (name, number) = match self.exit {
            Some(code) => ("exit", code.to_string()),
            None => ("signal", self.signal.to_string()),
        };
        let mut entries: Vec<(&str, &[u8])> = vec![(name, number.as_bytes())];
        if self.timed_out {
            entries.push(("timedOut", b"1"));
        }
        if self.truncated {
            entries.push(("truncated", b"1"));
        }
        stream.message(&entries)
    }
}
