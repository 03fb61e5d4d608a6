//! Kept processes: those that outlive the stream that started them. The table of them, and what streams may do with one: listen,
//! give input, signal, resize. Its own thread (pump.rs) reads what it writes.

use crate::course::End;
use crate::failure::{refuse, Failure, Outcome, INVALID, LIMIT, NOT_FOUND};
use crate::stream::Stream;
use crate::sys::{self, PollFd};
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::unix::io::AsRawFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Of them run at a time.
pub const MAX_KEPT: usize = 256;
/// The ends of so many, for so long, are kept for those who come late.
const MAX_ENDS: usize = 64;
const END_KEPT: Duration = Duration::from_secs(30);
const ENDS_WITHIN_MS: u64 = 50;

/// The table.
pub struct Kept {
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    /// Of those started and those about to be.
    places: usize,
    started: u64,
    /// By the order of their start.
    running: BTreeMap<u64, Arc<Process>>,
    ended: VecDeque<Ended>,
}

struct Ended {
    pid: u32,
    tag: Option<String>,
    end: End,
    at: Instant,
}

/// How a request names a process.
pub enum Name<'a> {
    Pid(u64),
    Tag(&'a str),
}

pub enum Found {
    Running(Arc<Process>),
    Ended(u32, End),
}

/// The right to keep one more process; given back when it is dropped.
pub struct Place<'a>(&'a Kept);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.lock().places -= 1;
    }
}

impl Name<'_> {
    fn is(&self, pid: u32, tag: &Option<String>) -> bool {
        match self {
            Name::Pid(wanted) => *wanted == u64::from(pid),
            Name::Tag(wanted) => tag.as_deref() == Some(*wanted),
        }
    }
}

impl Kept {
    pub fn new() -> Kept {
        Kept {
            table: Mutex::new(Table::default()),
        }
    }

    fn lock(&self) -> MutexGuard<Table> {
        self.table.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub fn reserve(&self) -> Outcome<Place> {
        let mut table = self.lock();
        if table.places >= MAX_KEPT {
            return refuse(LIMIT, format!("{} processes are kept already", MAX_KEPT));
        }
        table.places += 1;
        Ok(Place(self))
    }

    /// From now on it can be found; its number in the table.
    pub fn enter(&self, process: Arc<Process>) -> u64 {
        let mut table = self.lock();
        table.started += 1;
        let number = table.started;
        table.running.insert(number, process);
        number
    }

    /// It has ended, and its output was read.
    pub fn leave(&self, number: u64, end: End) {
        let mut table = self.lock();
        let process = match table.running.remove(&number) {
            Some(process) => process,
            None => return,
        };
        table.forget_old();
        table.ended.push_back(Ended {
            pid: process.pid,
            tag: process.about.tag.clone(),
            end,
            at: Instant::now(),
        });
        while table.ended.len() > MAX_ENDS {
            table.ended.pop_front();
        }
        drop(table);
        process.finish(end);
    }

    /// The newest of that name that runs, else the one that ended last.
    pub fn find(&self, name: &Name) -> Outcome<Found> {
        let mut table = self.lock();
        table.forget_old();
        if let Some(process) = table.running.values().rev().find(|process| name.is(process.pid, &process.about.tag)) {
            return Ok(Found::Running(process.clone()));
        }
        match table.ended.iter().rev().find(|ended| name.is(ended.pid, &ended.tag)) {
            Some(ended) => Ok(Found::Ended(ended.pid, ended.end)),
            None => refuse(NOT_FOUND, "no such process"),
        }
    }

    /// As `find`, of those that run.
    pub fn find_running(&self, name: &Name) -> Outcome<Arc<Process>> {
        match self.find(name)? {
            Found::Running(process) => Ok(process),
            Found::Ended(..) => refuse(NOT_FOUND, "the process has ended"),
        }
    }

    pub fn all(&self) -> Vec<Arc<Process>> {
        self.lock().running.values().cloned().collect()
    }
}

impl Table {
    fn forget_old(&mut self) {
        while self.ended.front().map_or(false, |ended| ended.at.elapsed() > END_KEPT) {
            self.ended.pop_front();
        }
    }
}

/// What is told about a process.
pub struct About {
    pub tag: Option<String>,
    pub user: String,
    pub cwd: String,
    pub arguments: Vec<String>,
    /// The request's own.
    pub env: Vec<(String, String)>,
    pub terminal: bool,
}

pub struct Process {
    pub pid: u32,
    pub about: About,
    /// Becomes readable when the process ends.
    ended: File,
    /// Wakes the pump.
    called: File,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// Its id is its own: it may be signalled.
    running: bool,
    /// Standard input, or our end of the terminal.
    input: Option<Arc<File>>,
    joining: Vec<Arc<Stream>>,
    end: Option<End>,
}

impl Process {
    /// `ended` is its pidfd; `input` does not block.
    pub fn new(pid: u32, about: About, ended: File, input: Option<File>) -> Outcome<Process> {
        let state = State {
            running: true,
            input: input.map(Arc::new),
            joining: Vec::new(),
            end: None,
        };
        Ok(Process {
            pid,
            about,
            ended,
            called: sys::eventfd()?,
            state: Mutex::new(state),
            changed: Condvar::new(),
        })
    }

