//! `exec`: a process of the room with its output, its input and its end. One thread polls everything there is to wait for:
//! both pipes, the process, the stream.

use crate::failure::{refuse, Failure, Outcome, INVALID};
use crate::fields::Fields;
use crate::frames::{LANE_BYTES, LANE_STDERR};
use crate::process::{spawn, Start};
use crate::room::Room;
use crate::stream::{Stream, Taken};
use crate::sys::{self, PollFd};
use crate::template::{owned, split_pair};
use crate::users;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::io::{AsRawFd, FromRawFd, IntoRawFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, ExitStatus, Stdio};
use std::time::{Duration, Instant};

const CHUNK: usize = 32 * 1024;
/// Between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(2);

pub fn serve(stream: &Stream, fields: &Fields, room: &Room) -> Outcome<()> {
    let known = ["svc", "arg", "env", "cwd", "user", "timeoutMs", "outputLimit", "stdin"];
    fields.only(&known)?;
    let child = start(fields, room)?;
    let mut job = Job::new(child, fields)?;
    let told = stream.message(&[("pid", job.child.id().to_string().as_bytes())]);
    let outcome = told.and_then(|()| job.pump(stream));
    if outcome.is_err() {
        job.end_group();
    }
    job.tell(stream, outcome?)
}

fn start(fields: &Fields, room: &Room) -> Outcome<Child> {
    let user = users::find(fields.text("user")?.unwrap_or("user"))?;
    let arguments: Vec<String> = fields.all("arg")?.iter().map(|word| word.to_string()).collect();
    let mut env = room.environment();
    for pair in fields.all("env")? {
        match split_pair(pair) {
            Some(pair) => env.push(owned(pair)),
            None => return refuse(INVALID, "env is not K=V"),
        }
    }
    spawn(Start {
        arguments: &arguments,
        user: &user,
        cwd: fields.text("cwd")?,
        env: &env,
        stdin: if fields.flag("stdin")? { Stdio::piped() } else { Stdio::null() },
        stdout: Stdio::piped(),
        stderr: Stdio::piped(),
    })
}

/// One of the two pipes that the process writes to.
struct Output {
    pipe: Option<File>,
    lane: u8,
    /// Once the process has ended: what it left in the pipe and must still be read.
    left: Option<usize>,
}

impl Output {
    fn new(pipe: Option<impl IntoRawFd>, lane: u8) -> Outcome<Output> {
        let pipe = pipe.map(|pipe| unsafe { File::from_raw_fd(pipe.into_raw_fd()) });
        if let Some(file) = &pipe {
            sys::set_nonblocking(file.as_raw_fd())?;
        }
        Ok(Output { pipe, lane, left: None })
    }

    fn close_at_end(&mut self) {
        if self.left == Some(0) {
            self.pipe = None;
        }
    }
}

struct Job {
    child: Child,
    ended: File,
    outputs: [Output; 2],
    stdin: Option<ChildStdin>,
    /// Input that the process has not taken yet.
    input: Vec<u8>,
    budget: u64,
    deadline: Option<Instant>,
    kill_at: Option<Instant>,
    status: Option<ExitStatus>,
    /// Output is thrown away: the limit was reached or nobody listens.
    mute: bool,
    timed_out: bool,
    truncated: bool,
}

impl Job {
    fn new(mut child: Child, fields: &Fields) -> Outcome<Job> {
        let timeout = fields.number("timeoutMs")?.filter(|value| *value > 0);
        let stdin = child.stdin.take();
        if let Some(pipe) = &stdin {
            sys::set_nonblocking(pipe.as_raw_fd())?;
        }
        Ok(Job {
            ended: sys::pidfd(child.id())?,
            outputs: [Output::new(child.stdout.take(), LANE_BYTES)?, Output::new(child.stderr.take(), LANE_STDERR)?],
            stdin,
            input: Vec::new(),
            budget: fields.number("outputLimit")?.unwrap_or(u64::MAX),
            deadline: timeout.and_then(|value| Instant::now().checked_add(Duration::from_millis(value))),
            kill_at: None,
            status: None,
            mute: false,
            timed_out: false,
            truncated: false,
            child,
        })
    }

    /// Until the process has ended and what it had written was read. `Gone` when the host left: then the whole process group
    /// is to be ended.
    fn pump(&mut self, stream: &Stream) -> Outcome<ExitStatus> {
        let mut chunk = vec![0; CHUNK];
        loop {
            if let (Some(status), true) = (self.status, self.drained()) {
                return Ok(status);
            }
            let credit = stream.credit();
            let mut fds = self.descriptors(credit > 0);
            stream.wait(&mut fds, self.patience())?;
            self.feed(stream, &mut chunk)?;
            for index in 0..2 {
                self.forward(stream, index, &mut chunk)?;
            }
            self.keep_time();
            if self.status.is_none() {
                self.look_for_end()?;
            }
        }
    }

    fn drained(&self) -> bool {
        self.outputs.iter().all(|output| output.pipe.is_none())
    }

