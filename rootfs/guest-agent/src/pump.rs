//! `exec` with `keep`: starts the process, and reads what it writes for as long as it runs. The thread of the stream that started
//! it does this also when that stream is long gone. Everything goes to every listener, as fast as the slowest takes it; without
//! one it is thrown away, so that the process never waits for a listener.

use crate::course::{Course, End};
use crate::exec::Order;
use crate::failure::{refuse, Failure, Outcome, INVALID};
use crate::fields::Fields;
use crate::frames::{LANE_BYTES, LANE_STDERR};
use crate::kept::{About, Process};
use crate::output::Output;
use crate::process::{resolve, spawn, Start};
use crate::processes::terminal_size;
use crate::room::Room;
use crate::stream::Stream;
use crate::sys::{self, terminal, PollFd};
use std::fs::File;
use std::io::Read;
use std::os::unix::io::{AsRawFd, FromRawFd, IntoRawFd};
use std::process::{ChildStdin, Stdio};
use std::sync::Arc;

const CHUNK: usize = 32 * 1024;
const MAX_TAG: usize = 1_024;
/// The group of terminals, as in the mount of /dev/pts.
const TERMINALS: u32 = 5;

pub fn serve(stream: &Arc<Stream>, fields: &Fields, order: &Order, room: &Room) -> Outcome<()> {
    let tag = fields.text("tag")?;
    if tag.map_or(false, |text| text.len() > MAX_TAG) {
        return refuse(INVALID, "the tag is too long");
    }
    // What the host sends here is not input.
    stream.stop_listening();
    let _place = room.kept.reserve()?;
    let size = terminal_size(fields)?;
    let (mut pump, input) = match size {
        Some((columns, rows)) => start_in_terminal(order, room, columns, rows)?,
        None => start_with_pipes(order, room)?,
    };
    let about = About {
        tag: tag.map(str::to_string),
        user: order.user.name.clone(),
        cwd: resolve(&order.user, order.cwd.unwrap_or("")).to_string_lossy().into_owned(),
        arguments: order.arguments.clone(),
        env: order.env.clone(),
        terminal: size.is_some(),
    };
    let process = pump.process(about, input)?;
    let pid = process.pid;
    let number = room.kept.enter(process.clone());
    if stream.message(&[("pid", pid.to_string().as_bytes())]).is_ok() {
        pump.listeners.push(stream.clone());
    }
    if let Err(error) = pump.run(&process) {
        // Not to be expected. A process whose output nobody reads must not go on.
        eprintln!("guest-agent: process {}: {:?}", pid, error);
        let _ = process.reap(|| Ok(true));
        pump.course.end_group();
    }
    let end = pump.end();
    room.kept.leave(number, end);
    if stream.is_gone() {
        return Err(Failure::Gone);
    }
    end.tell(stream)
}

fn start_with_pipes(order: &Order, room: &Room) -> Outcome<(Pump, Option<File>)> {
    let mut child = spawn(Start {
        arguments: &order.arguments,
        user: &order.user,
        cwd: order.cwd,
        env: &order.environment(room),
        stdin: order.stdin(),
        stdout: Stdio::piped(),
        stderr: Stdio::piped(),
        terminal: false,
    })?;
    let input = child.stdin.take().map(|pipe: ChildStdin| unsafe { File::from_raw_fd(pipe.into_raw_fd()) });
    if let Some(pipe) = &input {
        sys::set_nonblocking(pipe.as_raw_fd())?;
    }
    let outputs = vec![Output::of_pipe(child.stdout.take(), LANE_BYTES)?, Output::of_pipe(child.stderr.take(), LANE_STDERR)?];
    let course = Course::new(child, order.timeout_ms)?;
    Ok((Pump::new(course, outputs), input))
}

fn start_in_terminal(order: &Order, room: &Room, columns: u16, rows: u16) -> Outcome<(Pump, Option<File>)> {
    let (ours, theirs) = terminal::open_pair()?;
    terminal::resize(&ours, columns, rows)?;
    sys::change_owner(&theirs, order.user.uid, TERMINALS)?;
    let child = spawn(Start {
        arguments: &order.arguments,
        user: &order.user,
        cwd: order.cwd,
        env: &order.environment(room),
        stdin: Stdio::from(theirs.try_clone()?),
        stdout: Stdio::from(theirs.try_clone()?),
        stderr: Stdio::from(theirs),
        terminal: true,
    })?;
    let outputs = vec![Output::of_terminal(ours.try_clone()?, LANE_BYTES)];
    let course = Course::new(child, order.timeout_ms)?;
    Ok((Pump::new(course, outputs), Some(ours)))
}

