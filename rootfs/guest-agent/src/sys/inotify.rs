//! What happens in folders: inotify(7).

use super::{c_path, check, CLOEXEC, O_NONBLOCK};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::raw::{c_char, c_int};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::io::{AsRawFd, FromRawFd, RawFd};
use std::path::Path;

pub const IN_MODIFY: u32 = 0x2;
pub const IN_ATTRIB: u32 = 0x4;
pub const IN_MOVED_FROM: u32 = 0x40;
pub const IN_MOVED_TO: u32 = 0x80;
pub const IN_CREATE: u32 = 0x100;
pub const IN_DELETE: u32 = 0x200;
pub const IN_DELETE_SELF: u32 = 0x400;
pub const IN_MOVE_SELF: u32 = 0x800;
pub const IN_Q_OVERFLOW: u32 = 0x4000;
pub const IN_IGNORED: u32 = 0x8000;
pub const IN_ONLYDIR: u32 = 0x0100_0000;
pub const IN_DONT_FOLLOW: u32 = 0x0200_0000;
pub const IN_ISDIR: u32 = 0x4000_0000;

/// `struct inotify_event` without its name.
const HEADER: usize = 16;

extern "C" {
    fn inotify_init1(flags: c_int) -> c_int;
    fn inotify_add_watch(fd: c_int, path: *const c_char, mask: u32) -> c_int;
    fn inotify_rm_watch(fd: c_int, watch: c_int) -> c_int;
}

pub struct Inotify(File);

#[derive(Debug, PartialEq, Eq)]
pub struct Happening<'a> {
    pub watch: i32,
    pub mask: u32,
    /// Joins the two halves of a move.
    pub cookie: u32,
    /// Empty when it is the watched folder itself.
    pub name: &'a OsStr,
}

impl Inotify {
    /// Its reads do not block.
    pub fn new() -> io::Result<Inotify> {
        let fd = check(unsafe { inotify_init1(CLOEXEC | O_NONBLOCK) })?;
        Ok(Inotify(unsafe { File::from_raw_fd(fd) }))
    }

    pub fn descriptor(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    pub fn add(&self, path: &Path, mask: u32) -> io::Result<i32> {
        let path = c_path(path)?;
        check(unsafe { inotify_add_watch(self.0.as_raw_fd(), path.as_ptr(), mask) })
    }

    pub fn remove(&self, watch: i32) {
        // Fails for one that the kernel has removed by itself.
        let _ = unsafe { inotify_rm_watch(self.0.as_raw_fd(), watch) };
    }

    /// What happened since, as bytes for `happenings`; `WouldBlock` when nothing did.
    pub fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        (&self.0).read(into)
    }
}

/// The kernel's records, as far as they are whole.
pub fn happenings(mut bytes: &[u8]) -> Vec<Happening> {
    let word = |bytes: &[u8], at: usize| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let mut found = Vec::new();
    while bytes.len() >= HEADER {
        let end = HEADER.saturating_add(word(bytes, 12) as usize);
        if bytes.len() < end {
            break;
        }
        let padded = &bytes[HEADER..end];
        let length = padded.iter().position(|byte| *byte == 0).unwrap_or(padded.len());
        found.push(Happening {
            watch: word(bytes, 0) as i32,
            mask: word(bytes, 4),
            cookie: word(bytes, 8),
            name: OsStr::from_bytes(&padded[..length]),
        });
        bytes = &bytes[end..];
    }
    found
}