    fn lock(&self) -> MutexGuard<State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    // ---- called by the pump

    /// Readable when somebody wants to listen.
    pub fn call(&self) -> &File {
        &self.called
    }

    pub fn newcomers(&self) -> Vec<Arc<Stream>> {
        std::mem::take(&mut self.lock().joining)
    }

    #[cfg(test)]
    pub fn waiting(&self) -> usize {
        self.lock().joining.len()
    }

    /// A listener is gone: whoever waits for it looks.
    pub fn listener_left(&self) {
        let _state = self.lock();
        self.changed.notify_all();
    }

    /// Lets `look` give the process's id back to the kernel while nobody can signal it; true when it did.
    pub fn reap(&self, look: impl FnOnce() -> Outcome<bool>) -> Outcome<bool> {
        let mut state = self.lock();
        let ended = look()?;
        if ended {
            state.running = false;
            state.input = None;
        }
        Ok(ended)
    }

    fn finish(&self, end: End) {
        let mut state = self.lock();
        state.running = false;
        state.input = None;
        state.end = Some(end);
        self.changed.notify_all();
    }

    // ---- called by services

    /// Tells the process's id, and from then on all that it writes, to its end. The pump sends both, so that nothing is missed by who
    /// knows the id; the caller's thread only waits.
    pub fn listen(&self, stream: &Arc<Stream>) -> Outcome<End> {
        let mut state = self.lock();
        state.joining.push(stream.clone());
        // Fails only when the counter is full, and then it is readable already.
        let _ = (&self.called).write(&1u64.to_ne_bytes());
        while state.end.is_none() && !stream.is_gone() {
            state = self.changed.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
        let before = state.joining.len();
        state.joining.retain(|other| !Arc::ptr_eq(other, stream));
        let unheard = state.joining.len() < before;
        let end = match state.end {
            Some(end) if !stream.is_gone() => end,
            _ => return Err(Failure::Gone),
        };
        drop(state);
        if unheard {
            self.tell_id(stream)?;
        }
        Ok(end)
    }

    /// The first message to a listener.
    pub fn tell_id(&self, stream: &Stream) -> Outcome<()> {
        stream.message(&[("pid", self.pid.to_string().as_bytes())])
    }

    /// Its input; a refusal when it has none.
    pub fn input(&self) -> Outcome<Arc<File>> {
        let state = self.lock();
        match &state.input {
            Some(input) => Ok(input.clone()),
            None if state.running => refuse(INVALID, "the process takes no input"),
            None => refuse(NOT_FOUND, "the process has ended"),
        }
    }

    /// Returns once the process's pipe or terminal has taken all of it.
    pub fn give(&self, stream: &Stream, bytes: &[u8]) -> Outcome<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let input = self.input()?;
            match (&*input).write(rest) {
                Ok(count) => rest = &rest[count..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.wait_for_room(stream, &input)?,
                Err(error) if error.kind() == ErrorKind::Interrupted => (),
                Err(_) => return self.input_failed(),
            }
        }
        Ok(())
    }

    /// A process that ends closes its input a moment before its end is known.
    fn input_failed(&self) -> Outcome<()> {
        self.close_input();
        let mut fds = [PollFd::new(self.ended.as_raw_fd(), sys::POLLIN)];
        sys::poll(&mut fds, Some(ENDS_WITHIN_MS))?;
        match fds[0].revents {
            0 => refuse(INVALID, "the process takes no more input"),
            _ => refuse(NOT_FOUND, "the process has ended"),
        }
    }

    fn wait_for_room(&self, stream: &Stream, input: &File) -> Outcome<()> {
        let mut fds = [PollFd::new(input.as_raw_fd(), sys::POLLOUT), PollFd::new(self.ended.as_raw_fd(), sys::POLLIN)];
        stream.wait(&mut fds, None)?;
        if fds[1].revents != 0 {
            return refuse(NOT_FOUND, "the process has ended");
        }
        Ok(())
    }

    pub fn close_input(&self) {
        self.lock().input = None;
    }

    /// To its process group.
    pub fn signal(&self, number: i32) -> Outcome<()> {
        let state = self.lock();
        if !state.running {
            return refuse(NOT_FOUND, "the process has ended");
        }
        sys::kill_group(self.pid, number);
        Ok(())
    }

    pub fn resize(&self, columns: u16, rows: u16) -> Outcome<()> {
        if !self.about.terminal {
            return refuse(INVALID, "the process has no terminal");
        }
        Ok(sys::terminal::resize(&*self.input()?, columns, rows)?)
    }
}
