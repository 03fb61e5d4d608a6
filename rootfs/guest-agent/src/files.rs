//! The file services, but for `fileWrite` (write.rs) and what is told about files (entries.rs). Every access is made, and checked,
//! as the user of the request.

use crate::entries::{mode_of, modified_ms};
use crate::failure::{refuse, Failure, Outcome, DENIED, EXISTS, INVALID, IO, IS_A_DIRECTORY, NOT_EMPTY, UNSUPPORTED};
use crate::fields::Fields;
use crate::frames::LANE_BYTES;
use crate::rights::Rights;
use crate::stream::Stream;
use crate::sys;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

const CHUNK: usize = 32 * 1024;

pub fn read(stream: &Stream, fields: &Fields) -> Outcome<()> {
    fields.only(&["svc", "path", "offset", "length", "user", "owner"])?;
    let path = Rights::act(fields)?.path(fields, "path")?;
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

pub fn rename(fields: &Fields) -> Outcome<()> {
    fields.only(&["svc", "from", "to", "user", "owner", "makeParents"])?;
    let rights = Rights::act(fields)?;
    let from = rights.path(fields, "from")?;
    let to = rights.path(fields, "to")?;
    if fields.flag("makeParents")? {
        // Nothing is made for what is not there.
        fs::symlink_metadata(&from)?;
        rights.make_parents(&to)?;
    }
    fs::rename(from, to)?;
    Ok(())
}

pub fn remove(fields: &Fields) -> Outcome<()> {
    fields.only(&["svc", "path", "recursive", "user", "owner"])?;
    let recursive = fields.flag("recursive")?;
    let rights = Rights::find(fields)?;
    let path = rights.path(fields, "path")?;
    if path.parent().is_none() || path.file_name().is_none() {
        return refuse(INVALID, "not a path that can be removed");
    }
    if recursive {
        return remove_tree(&rights, &path);
    }
    rights.become_user()?;
    if fs::symlink_metadata(&path)?.is_dir() {
        fs::remove_dir(&path)?;
    } else {
        fs::remove_file(&path)?;
    }
    Ok(())
}

/// By rm(1), in a process of its own: a tree may be deeper than a recursion on our small stacks could follow.
fn remove_tree(rights: &Rights, path: &Path) -> Outcome<()> {
    fs::symlink_metadata(path)?;
    let user = &rights.user;
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
    rights.become_user()?;
    match fs::remove_dir(path) {
        Ok(()) => Ok(()),
        Err(error) => match Failure::from(error) {
            Failure::Refused { code: NOT_EMPTY, .. } => refuse(DENIED, "not everything in it may be removed"),
            Failure::Refused { code, detail } => refuse(code, detail),
            gone => refuse(IO, format!("{:?}", gone)),
        },
    }
}

pub fn make_directory(fields: &Fields) -> Outcome<()> {
    fields.only(&["svc", "path", "mode", "user", "owner"])?;
    let rights = Rights::act(fields)?;
    let path = rights.path(fields, "path")?;
    if fs::symlink_metadata(&path).is_ok() {
        return refuse(EXISTS, "exists already");
    }
    rights.make_parents(&path)?;
    DirBuilder::new().mode(fields.octal("mode")?.unwrap_or(0o755)).create(&path)?;
    Ok(rights.give(&path)?)
}
