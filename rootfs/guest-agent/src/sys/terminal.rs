//! Pseudo-terminals: pty(7), ioctl_tty(2).

use super::{c_string, check, ioctl, open, CLOEXEC, O_NONBLOCK};
use std::fs::File;
use std::io;
use std::os::raw::{c_int, c_ulong};
use std::os::unix::io::{AsRawFd, FromRawFd};

const O_RDWR: c_int = 2;
const O_NOCTTY: c_int = 0o400;
const TIOCSPTLCK: c_ulong = 0x4004_5431;
const TIOCGPTPEER: c_ulong = 0x5441;
const TIOCSCTTY: c_ulong = 0x540E;
const TIOCSWINSZ: c_ulong = 0x5414;

/// `struct winsize`.
#[repr(C)]
struct WindowSize {
    rows: u16,
    columns: u16,
    pixels: [u16; 2],
}

/// A new terminal: our end, which does not block, and the process's.
pub fn open_pair() -> io::Result<(File, File)> {
    let path = c_string(b"/dev/ptmx")?;
    let ours = check(unsafe { open(path.as_ptr(), O_RDWR | O_NOCTTY | O_NONBLOCK | CLOEXEC) })?;
    let ours = unsafe { File::from_raw_fd(ours) };
    let unlocked: c_int = 0;
    check(unsafe { ioctl(ours.as_raw_fd(), TIOCSPTLCK, &unlocked as *const c_int) })?;
    let theirs = check(unsafe { ioctl(ours.as_raw_fd(), TIOCGPTPEER, O_RDWR | O_NOCTTY | CLOEXEC) })?;
    Ok((ours, unsafe { File::from_raw_fd(theirs) }))
}

/// What is in it learns of its new size by SIGWINCH.
pub fn resize(terminal: &File, columns: u16, rows: u16) -> io::Result<()> {
    let size = WindowSize {
        rows,
        columns,
        pixels: [0; 2],
    };
    check(unsafe { ioctl(terminal.as_raw_fd(), TIOCSWINSZ, &size as *const WindowSize) }).map(|_| ())
}

/// In a child between fork and exec, after it began a session: what is its standard input becomes its controlling terminal.
pub fn take_control() -> io::Result<()> {
    check(unsafe { ioctl(0, TIOCSCTTY, 0) }).map(|_| ())
}