    fn descriptors(&self, may_send: bool) -> Vec<PollFd> {
        let mut fds = Vec::with_capacity(4);
        let mut add = |fd, events| fds.push(PollFd { fd, events, revents: 0 });
        if may_send || self.mute {
            for output in &self.outputs {
                if let Some(pipe) = &output.pipe {
                    add(pipe.as_raw_fd(), sys::POLLIN);
                }
            }
        }
        if let (Some(pipe), false) = (&self.stdin, self.input.is_empty()) {
            add(pipe.as_raw_fd(), sys::POLLOUT);
        }
        if self.status.is_none() {
            add(self.ended.as_raw_fd(), sys::POLLIN);
        }
        fds
    }

    /// Time until something is due.
    fn patience(&self) -> Option<Duration> {
        if self.status.is_some() {
            return None;
        }
        let due = self.kill_at.or(self.deadline)?;
        Some(due.saturating_duration_since(Instant::now()))
    }

    /// What the host sent goes to the process's standard input.
    fn feed(&mut self, stream: &Stream, chunk: &mut [u8]) -> Outcome<()> {
        loop {
            if self.input.is_empty() {
                match stream.take(chunk) {
                    Taken::Nothing => return Ok(()),
                    Taken::End => {
                        self.stdin = None;
                        return Ok(());
                    }
                    Taken::Bytes(count) => self.input.extend_from_slice(&chunk[..count]),
                }
            }
            let written = match &mut self.stdin {
                // Closed by the process, or never opened: input goes nowhere.
                None => Ok(self.input.len()),
                Some(pipe) => pipe.write(&self.input),
            };
            match written {
                Ok(count) => drop(self.input.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(_) => self.stdin = None,
            }
        }
    }

    /// Sends what one pipe has, within the host's credit and the output limit.
    fn forward(&mut self, stream: &Stream, index: usize, chunk: &mut [u8]) -> Outcome<()> {
        let credit = if self.mute { CHUNK } else { stream.credit() };
        let output = &mut self.outputs[index];
        let most = CHUNK.min(credit).min(output.left.unwrap_or(CHUNK));
        let pipe = match &mut output.pipe {
            Some(pipe) if most > 0 => pipe,
            _ => return Ok(output.close_at_end()),
        };
        let count = match pipe.read(&mut chunk[..most]) {
            Ok(0) => {
                output.pipe = None;
                return Ok(());
            }
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if output.left.is_some() {
                    output.pipe = None;
                }
                return Ok(());
            }
            Err(error) => return Err(Failure::from(error)),
        };
        output.left = output.left.map(|left| left - count);
        let lane = output.lane;
        output.close_at_end();
        if self.mute {
            return Ok(());
        }
        let allowed = self.budget.min(count as u64) as usize;
        self.budget -= allowed as u64;
        stream.send(lane, &chunk[..allowed])?;
        if allowed < count {
            self.truncated = true;
            self.mute = true;
            self.end_gently();
        }
        Ok(())
    }

    fn keep_time(&mut self) {
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

    fn end_gently(&mut self) {
        if self.kill_at.is_none() {
            sys::kill_group(self.child.id(), sys::SIGTERM);
            self.kill_at = Some(Instant::now() + GRACE);
        }
    }

    /// After the end only what is in the pipes right now is read: children that the process left behind may keep them open
    /// for ever.
    fn look_for_end(&mut self) -> Outcome<()> {
        self.status = self.child.try_wait()?;
        if self.status.is_some() {
            if self.timed_out || self.truncated {
                sys::kill_group(self.child.id(), sys::SIGKILL);
            }
            for output in &mut self.outputs {
                let left = output.pipe.as_ref().map_or(0, |pipe| sys::readable_bytes(pipe.as_raw_fd()));
                output.left = Some(left);
                output.close_at_end();
            }
        }
        Ok(())
    }

    /// The host is gone: SIGTERM, two seconds, SIGKILL.
    fn end_group(&mut self) {
        self.outputs[0].pipe = None;
        self.outputs[1].pipe = None;
        self.stdin = None;
        if self.status.is_some() {
            return;
        }
        let group = self.child.id();
        sys::kill_group(group, sys::SIGTERM);
        let mut fds = [PollFd {
            fd: self.ended.as_raw_fd(),
            events: sys::POLLIN,
            revents: 0,
        }];
        let _ = sys::poll(&mut fds, Some(GRACE.as_millis() as u64));
        sys::kill_group(group, sys::SIGKILL);
        let _ = self.child.wait();
    }

    fn tell(&self, stream: &Stream, status: ExitStatus) -> Outcome<()> {
        let number;
        let mut entries: Vec<(&str, &[u8])> = Vec::new();
        match (status.code(), status.signal()) {
            (Some(code), _) => {
                number = code.to_string();
                entries.push(("exit", number.as_bytes()));
            }
            (None, signal) => {
                number = signal.unwrap_or(0).to_string();
                entries.push(("signal", number.as_bytes()));
            }
        }
        if self.timed_out {
            entries.push(("timedOut", b"1"));
        }
        if self.truncated {
            entries.push(("truncated", b"1"));
        }
        stream.message(&entries)
    }
}
