//! Runs the template's agent: starts it, keeps its output, starts it again when it ends, each time a little later.

use crate::failure::{refuse, Outcome, INVALID, NOT_FOUND, TIMEOUT};
use crate::fields::Fields;
use crate::process::{spawn, Start};
use crate::room::Room;
use crate::stream::Stream;
use crate::sys::{self, PollFd};
use crate::users;
use std::fs::File;
use std::io::Read;
use std::os::unix::io::{AsRawFd, FromRawFd, IntoRawFd};
use std::process::{Child, Stdio};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

const CHUNK: usize = 8 * 1024;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// After running this long the agent counts as well again.
const WELL_AFTER: Duration = Duration::from_secs(60);
/// Between SIGTERM and SIGKILL of a restart.
const GRACE: Duration = Duration::from_secs(5);

pub struct Supervisor {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    wanted: bool,
    pid: Option<u32>,
    starts: u64,
    /// Somebody asked for a restart: do not pause before it.
    hurry: bool,
}

impl Supervisor {
    pub fn new() -> Supervisor {
        Supervisor {
            state: Mutex::new(State::default()),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// From now on the agent is to run.
    pub fn start(&self) {
        self.lock().wanted = true;
        self.changed.notify_all();
    }

    pub fn is_running(&self) -> bool {
        self.lock().pid.is_some()
    }

    fn wait_until_wanted(&self) {
        let mut state = self.lock();
        while !state.wanted {
            state = self.changed.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
        state.hurry = false;
    }

    fn started(&self, pid: u32) {
        let mut state = self.lock();
        state.pid = Some(pid);
        state.starts += 1;
        self.changed.notify_all();
    }

    fn ended(&self) {
        self.lock().pid = None;
        self.changed.notify_all();
    }

    fn pause(&self, time: Duration) {
        let until = Instant::now() + time;
        let mut state = self.lock();
        while !state.hurry {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = match self.changed.wait_timeout(state, left) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    /// Whether the process with that id is still the agent after `time`.
    fn outlives(&self, pid: u32, time: Duration) -> bool {
        let until = Instant::now() + time;
        let mut state = self.lock();
        while state.pid == Some(pid) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            state = match self.changed.wait_timeout(state, left) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        false
    }
}

/// The supervising thread.
pub fn run(room: &Room) -> ! {
    let supervisor = &room.supervisor;
    let mut pause = FIRST_PAUSE;
    loop {
        supervisor.wait_until_wanted();
        let since = Instant::now();
        let told = match run_once(room) {
            Ok(text) => text,
            Err(error) => format!("{:?}", error),
        };
        supervisor.ended();
        room.log.append(format!("[alcove] the agent has ended: {}\n", told).as_bytes());
        if since.elapsed() > WELL_AFTER {
            pause = FIRST_PAUSE;
        }
        supervisor.pause(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// From the start of the agent to its end; how it ended.
fn run_once(room: &Room) -> Outcome<String> {
    let template = &room.template;
    let user = users::find(&template.user)?;
    let (output, writer) = sys::pipe()?;
    let second = writer.try_clone()?;
    sys::set_nonblocking(output.as_raw_fd())?;
    let mut child = spawn(Start {
        arguments: &template.start,
        user: &user,
        cwd: template.cwd.as_deref(),
        env: &room.environment(),
        stdin: Stdio::null(),
        stdout: unsafe { Stdio::from_raw_fd(writer.into_raw_fd()) },
        stderr: unsafe { Stdio::from_raw_fd(second.into_raw_fd()) },
        terminal: false,
    })?;
    room.supervisor.started(child.id());
    let outcome = keep_output(room, &output, &mut child);
    // Whatever the agent left behind would hold its port.
    sys::kill_group(child.id(), sys::SIGKILL);
    outcome?;
    Ok(child.wait()?.to_string())
}

fn keep_output(room: &Room, mut output: &File, child: &mut Child) -> Outcome<()> {
    let ended = sys::pidfd(child.id())?;
    let mut chunk = vec![0; CHUNK];
    let mut open = true;
    loop {
        let mut fds = [
            PollFd::new(ended.as_raw_fd(), sys::POLLIN),
            PollFd::new(if open { output.as_raw_fd() } else { -1 }, sys::POLLIN),
        ];
        sys::poll(&mut fds, None)?;
        if fds[1].revents != 0 {
            match output.read(&mut chunk) {
                Ok(0) => open = false,
                Ok(count) => {
                    room.log.append(&chunk[..count]);
                    continue;
                }
                Err(_) => (),
            }
        }
        if fds[0].revents != 0 {
            return Ok(());
        }
    }
}

/// The service `agent`.
pub fn serve(stream: &Stream, fields: &Fields, room: &Room) -> Outcome<()> {
    fields.only(&["svc", "action"])?;
    if room.template.start.is_empty() {
        return refuse(NOT_FOUND, "the template has no agent");
    }
    match fields.needed("action")? {
        "status" => (),
        "restart" => restart(&room.supervisor)?,
        _ => return refuse(INVALID, "no such action"),
    }
    let (pid, starts) = {
        let state = room.supervisor.lock();
        (state.pid, state.starts)
    };
    let pid_text = pid.map_or(String::new(), |pid| pid.to_string());
    let restarts = starts.saturating_sub(1).to_string();
    let running: &[u8] = if pid.is_some() { b"1" } else { b"0" };
    stream.message(&[("running", running), ("pid", pid_text.as_bytes()), ("restarts", restarts.as_bytes())])
}

/// Ends the agent and waits until it runs again.
fn restart(supervisor: &Supervisor) -> Outcome<()> {
    let (pid, starts) = {
        let mut state = supervisor.lock();
        state.hurry = true;
        (state.pid, state.starts)
    };
    supervisor.changed.notify_all();
    if let Some(pid) = pid {
        sys::kill_group(pid, sys::SIGTERM);
        if supervisor.outlives(pid, GRACE) {
            sys::kill_group(pid, sys::SIGKILL);
        }
    }
    let until = Instant::now() + GRACE;
    while Instant::now() < until {
        if supervisor.lock().starts > starts {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    refuse(TIMEOUT, "the agent did not start again")
}
