//! `exec`: a process of the room with its output, its input and its end. One thread polls everything there is to wait for:
//! both pipes, the process, the stream. With `keep` the process outlives the stream (pump.rs).

use crate::course::Course;
use crate::failure::{refuse, Outcome, INVALID};
use crate::fields::Fields;
use crate::frames::{LANE_BYTES, LANE_STDERR};
use crate::output::Output;
use crate::process::{spawn, Start};
use crate::pump;
use crate::room::Room;
use crate::stream::{Stream, Taken};
use crate::sys::{self, PollFd};
use crate::template::{owned, split_pair};
use crate::users::{self, User};
use std::io::{ErrorKind, Write};
use std::os::unix::io::AsRawFd;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::Arc;

const CHUNK: usize = 32 * 1024;

pub fn serve(stream: &Arc<Stream>, fields: &Fields, room: &Room) -> Outcome<()> {
    let known = ["svc", "arg", "env", "cwd", "user", "timeoutMs", "outputLimit", "stdin", "keep", "tag", "pty"];
    fields.only(&known)?;
    let order = Order::parse(fields)?;
    if fields.flag("keep")? {
        return pump::serve(stream, fields, &order, room);
    }
    if fields.text("tag")?.is_some() || fields.text("pty")?.is_some() {
        return refuse(INVALID, "tag and pty are for kept processes");
    }
    let child = spawn(Start {
        arguments: &order.arguments,
        user: &order.user,
        cwd: order.cwd,
        env: &order.environment(room),
        stdin: order.stdin(),
        stdout: Stdio::piped(),
        stderr: Stdio::piped(),
        terminal: false,
    })?;
    let mut job = Job::new(child, &order)?;
    let told = stream.message(&[("pid", job.course.child.id().to_string().as_bytes())]);
    let outcome = told.and_then(|()| job.pump(stream));
    if outcome.is_err() {
        job.end_group();
    }
    outcome?;
    job.course.end().tell(stream)
}

/// What is to be started, of the fields of `exec`.
pub struct Order<'a> {
    pub arguments: Vec<String>,
    pub user: User,
    pub cwd: Option<&'a str>,
    /// The request's own.
    pub env: Vec<(String, String)>,
    pub wants_stdin: bool,
    pub timeout_ms: Option<u64>,
    output_limit: u64,
}

impl<'a> Order<'a> {
    fn parse(fields: &'a Fields) -> Outcome<Order<'a>> {
        let mut env = Vec::new();
        for pair in fields.all("env")? {
            match split_pair(pair) {
                Some(pair) => env.push(owned(pair)),
                None => return refuse(INVALID, "env is not K=V"),
            }
        }
        Ok(Order {
            arguments: fields.all("arg")?.iter().map(|word| word.to_string()).collect(),
            user: users::find(fields.text("user")?.unwrap_or("user"))?,
            cwd: fields.text("cwd")?,
            env,
            wants_stdin: fields.flag("stdin")?,
            timeout_ms: fields.number("timeoutMs")?,
            output_limit: fields.number("outputLimit")?.unwrap_or(u64::MAX),
        })
    }

    /// The template's, the room's, and over them the request's.
    pub fn environment(&self, room: &Room) -> Vec<(String, String)> {
        let mut env = room.environment();
        env.extend(self.env.iter().cloned());
        env
    }

    pub fn stdin(&self) -> Stdio {
        if self.wants_stdin {
            Stdio::piped()
        } else {
            Stdio::null()
        }
    }
}

struct Job {
    course: Course,
    outputs: [Output; 2],
    stdin: Option<ChildStdin>,
    /// Input that the process has not taken yet.
    input: Vec<u8>,
    budget: u64,
    /// Output is thrown away: the limit was reached.
    mute: bool,
}

impl Job {
    fn new(mut child: Child, order: &Order) -> Outcome<Job> {
        let stdin = child.stdin.take();
        if let Some(pipe) = &stdin {
            sys::set_nonblocking(pipe.as_raw_fd())?;
        }
        Ok(Job {
            outputs: [Output::of_pipe(child.stdout.take(), LANE_BYTES)?, Output::of_pipe(child.stderr.take(), LANE_STDERR)?],
            course: Course::new(child, order.timeout_ms)?,
            stdin,
            input: Vec::new(),
            budget: order.output_limit,
            mute: false,
        })
    }

    /// Until the process has ended and what it had written was read. `Gone` when the host left: then the whole process group
    /// is to be ended.
    fn pump(&mut self, stream: &Stream) -> Outcome<()> {
        let mut chunk = vec![0; CHUNK];
        loop {
            if self.course.status.is_some() && self.outputs.iter().all(Output::is_drained) {
                return Ok(());
            }
            let credit = stream.credit();
            let mut fds = self.descriptors(credit > 0);
            stream.wait(&mut fds, self.course.patience())?;
            self.feed(stream, &mut chunk)?;
            for index in 0..2 {
                self.forward(stream, index, &mut chunk)?;
            }
            self.course.keep_time();
            if self.course.look_for_end()? {
                self.outputs.iter_mut().for_each(Output::process_ended);
            }
        }
    }

    fn descriptors(&self, may_send: bool) -> Vec<PollFd> {
        let mut fds = Vec::with_capacity(4);
        if may_send || self.mute {
            fds.extend(self.outputs.iter().map(|output| PollFd::new(output.descriptor(), sys::POLLIN)));
        }
        if let (Some(pipe), false) = (&self.stdin, self.input.is_empty()) {
            fds.push(PollFd::new(pipe.as_raw_fd(), sys::POLLOUT));
        }
        if self.course.status.is_none() {
            fds.push(PollFd::new(self.course.ended.as_raw_fd(), sys::POLLIN));
        }
        fds
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
        let count = output.read(&mut chunk[..CHUNK.min(credit)])?;
        if self.mute || count == 0 {
            return Ok(());
        }
        let lane = output.lane;
        let allowed = self.budget.min(count as u64) as usize;
        self.budget -= allowed as u64;
        stream.send(lane, &chunk[..allowed])?;
        if allowed < count {
            self.course.truncated = true;
            self.mute = true;
            self.course.end_gently();
        }
        Ok(())
    }

    /// The host is gone.
    fn end_group(&mut self) {
        self.outputs.iter_mut().for_each(Output::close);
        self.stdin = None;
        self.course.end_group();
    }
}
