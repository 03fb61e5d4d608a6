//! One descriptor that a process writes to: a pipe, or the terminal's other end.

use crate::failure::{Failure, Outcome};
use crate::sys;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::io::{AsRawFd, FromRawFd, IntoRawFd};

/// What a terminal's other end answers once nobody has it open any more.
const EIO: i32 = 5;

pub struct Output {
    pub lane: u8,
    pipe: Option<File>,
    is_terminal: bool,
    /// Once the process has ended: what it left in the pipe and must still be read.
    left: Option<usize>,
}

impl Output {
    pub fn of_pipe(pipe: Option<impl IntoRawFd>, lane: u8) -> Outcome<Output> {
        let pipe = pipe.map(|pipe| unsafe { File::from_raw_fd(pipe.into_raw_fd()) });
        if let Some(file) = &pipe {
            sys::set_nonblocking(file.as_raw_fd())?;
        }
        Ok(Output {
            lane,
            pipe,
            is_terminal: false,
            left: None,
        })
    }

    /// `end` does not block.
    pub fn of_terminal(end: File, lane: u8) -> Output {
        Output {
            lane,
            pipe: Some(end),
            is_terminal: true,
            left: None,
        }
    }

    /// What to poll; -1 when there is nothing more to come.
    pub fn descriptor(&self) -> i32 {
        self.pipe.as_ref().map_or(-1, |pipe| pipe.as_raw_fd())
    }

    pub fn is_drained(&self) -> bool {
        self.pipe.is_none()
    }

    /// Only what it holds now is still of interest.
    pub fn is_ending(&self) -> bool {
        self.left.is_some() && self.pipe.is_some()
    }

    pub fn close(&mut self) {
        self.pipe = None;
    }

    /// The process has ended. Only what is there right now is read: children that it left behind may keep a pipe open for ever.
    /// A terminal was hung up by the kernel, and says by itself when it is empty.
    pub fn process_ended(&mut self) {
        let left = match &self.pipe {
            Some(_) if self.is_terminal => usize::MAX,
            Some(pipe) => sys::readable_bytes(pipe.as_raw_fd()),
            None => 0,
        };
        self.left = Some(left);
        self.close_at_end();
    }

    fn close_at_end(&mut self) {
        if self.left == Some(0) {
            self.pipe = None;
        }
    }

    /// Takes what is there, without waiting; 0 when that is nothing.
    pub fn read(&mut self, into: &mut [u8]) -> Outcome<usize> {
        let most = into.len().min(self.left.unwrap_or(usize::MAX));
        let pipe = match &mut self.pipe {
            Some(pipe) if most > 0 => pipe,
            _ => return Ok(0),
        };
        match pipe.read(&mut into[..most]) {
            Ok(0) => self.pipe = None,
            Ok(count) => {
                self.left = self.left.map(|left| left - count);
                self.close_at_end();
                return Ok(count);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if self.left.is_some() {
                    self.pipe = None;
                }
            }
            Err(error) if self.is_terminal && error.raw_os_error() == Some(EIO) => self.pipe = None,
            Err(error) => return Err(Failure::from(error)),
        }
        Ok(0)
    }
}
