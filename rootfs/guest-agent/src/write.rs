//! `fileWrite`: a file appears whole or not at all.

use crate::failure::{refuse, Failure, Outcome, IS_A_DIRECTORY, UNSUPPORTED};
use crate::fields::Fields;
use crate::rights::Rights;
use crate::stream::Stream;
use crate::{metadata, sys};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

const CHUNK: usize = 32 * 1024;
static COUNTER: AtomicU64 = AtomicU64::new(0);

/// Names of files that are still being written: `watch` (watch.rs) tells nothing about them, and learns from the name whether the
/// file that takes its place is a new one.
pub const BESIDE_NEW: &str = ".alcove-write-";
pub const BESIDE_OLD: &str = ".alcove-rewrite-";

struct Order<'a> {
    existed: bool,
    mode: u32,
    meta: Vec<(&'a str, &'a str)>,
    rights: Rights,
}

pub fn serve(stream: &Stream, fields: &Fields) -> Outcome<()> {
    fields.only(&["svc", "path", "mode", "user", "owner", "makeParents", "append", "meta"])?;
    let mode = fields.octal("mode")?;
    let meta = metadata::parse(fields)?;
    let rights = Rights::act(fields)?;
    let path = rights.path(fields, "path")?;
    if fields.flag("makeParents")? {
        rights.make_parents(&path)?;
    }
    let target = follow_links(path)?;
    let old_mode = look_at(&target)?;
    let order = Order {
        existed: old_mode.is_some(),
        mode: mode.or(old_mode).unwrap_or(0o644),
        meta,
        rights,
    };
    let size = if fields.flag("append")? {
        append(stream, &target, &order)?
    } else {
        replace(stream, &target, &order)?
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

fn create_beside(target: &Path, name: &str) -> io::Result<(File, Beside)> {
    let directory = target.parent().unwrap_or_else(|| Path::new("/"));
    loop {
        let path = directory.join(format!("{}{}", name, COUNTER.fetch_add(1, Ordering::Relaxed)));
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(file) => return Ok((file, Beside { path, kept: false })),
            // Left by a machine that died in the middle of a write.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => (),
            Err(error) => return Err(error),
        }
    }
}

/// Writes beside, makes it durable, renames.
fn replace(stream: &Stream, target: &Path, order: &Order) -> Outcome<u64> {
    let (file, mut beside) = create_beside(target, if order.existed { BESIDE_OLD } else { BESIDE_NEW })?;
    receive(stream, &file)?;
    metadata::set(&file, &order.meta)?;
    order.rights.give_file(&file)?;
    file.set_permissions(Permissions::from_mode(order.mode))?;
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
fn append(stream: &Stream, target: &Path, order: &Order) -> Outcome<u64> {
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(order.mode)
        .custom_flags(sys::O_NOFOLLOW | sys::O_NONBLOCK)
        .open(target)?;
    let before = file.metadata()?.len();
    let outcome = receive(stream, &file).and_then(|()| finish_appended(&file, target, order));
    if outcome.is_err() {
        let _ = file.set_len(before);
        if !order.existed {
            let _ = fs::remove_file(target);
        }
    }
    outcome?;
    Ok(file.metadata()?.len())
}

fn finish_appended(file: &File, target: &Path, order: &Order) -> Outcome<()> {
    if !order.meta.is_empty() {
        metadata::replace(file, target, &order.meta)?;
    }
    if !order.existed {
        order.rights.give_file(file)?;
    }
    Ok(file.sync_all()?)
}