pub struct Pump {
    course: Course,
    outputs: Vec<Output>,
    listeners: Vec<Arc<Stream>>,
}

impl Pump {
    pub fn new(course: Course, outputs: Vec<Output>) -> Pump {
        Pump {
            course,
            outputs,
            listeners: Vec::new(),
        }
    }

    /// What the rest of the agent knows of its process. `input` does not block.
    pub fn process(&self, about: About, input: Option<File>) -> Outcome<Arc<Process>> {
        let ended = self.course.ended.try_clone()?;
        Ok(Arc::new(Process::new(self.course.child.id(), about, ended, input)?))
    }

    pub fn end(&self) -> End {
        self.course.end()
    }

    /// Until the process has ended and what it had written was read.
    pub fn run(&mut self, process: &Process) -> Outcome<()> {
        loop {
            self.drop_gone(process);
            if self.course.status.is_some() && self.outputs.iter().all(Output::is_drained) {
                return Ok(());
            }
            let ready = self.wait(process)?;
            // Before anything is read: it may be what a newcomer has asked for since.
            self.welcome(process);
            for index in 0..self.outputs.len() {
                if ready[index] || self.outputs[index].is_ending() {
                    self.forward(index)?;
                }
            }
            self.course.keep_time();
            if process.reap(|| self.course.look_for_end())? {
                self.outputs.iter_mut().for_each(Output::process_ended);
            }
        }
    }

    fn welcome(&mut self, process: &Process) {
        for stream in process.newcomers() {
            // One that is gone is dropped in the next round.
            let _ = process.tell_id(&stream);
            self.listeners.push(stream);
        }
    }

    fn drop_gone(&mut self, process: &Process) {
        let before = self.listeners.len();
        self.listeners.retain(|listener| !listener.is_gone());
        if self.listeners.len() < before {
            process.listener_left();
        }
    }

    /// How many bytes every listener would take now.
    fn allowance(&self) -> usize {
        self.listeners.iter().map(|listener| listener.credit()).min().unwrap_or(CHUNK).min(CHUNK)
    }

    /// Waits until something happens; which outputs have something.
    fn wait(&self, process: &Process) -> Outcome<Vec<bool>> {
        let may_read = self.allowance() > 0;
        let mut fds = Vec::with_capacity(4 + self.listeners.len());
        for output in &self.outputs {
            fds.push(PollFd::new(if may_read { output.descriptor() } else { -1 }, sys::POLLIN));
        }
        let ended = if self.course.status.is_some() { -1 } else { self.course.ended.as_raw_fd() };
        fds.push(PollFd::new(ended, sys::POLLIN));
        fds.push(PollFd::new(process.call().as_raw_fd(), sys::POLLIN));
        fds.extend(self.listeners.iter().map(|listener| listener.poll_fd()));
        // What has ended is read to its end without waiting: a terminal that a child holds open says nothing more.
        let ending = may_read && self.outputs.iter().any(Output::is_ending);
        let patience = if ending { Some(0) } else { self.course.patience().map(sys::poll_time) };
        sys::poll(&mut fds, patience)?;
        let _ = process.call().read(&mut [0; 8]);
        for listener in &self.listeners {
            listener.settle();
        }
        Ok(fds[..self.outputs.len()].iter().map(|fd| fd.revents != 0).collect())
    }

    /// Gives what one output has to every listener.
    fn forward(&mut self, index: usize) -> Outcome<()> {
        // Its memory is not held while the process is silent: it would be stored with every sleeping room.
        let mut chunk = vec![0; self.allowance()];
        let output = &mut self.outputs[index];
        let count = output.read(&mut chunk)?;
        if count > 0 {
            for listener in &self.listeners {
                // One that is gone is dropped in the next round.
                let _ = listener.send(output.lane, &chunk[..count]);
            }
        }
        Ok(())
    }
}
