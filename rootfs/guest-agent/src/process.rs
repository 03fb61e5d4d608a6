//! Starting a process of the room as one of its users, in a session and process group of its own.

use crate::failure::{refusal, refuse, Failure, Outcome, DENIED, INVALID, NOT_FOUND};
use crate::sys;
use crate::users::User;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Processes and threads of one user. A fork bomb ends there and leaves the guest agent its own.
const MAX_PROCESSES: u64 = 2_048;

pub struct Start<'a> {
    pub arguments: &'a [String],
    pub user: &'a User,
    /// Absent: the user's home. Relative: below it.
    pub cwd: Option<&'a str>,
    pub env: &'a [(String, String)],
    pub stdin: Stdio,
    pub stdout: Stdio,
    pub stderr: Stdio,
    /// Standard input is a terminal, and is to be the controlling one.
    pub terminal: bool,
}

/// A path as services take it: relative ones start at the user's home.
pub fn resolve(user: &User, path: &str) -> PathBuf {
    Path::new(&user.home).join(path)
}

/// Starts it. `not_found` and `denied` speak of the program or of the working directory.
pub fn spawn(start: Start) -> Outcome<Child> {
    let program = match start.arguments.first() {
        Some(program) if !program.is_empty() => program,
        _ => return refuse(INVALID, "no program to start"),
    };
    let directory = resolve(start.user, start.cwd.unwrap_or(""));
    if !directory.is_dir() {
        return refuse(NOT_FOUND, format!("no directory {}", directory.display()));
    }
    let mut command = Command::new(program);
    command
        .args(&start.arguments[1..])
        .env_clear()
        .env("PATH", PATH)
        .env("HOME", &start.user.home)
        .env("USER", &start.user.name)
        .env("LOGNAME", &start.user.name)
        .env("SHELL", &start.user.shell)
        .env("LANG", "C.UTF-8")
        .envs(start.env.iter().map(|(key, value)| (key, value)))
        .stdin(start.stdin)
        .stdout(start.stdout)
        .stderr(start.stderr);
    let directory = sys::c_path(&directory)?;
    let (uid, gid, groups) = (start.user.uid, start.user.gid, start.user.groups.clone());
    unsafe {
        command.pre_exec(move || sys::become_user(uid, gid, &groups, &directory, MAX_PROCESSES));
        if start.terminal {
            command.pre_exec(sys::terminal::take_control);
        }
    }
    command.spawn().map_err(|error| explain(program, error))
}

fn explain(program: &str, error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::NotFound => refusal(NOT_FOUND, format!("no program {}", program)),
        io::ErrorKind::PermissionDenied => refusal(DENIED, format!("may not start {}", program)),
        _ => Failure::from(error),
    }
}
