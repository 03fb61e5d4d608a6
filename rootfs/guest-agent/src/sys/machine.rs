//! System calls about the machine as a whole: mounts, modules, clock, entropy, name, end.

use super::{c_string, check, ioctl, syscall, CLOEXEC};
use std::fs::File;
use std::io;
use std::os::raw::{c_char, c_int, c_long, c_ulong, c_void};
use std::os::unix::io::{AsRawFd, FromRawFd};

pub const MS_RDONLY: c_ulong = 1;
pub const MS_NOSUID: c_ulong = 2;
pub const MS_NODEV: c_ulong = 4;
pub const MS_NOEXEC: c_ulong = 8;
pub const MS_NOATIME: c_ulong = 1024;
pub const MS_BIND: c_ulong = 4096;
pub const MS_MOVE: c_ulong = 8192;

const SIOCGIFFLAGS: c_ulong = 0x8913;
const SIOCSIFFLAGS: c_ulong = 0x8914;
const RNDADDENTROPY: c_ulong = 0x4008_5203;
const RNDRESEEDCRNG: c_ulong = 0x5207;
const M_TRIM_THRESHOLD: c_int = -1;
const M_MMAP_THRESHOLD: c_int = -3;
const M_ARENA_MAX: c_int = -8;
#[cfg(target_arch = "x86_64")]
const SYS_FINIT_MODULE: c_long = 313;
#[cfg(target_arch = "aarch64")]
const SYS_FINIT_MODULE: c_long = 273;

#[repr(C)]
struct TimeSpec {
    seconds: i64,
    nanoseconds: i64,
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
    #[link_name = "chroot"]
    fn c_chroot(path: *const c_char) -> c_int;
    #[link_name = "sethostname"]
    fn c_sethostname(name: *const c_char, length: usize) -> c_int;
    fn clock_settime(clock: c_int, time: *const TimeSpec) -> c_int;
    #[link_name = "sync"]
    fn c_sync();
    fn reboot(how: c_int) -> c_int;
    fn mallopt(parameter: c_int, value: c_int) -> c_int;
    fn statvfs(path: *const c_char, out: *mut FileSystemFigures) -> c_int;
    fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int;
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
