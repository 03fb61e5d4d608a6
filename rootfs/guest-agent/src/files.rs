//! The file services, but for `fileWrite` (write.rs). Every access is made, and checked, as the user of the request.

use crate::failure::{refuse, Failure, Outcome, EXISTS, INVALID, IO, IS_A_DIRECTORY, NOT_EMPTY, UNSUPPORTED};
use crate::fields::Fields;
use crate::frames::LANE_BYTES;
use crate::process::resolve;
use crate::stream::Stream;
use crate::users::User;
use crate::{sys, users};
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const CHUNK: usize = 32 * 1024;
const LIST_DEFAULT: u64 = 1_000;
const LIST_MOST: u64 = 65_536;

/// From here on this thread acts on files as the user of the request (default `user`).
pub fn act_as(fields: &Fields) -> Outcome<User> {
    let user = users::find(fields.text("user")?.unwrap_or("user"))?;
    sys::become_file_user(user.uid, user.gid, &user.groups)?;
    Ok(user)
}

fn path_of(fields: &Fields, name: &str, user: &User) -> Outcome<PathBuf> {
    Ok(resolve(user, fields.needed(name)?))
}

/// Milliseconds since 1970; 0 for anything older.
pub fn modified_ms(metadata: &Metadata) -> String {
    let milliseconds = metadata.mtime() * 1000 + metadata.mtime_nsec() / 1_000_000;
    milliseconds.max(0).to_string()
}

/// Permission bits as octal digits.
pub fn mode_of(metadata: &Metadata) -> String {
    format!("{:o}", metadata.mode() & 0o7777)
}

pub fn read(stream: &Stream, fields: &Fields) -> Outcome<()> {
    fields.only(&["svc", "path", "offset", "length", "user"])?;
    let user = act_as(fields)?;
    let path = path_of(fields, "path", &user)?;
    // Without O_NONBLOCK, opening a named pipe would wait for its writer.
    let mut file = OpenOptions::new().read(true).custom_flags(sys::O_NONBLOCK).open(&path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return refuse(IS_A_DIRECTORY, "is a directory");
    }
    if !metadata.is_file() {
        return refuse(UNSUPPORTED, "is not a regular file");
    }
    let size = metadata.len().to_string();
    let mode = mode_of(&metadata);
    let modified = modified_ms(&metadata);
    stream.message(&[("size", size.as_bytes()), ("mode", mode.as_bytes()), ("mtimeMs", modified.as_bytes())])?;
    file.seek(SeekFrom::Start(fields.number("offset")?.unwrap_or(0)))?;
    send(stream, &mut file, fields.number("length")?.unwrap_or(u64::MAX))
}

fn send(stream: &Stream, file: &mut File, length: u64) -> Outcome<()> {
    let mut chunk = vec![0; CHUNK];
    let mut left = length;
    while left > 0 {
        let most = left.min(CHUNK as u64) as usize;
        let count = file.read(&mut chunk[..most])?;
        if count == 0 {
            break;
        }
        stream.send(LANE_BYTES, &chunk[..count])?;
        left -= count as u64;
    }
    Ok(())
}

pub fn stat(stream: &Stream, fields: &Fields) -> Outcome<()> {
    fields.only(&["svc", "path", "user"])?;
    let user = act_as(fields)?;
    let path = path_of(fields, "path", &user)?;
    tell(stream, &path)
}

/// One message about a file, without following a symbolic link at its end.
fn tell(stream: &Stream, path: &Path) -> Outcome<()> {
    let metadata = fs::symlink_metadata(path)?;
    let kind = if metadata.is_file() {
        "file"
    } else if metadata.is_dir() {
        "directory"
    } else if metadata.file_type().is_symlink() {
        "symlink"
    } else {
        "other"
    };
    let name = path.file_name().unwrap_or_else(|| path.as_os_str());
    let size = metadata.len().to_string();
    let mode = mode_of(&metadata);
    let modified = modified_ms(&metadata);
    let uid = metadata.uid().to_string();
    let gid = metadata.gid().to_string();
    let target = fs::read_link(path).unwrap_or_default();
    let mut entries: Vec<(&str, &[u8])> = vec![
        ("name", name.as_bytes()),
        ("kind", kind.as_bytes()),
        ("size", size.as_bytes()),
        ("mode", mode.as_bytes()),
        ("mtimeMs", modified.as_bytes()),
        ("uid", uid.as_bytes()),
        ("gid", gid.as_bytes()),
    ];
    if kind == "symlink" {
        entries.push(("target", target.as_os_str().as_bytes()));
    }
    stream.message(&entries)
}

