//! The few system calls that the standard library does not offer, each behind a safe function that returns `io::Result`.
//! Numbers are those of Linux on x86-64 and AArch64 (`uapi/asm-generic`), names those of the man pages in section 2.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::raw::{c_char, c_int, c_long, c_uint, c_ulong, c_void};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::io::{AsRawFd, FromRawFd, RawFd};
use std::path::Path;
use std::time::Duration;

pub mod attributes;
pub mod inotify;
pub mod machine;
pub mod redirect;
pub mod terminal;

pub use self::machine::{
    chroot_here, disk_figures, end_machine, keep_heap_small, load_module, loopback_up, mount_at, reseed_kernel, set_hostname, set_wall_clock, sync,
    MS_BIND, MS_MOVE, MS_NOATIME, MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_RDONLY,
};

pub const POLLIN: i16 = 1;
pub const POLLOUT: i16 = 4;
pub const SIGKILL: c_int = 9;
pub const SIGTERM: c_int = 15;
pub const O_NONBLOCK: c_int = 0o4000;
pub const O_NOFOLLOW: c_int = 0o400000;
pub const ECHILD: i32 = 10;

const CLOEXEC: c_int = 0o2000000;
const FIONREAD: c_ulong = 0x541B;
const RLIMIT_NPROC: c_int = 6;
const RLIMIT_NOFILE: c_int = 7;
const SYS_PIDFD_OPEN: c_long = 434;
#[cfg(target_arch = "x86_64")]
const SYS_SETGROUPS: c_long = 116;
#[cfg(target_arch = "aarch64")]
const SYS_SETGROUPS: c_long = 159;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct PollFd {
    /// Passed over when it is negative.
    pub fd: c_int,
    pub events: i16,
    pub revents: i16,
}

impl PollFd {
    pub fn new(fd: RawFd, events: i16) -> PollFd {
        PollFd { fd, events, revents: 0 }
    }
}

#[repr(C)]
struct Limit {
    soft: u64,
    hard: u64,
}

extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
    fn ioctl(fd: c_int, request: c_ulong, ...) -> c_int;
    #[link_name = "poll"]
    fn c_poll(fds: *mut PollFd, count: c_ulong, timeout_ms: c_int) -> c_int;
    #[link_name = "eventfd"]
    fn c_eventfd(initial: c_uint, flags: c_int) -> c_int;
    fn pipe2(fds: *mut c_int, flags: c_int) -> c_int;
    fn fcntl(fd: c_int, command: c_int, ...) -> c_int;
    #[link_name = "fork"]
    fn c_fork() -> c_int;
    #[link_name = "kill"]
    fn c_kill(pid: c_int, signal: c_int) -> c_int;
    fn waitpid(pid: c_int, status: *mut c_int, options: c_int) -> c_int;
    #[link_name = "setsid"]
    fn c_setsid() -> c_int;
    fn setgid(gid: c_uint) -> c_int;
    fn setuid(uid: c_uint) -> c_int;
    fn setfsuid(uid: c_uint) -> c_int;
    fn setfsgid(gid: c_uint) -> c_int;
    fn setrlimit(resource: c_int, limit: *const Limit) -> c_int;
    fn umask(mask: c_uint) -> c_uint;
    #[link_name = "chdir"]
    fn c_chdir(path: *const c_char) -> c_int;
    fn fchown(fd: c_int, uid: c_uint, gid: c_uint) -> c_int;
    fn open(path: *const c_char, flags: c_int, ...) -> c_int;
    fn write(fd: c_int, bytes: *const c_void, count: usize) -> isize;
    fn close(fd: c_int) -> c_int;
}

fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

fn c_string(bytes: &[u8]) -> io::Result<CString> {
    CString::new(bytes).map_err(|_| io::Error::from_raw_os_error(22))
}

/// A path as the kernel takes it; an embedded zero byte is `EINVAL`.
pub fn c_path(path: &Path) -> io::Result<CString> {
    c_string(path.as_os_str().as_bytes())
}

/// poll(2); `None` waits for ever. Being interrupted counts as nothing having happened.
pub fn poll(fds: &mut [PollFd], timeout_ms: Option<u64>) -> io::Result<usize> {
    let timeout = match timeout_ms {
        None => -1,
        Some(value) => value.min(i32::MAX as u64) as c_int,
    };
    match check(unsafe { c_poll(fds.as_mut_ptr(), fds.len() as c_ulong, timeout) }) {
        Ok(count) => Ok(count as usize),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {
            for fd in fds.iter_mut() {
                fd.revents = 0;
            }
            Ok(0)
        }
        Err(error) => Err(error),
    }
}

/// A time for `poll`, rounded up: a wait that ends just before its time would be repeated in a busy loop.
pub fn poll_time(time: Duration) -> u64 {
    (time.as_micros() as u64 + 999) / 1000
}

