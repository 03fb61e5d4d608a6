//! Owners and extended attributes of files: chown(2), xattr(7).

use super::{c_path, c_string, check};
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::raw::{c_char, c_int, c_uint, c_void};
use std::os::unix::io::AsRawFd;
use std::path::Path;

/// XATTR_LIST_MAX and XATTR_SIZE_MAX of the kernel.
const MOST_BYTES: usize = 65_536;

extern "C" {
    fn lchown(path: *const c_char, uid: c_uint, gid: c_uint) -> c_int;
    fn fsetxattr(fd: c_int, name: *const c_char, value: *const c_void, size: usize, flags: c_int) -> c_int;
    fn fremovexattr(fd: c_int, name: *const c_char) -> c_int;
    fn llistxattr(path: *const c_char, list: *mut c_char, size: usize) -> isize;
    fn lgetxattr(path: *const c_char, name: *const c_char, value: *mut c_void, size: usize) -> isize;
}

/// lchown(2): of a symbolic link itself.
pub fn change_path_owner(path: &Path, uid: u32, gid: u32) -> io::Result<()> {
    let path = c_path(path)?;
    check(unsafe { lchown(path.as_ptr(), uid, gid) }).map(|_| ())
}

/// fsetxattr(2).
pub fn set_attribute(file: &File, name: &str, value: &[u8]) -> io::Result<()> {
    let name = c_string(name.as_bytes())?;
    let result = unsafe { fsetxattr(file.as_raw_fd(), name.as_ptr(), value.as_ptr() as *const c_void, value.len(), 0) };
    check(result).map(|_| ())
}

/// fremovexattr(2).
pub fn remove_attribute(file: &File, name: &CStr) -> io::Result<()> {
    check(unsafe { fremovexattr(file.as_raw_fd(), name.as_ptr()) }).map(|_| ())
}

/// The names of a file's attributes, without following a symbolic link: llistxattr(2).
pub fn attribute_names(path: &Path) -> io::Result<Vec<CString>> {
    let path = c_path(path)?;
    // Most files have none: asked for their number first, those cost no memory.
    let size = filled(unsafe { llistxattr(path.as_ptr(), std::ptr::null_mut(), 0) })?;
    if size == 0 {
        return Ok(Vec::new());
    }
    let mut list = vec![0u8; size.min(MOST_BYTES)];
    let count = filled(unsafe { llistxattr(path.as_ptr(), list.as_mut_ptr() as *mut c_char, list.len()) })?;
    list.truncate(count);
    Ok(list.split(|byte| *byte == 0).filter(|name| !name.is_empty()).filter_map(|name| CString::new(name).ok()).collect())
}

/// One attribute's value of at most `most` bytes, without following a symbolic link: lgetxattr(2).
pub fn attribute(path: &Path, name: &CStr, most: usize) -> io::Result<Vec<u8>> {
    let path = c_path(path)?;
    let mut value = vec![0u8; most];
    let count = filled(unsafe { lgetxattr(path.as_ptr(), name.as_ptr(), value.as_mut_ptr() as *mut c_void, value.len()) })?;
    value.truncate(count);
    Ok(value)
}

fn filled(result: isize) -> io::Result<usize> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result as usize)
    }
}
