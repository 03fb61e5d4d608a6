//! The few system calls that the standard library does not offer, each behind a safe function that returns `io::Result`.
//! Numbers are those of Linux on x86-64 and AArch64 (`uapi/asm-generic`), names those of the man pages in section 2.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::raw::{c_char, c_int, c_long, c_uint, c_ulong, c_void};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::io::{AsRawFd, FromRawFd, RawFd};
use std::path::Path;

pub const POLLIN: i16 = 1;
pub const POLLOUT: i16 = 4;
pub const SIGKILL: c_int = 9;
pub const SIGTERM: c_int = 15;
pub const O_NONBLOCK: c_int = 0o4000;
pub const O_NOFOLLOW: c_int = 0o400000;
pub const MS_RDONLY: c_ulong = 1;
pub const MS_NOSUID: c_ulong = 2;
pub const MS_NODEV: c_ulong = 4;
pub const MS_NOEXEC: c_ulong = 8;
pub const MS_NOATIME: c_ulong = 1024;
pub const MS_BIND: c_ulong = 4096;
pub const MS_MOVE: c_ulong = 8192;
pub const ECHILD: i32 = 10;

const CLOEXEC: c_int = 0o2000000;
const FIONREAD: c_ulong = 0x541B;
const SIOCGIFFLAGS: c_ulong = 0x8913;
const SIOCSIFFLAGS: c_ulong = 0x8914;
const RNDADDENTROPY: c_ulong = 0x4008_5203;
const RNDRESEEDCRNG: c_ulong = 0x5207;
const RLIMIT_NPROC: c_int = 6;
const RLIMIT_NOFILE: c_int = 7;
const M_TRIM_THRESHOLD: c_int = -1;
const M_MMAP_THRESHOLD: c_int = -3;
const M_ARENA_MAX: c_int = -8;
const SYS_PIDFD_OPEN: c_long = 434;
#[cfg(target_arch = "x86_64")]
const SYS_FINIT_MODULE: c_long = 313;
#[cfg(target_arch = "x86_64")]
const SYS_SETGROUPS: c_long = 116;
#[cfg(target_arch = "aarch64")]
const SYS_FINIT_MODULE: c_long = 273;
#[cfg(target_arch = "aarch64")]
const SYS_SETGROUPS: c_long = 159;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct PollFd {
    pub fd: c_int,
    pub events: i16,
    pub revents: i16,
}

#[repr(C)]
struct TimeSpec {
    seconds: i64,
    nanoseconds: i64,
}

#[repr(C)]
struct Limit {
    soft: u64,
    hard: u64,
}

/// `struct ifreq` as far as the flags of an interface need it.
#[repr(C)]
struct InterfaceFlags {
    name: [u8; 16],
    flags: i16,
    rest: [u8; 22],
}

/// `struct rand_pool_info` with the largest claim that the protocol allows.
#[repr(C)]
struct EntropyPool {
    bits: c_int,
    size: c_int,
    bytes: [u8; 512],
}

/// `struct statvfs` of glibc on 64-bit Linux.
#[repr(C)]
#[derive(Default)]
struct FileSystemFigures {
    block_size: c_ulong,
    fragment_size: c_ulong,
    blocks: u64,
    blocks_free: u64,
    blocks_available: u64,
    rest: [u64; 12],
}

extern "C" {
    fn mount(source: *const c_char, target: *const c_char, kind: *const c_char, flags: c_ulong, data: *const c_void) -> c_int;
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
    #[link_name = "chroot"]
    fn c_chroot(path: *const c_char) -> c_int;
    #[link_name = "chdir"]
    fn c_chdir(path: *const c_char) -> c_int;
    #[link_name = "sethostname"]
    fn c_sethostname(name: *const c_char, length: usize) -> c_int;
    fn clock_settime(clock: c_int, time: *const TimeSpec) -> c_int;
    #[link_name = "sync"]
    fn c_sync();
    fn reboot(how: c_int) -> c_int;
    fn mallopt(parameter: c_int, value: c_int) -> c_int;
    fn statvfs(path: *const c_char, out: *mut FileSystemFigures) -> c_int;
    fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int;
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

/// mount(2).
pub fn mount_at(source: &str, target: &str, kind: &str, flags: c_ulong, data: &str) -> io::Result<()> {
    let source = c_string(source.as_bytes())?;
    let target = c_string(target.as_bytes())?;
    let kind = c_string(kind.as_bytes())?;
    let data = c_string(data.as_bytes())?;
    let result = unsafe { mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, data.as_ptr() as *const c_void) };
    check(result).map(|_| ())
}