/// A non-blocking eventfd(2), closed at exec.
pub fn eventfd() -> io::Result<File> {
    let fd = check(unsafe { c_eventfd(0, CLOEXEC | O_NONBLOCK) })?;
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// A pipe (read end, write end), closed at exec.
pub fn pipe() -> io::Result<(File, File)> {
    let mut fds = [0 as c_int; 2];
    check(unsafe { pipe2(fds.as_mut_ptr(), CLOEXEC) })?;
    Ok(unsafe { (File::from_raw_fd(fds[0]), File::from_raw_fd(fds[1])) })
}

/// Makes reads and writes of `fd` return `WouldBlock` instead of waiting.
pub fn set_nonblocking(fd: RawFd) -> io::Result<()> {
    const F_GETFL: c_int = 3;
    const F_SETFL: c_int = 4;
    let flags = check(unsafe { fcntl(fd, F_GETFL) })?;
    check(unsafe { fcntl(fd, F_SETFL, flags | O_NONBLOCK) }).map(|_| ())
}

/// Bytes that can be read from a pipe right now.
pub fn readable_bytes(fd: RawFd) -> usize {
    let mut count: c_int = 0;
    match check(unsafe { ioctl(fd, FIONREAD, &mut count as *mut c_int) }) {
        Ok(_) => count.max(0) as usize,
        Err(_) => 0,
    }
}

/// fork(2). Only for a process with a single thread.
pub fn fork() -> io::Result<u32> {
    check(unsafe { c_fork() }).map(|pid| pid as u32)
}

/// kill(2) of a whole process group.
pub fn kill_group(leader: u32, signal: c_int) {
    // Zero and one would mean "my own group" and "everybody".
    if leader > 1 {
        unsafe { c_kill(-(leader as c_int), signal) };
    }
}

/// Waits for any child, for ever; its process id.
pub fn wait_any() -> io::Result<u32> {
    let mut status: c_int = 0;
    check(unsafe { waitpid(-1, &mut status, 0) }).map(|pid| pid as u32)
}

/// A descriptor that becomes readable when the process ends: pidfd_open(2).
pub fn pidfd(pid: u32) -> io::Result<File> {
    let fd = check(unsafe { syscall(SYS_PIDFD_OPEN, pid as c_int, 0) } as c_int)?;
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// fchown(2).
pub fn change_owner(file: &File, uid: u32, gid: u32) -> io::Result<()> {
    check(unsafe { fchown(file.as_raw_fd(), uid, gid) }).map(|_| ())
}

/// Makes the file system treat the *calling thread* as that user (setfsuid(2) and its kin), so that every access is checked
/// and everything created belongs to it. There is no way back: the thread serves one stream and ends.
pub fn become_file_user(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
    let result = unsafe { syscall(SYS_SETGROUPS, groups.len(), groups.as_ptr()) };
    check(result as c_int)?;
    unsafe {
        setfsgid(gid);
        setfsuid(uid);
    }
    Ok(())
}

/// How many descriptors this process may have open.
pub fn limit_open_files(count: u64) -> io::Result<()> {
    let limit = Limit { soft: count, hard: count };
    check(unsafe { setrlimit(RLIMIT_NOFILE, &limit) }).map(|_| ())
}

/// What a child does between fork and exec; async-signal-safe calls only.
/// Own session and process group, ordinary standing before the out-of-memory killer, limits, user, working directory.
pub fn become_user(uid: u32, gid: u32, groups: &[u32], directory: &CStr, max_processes: u64) -> io::Result<()> {
    unsafe {
        begin_session()?;
        join_room();
        be_killable();
        limit_open_files(65_536)?;
        let processes = Limit {
            soft: max_processes,
            hard: max_processes,
        };
        if uid != 0 {
            check(setrlimit(RLIMIT_NPROC, &processes))?;
        }
        umask(0o022);
        check(syscall(SYS_SETGROUPS, groups.len(), groups.as_ptr()) as c_int)?;
        check(setgid(gid))?;
        check(setuid(uid))?;
        check(c_chdir(directory.as_ptr()))?;
    }
    Ok(())
}

/// A session and a process group of its own: setsid(2).
pub fn begin_session() -> io::Result<()> {
    check(unsafe { c_setsid() }).map(|_| ())
}

/// Into the control group that is frozen while the room sleeps (freezer.rs).
unsafe fn join_room() {
    tell_kernel(b"/sys/fs/cgroup/room/cgroup.procs\0");
}

/// The guest agent is exempt from the out-of-memory killer; what it starts must not inherit that.
unsafe fn be_killable() {
    tell_kernel(b"/proc/self/oom_score_adj\0");
}

/// Writes `0`, which means this process in the one file and no adjustment in the other.
unsafe fn tell_kernel(path: &[u8]) {
    const O_WRONLY: c_int = 1;
    let fd = open(path.as_ptr() as *const c_char, O_WRONLY | CLOEXEC);
    if fd >= 0 {
        write(fd, b"0".as_ptr() as *const c_void, 1);
        close(fd);
    }
}
