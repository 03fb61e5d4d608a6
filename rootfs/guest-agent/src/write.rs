//! `fileWrite`: a file appears whole or not at all.

use crate::failure::{refuse, Failure, Outcome, IS_A_DIRECTORY, UNSUPPORTED};
use crate::fields::Fields;
use crate::files::{act_as, make_parents};
use crate::process::resolve;
use crate::stream::Stream;
use crate::sys;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

const CHUNK: usize = 32 * 1024;
static COUNTER: AtomicU64 = AtomicU64::new(0);

pub fn serve(stream: &Stream, fields: &Fields) -> Outcome<()> {
    fields.only(&["svc", "path", "mode", "user", "makeParents", "append"])?;
    let mode = fields.octal("mode")?;
    let user = act_as(fields)?;
    let path = resolve(&user, fields.needed("path")?);
    if fields.flag("makeParents")? {
        make_parents(&path)?;
    }
    let target = follow_links(path)?;
    let old_mode = look_at(&target)?;
    let size = if fields.flag("append")? {
        append(stream, &target, mode.or(old_mode))?
    } else {
        replace(stream, &target, mode.or(old_mode))?
    };
    stream.message(&[("size", size.to_string().as_bytes())])
}

/// Writing to a symbolic link writes to what it points at.
fn follow_links(path: PathBuf) -> Outcome<PathBuf> {
    match fs::canonicalize(&path) {
        Ok(target) => Ok(target),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(path),
        Err(error) => Err(Failure::from(error)),
    }
}

/// The mode of the file that is to be replaced, if there is one.
fn look_at(target: &Path) -> Outcome<Option<u32>> {
    match fs::symlink_metadata(target) {
        Ok(metadata) if metadata.is_dir() => refuse(IS_A_DIRECTORY, "is a directory"),
        Ok(metadata) if metadata.is_file() => Ok(Some(metadata.mode() & 0o7777)),
        Ok(metadata) if metadata.file_type().is_symlink() => Ok(None),
        Ok(_) => refuse(UNSUPPORTED, "is not a regular file"),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::from(error)),
    }
}

/// Copies the stream into the file until the host's END.
fn receive(stream: &Stream, mut file: &File) -> Outcome<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        let count = stream.read(&mut chunk)?;
        if count == 0 {
            return Ok(());
        }
        file.write_all(&chunk[..count])?;
    }
}

/// A file that is removed again unless it was put in its place.
struct Beside {
    path: PathBuf,
    kept: bool,
}

impl Drop for Beside {
    fn drop(&mut self) {
        if !self.kept {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn create_beside(target: &Path) -> io::Result<(File, Beside)> {
    let directory = target.parent().unwrap_or_else(|| Path::new("/"));
    loop {
        let path = directory.join(format!(".alcove-write-{}", COUNTER.fetch_add(1, Ordering::Relaxed)));
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(file) => return Ok((file, Beside { path, kept: false })),
            // Left by a machine that died in the middle of a write.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => (),
            Err(error) => return Err(error),
        }
    }
}

/// Writes beside, makes it durable, renames.
fn replace(stream: &Stream, target: &Path, mode: Option<u32>) -> Outcome<u64> {
    let (file, mut beside) = create_beside(target)?;
    receive(stream, &file)?;
    file.set_permissions(Permissions::from_mode(mode.unwrap_or(0o644)))?;
    file.sync_all()?;
    let size = file.metadata()?.len();
    fs::rename(&beside.path, target)?;
    beside.kept = true;
    if let Some(directory) = target.parent() {
        // Not every file system has it; then the rename is as durable as it gets.
        let _ = File::open(directory).and_then(|opened| opened.sync_all());
    }
    Ok(size)
}

/// Adds to the end; a failure cuts the file back to what it was.
fn append(stream: &Stream, target: &Path, mode: Option<u32>) -> Outcome<u64> {
    let existed = fs::symlink_metadata(target).is_ok();
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(mode.unwrap_or(0o644))
        .custom_flags(sys::O_NOFOLLOW | sys::O_NONBLOCK)
        .open(target)?;
    let before = file.metadata()?.len();
    let outcome = receive(stream, &file).and_then(|()| Ok(file.sync_all()?));
    if outcome.is_err() {
        let _ = file.set_len(before);
        if !existed {
            let _ = fs::remove_file(target);
        }
    }
    outcome?;
    Ok(file.metadata()?.len())
}