pub fn list(stream: &Stream, fields: &Fields) -> Outcome<()> {
    fields.only(&["svc", "path", "limit", "user"])?;
    let user = act_as(fields)?;
    let path = path_of(fields, "path", &user)?;
    let limit = fields.number("limit")?.unwrap_or(LIST_DEFAULT).min(LIST_MOST) as usize;
    let mut names = Vec::new();
    for entry in fs::read_dir(&path)?.take(limit) {
        names.push(entry?.file_name());
    }
    names.sort();
    for name in names {
        match tell(stream, &path.join(&name)) {
            // Removed meanwhile, or not for this user to look at.
            Ok(()) | Err(Failure::Refused { .. }) => (),
            Err(gone) => return Err(gone),
        }
    }
    Ok(())
}

pub fn rename(fields: &Fields) -> Outcome<()> {
    fields.only(&["svc", "from", "to", "user"])?;
    let user = act_as(fields)?;
    fs::rename(path_of(fields, "from", &user)?, path_of(fields, "to", &user)?)?;
    Ok(())
}

pub fn remove(fields: &Fields) -> Outcome<()> {
    fields.only(&["svc", "path", "recursive", "user"])?;
    let recursive = fields.flag("recursive")?;
    let name = fields.text("user")?.unwrap_or("user");
    let user = users::find(name)?;
    let path = path_of(fields, "path", &user)?;
    if path.parent().is_none() || path.file_name().is_none() {
        return refuse(INVALID, "not a path that can be removed");
    }
    if recursive {
        return remove_tree(&user, &path);
    }
    act_as(fields)?;
    if fs::symlink_metadata(&path)?.is_dir() {
        fs::remove_dir(&path)?;
    } else {
        fs::remove_file(&path)?;
    }
    Ok(())
}

/// By rm(1), in a process of its own: a tree may be deeper than a recursion on our small stacks could follow.
fn remove_tree(user: &User, path: &Path) -> Outcome<()> {
    fs::symlink_metadata(path)?;
    let root = sys::c_path(Path::new("/"))?;
    let (uid, gid, groups) = (user.uid, user.gid, user.groups.clone());
    let mut command = Command::new("/bin/rm");
    command.args(["-rf", "--one-file-system", "--"]).arg(path).env_clear();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    unsafe {
        command.pre_exec(move || sys::become_user(uid, gid, &groups, &root, 4096));
    }
    if command.status()?.success() {
        return Ok(());
    }
    // Which of its entries could not be removed, and why, is best told by trying the top once more.
    sys::become_file_user(user.uid, user.gid, &user.groups)?;
    match fs::remove_dir(path) {
        Ok(()) => Ok(()),
        Err(error) => match Failure::from(error) {
            Failure::Refused { code: NOT_EMPTY, .. } => refuse(crate::failure::DENIED, "not everything in it may be removed"),
            Failure::Refused { code, detail } => refuse(code, detail),
            gone => refuse(IO, format!("{:?}", gone)),
        },
    }
}

/// Makes the directories that `path` is to lie in. In a loop: std's `create_dir_all` recurses, and a path may have more parts than
/// our small stacks have room for.
pub fn make_parents(path: &Path) -> io::Result<()> {
    let mut missing = Vec::new();
    for directory in path.ancestors().skip(1) {
        if directory.is_dir() {
            break;
        }
        missing.push(directory);
    }
    for directory in missing.into_iter().rev() {
        match fs::create_dir(directory) {
            // Somebody else was quicker.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => (),
            made => made?,
        }
    }
    Ok(())
}

pub fn make_directory(fields: &Fields) -> Outcome<()> {
    fields.only(&["svc", "path", "mode", "user"])?;
    let user = act_as(fields)?;
    let path = path_of(fields, "path", &user)?;
    if fs::symlink_metadata(&path).is_ok() {
        return refuse(EXISTS, "exists already");
    }
    make_parents(&path)?;
    DirBuilder::new().mode(fields.octal("mode")?.unwrap_or(0o755)).create(&path)?;
    Ok(())
}