/// Loads one kernel module from an open file: finit_module(2).
pub fn load_module(file: &File) -> io::Result<()> {
    let empty = b"\0";
    let result = unsafe { syscall(SYS_FINIT_MODULE, file.as_raw_fd(), empty.as_ptr(), 0) };
    check(result as c_int).map(|_| ())
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

/// chroot(2) into the current directory.
pub fn chroot_here() -> io::Result<()> {
    let here = c_string(b".")?;
    check(unsafe { c_chroot(here.as_ptr()) }).map(|_| ())
}

/// sethostname(2).
pub fn set_hostname(name: &str) -> io::Result<()> {
    check(unsafe { c_sethostname(name.as_ptr() as *const c_char, name.len()) }).map(|_| ())
}

/// Steps the wall clock to nanoseconds since 1970.
pub fn set_wall_clock(nanoseconds: u64) -> io::Result<()> {
    const CLOCK_REALTIME: c_int = 0;
    const SECOND: u64 = 1_000_000_000;
    let time = TimeSpec {
        seconds: (nanoseconds / SECOND) as i64,
        nanoseconds: (nanoseconds % SECOND) as i64,
    };
    check(unsafe { clock_settime(CLOCK_REALTIME, &time) }).map(|_| ())
}

/// Mixes `bytes` into the kernel's pool, credits every bit of them, and makes all generators of the kernel start anew:
/// random(4), `RNDADDENTROPY` and `RNDRESEEDCRNG`. Takes at most 512 bytes.
pub fn reseed_kernel(bytes: &[u8]) -> io::Result<()> {
    let device = File::open("/dev/urandom")?;
    let mut pool = EntropyPool {
        bits: (bytes.len() * 8) as c_int,
        size: bytes.len() as c_int,
        bytes: [0; 512],
    };
    pool.bytes
        .get_mut(..bytes.len())
        .ok_or_else(|| io::Error::from_raw_os_error(22))?
        .copy_from_slice(bytes);
    check(unsafe { ioctl(device.as_raw_fd(), RNDADDENTROPY, &pool as *const EntropyPool) })?;
    check(unsafe { ioctl(device.as_raw_fd(), RNDRESEEDCRNG) })?;
    Ok(())
}

/// Brings the loopback interface up.
pub fn loopback_up() -> io::Result<()> {
    const AF_INET: c_int = 2;
    const SOCK_DGRAM: c_int = 2;
    const IFF_UP: i16 = 1;
    let fd = check(unsafe { socket(AF_INET, SOCK_DGRAM | CLOEXEC, 0) })?;
    let socket = unsafe { File::from_raw_fd(fd) };
    let mut request = InterfaceFlags {
        name: [0; 16],
        flags: 0,
        rest: [0; 22],
    };
    request.name[..2].copy_from_slice(b"lo");
    check(unsafe { ioctl(socket.as_raw_fd(), SIOCGIFFLAGS, &mut request as *mut InterfaceFlags) })?;
    request.flags |= IFF_UP;
    check(unsafe { ioctl(socket.as_raw_fd(), SIOCSIFFLAGS, &request as *const InterfaceFlags) })?;
    Ok(())
}

/// Flushes all file systems: sync(2).
pub fn sync() {
    unsafe { c_sync() };
}

/// Ends the virtual machine at once (the VMM runs with `-no-reboot`).
pub fn end_machine() -> ! {
    const RESTART: c_int = 0x0123_4567;
    unsafe {
        c_sync();
        reboot(RESTART);
    }
    std::process::exit(1)
}

/// Keeps the heap small: one arena for all threads, larger blocks given back at once.
pub fn keep_heap_small() {
    unsafe {
        mallopt(M_ARENA_MAX, 1);
        mallopt(M_MMAP_THRESHOLD, 64 * 1024);
        mallopt(M_TRIM_THRESHOLD, 64 * 1024);
    }
}

/// Total and available bytes of the file system that holds `path`.
pub fn disk_figures(path: &str) -> io::Result<(u64, u64)> {
    let path = c_string(path.as_bytes())?;
    let mut figures = FileSystemFigures::default();
    check(unsafe { statvfs(path.as_ptr(), &mut figures) })?;
    let unit = figures.fragment_size as u64;
    Ok((figures.blocks.saturating_mul(unit), figures.blocks_available.saturating_mul(unit)))
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
        check(c_setsid())?;
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
