//! `fileStat` and `fileList`: what is told about files.

use crate::failure::{Failure, Outcome};
use crate::fields::Fields;
use crate::rights::Rights;
use crate::stream::Stream;
use crate::{metadata, users};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const LIST_DEFAULT: u64 = 1_000;
const LIST_MOST: u64 = 65_536;
const DEPTH_MOST: u64 = 64;

/// Milliseconds since 1970; 0 for anything older.
pub fn modified_ms(metadata: &Metadata) -> String {
    let milliseconds = metadata.mtime() * 1000 + metadata.mtime_nsec() / 1_000_000;
    milliseconds.max(0).to_string()
}

/// Permission bits as octal digits.
pub fn mode_of(metadata: &Metadata) -> String {
    format!("{:o}", metadata.mode() & 0o7777)
}

fn kind_of(metadata: &Metadata) -> &'static str {
    if metadata.is_file() {
        "file"
    } else if metadata.is_dir() {
        "directory"
    } else if metadata.file_type().is_symlink() {
        "symlink"
    } else {
        "other"
    }
}

/// How a request wants to be told.
struct Teller<'a> {
    stream: &'a Stream,
    follow: bool,
    owners: BTreeMap<u32, String>,
    groups: BTreeMap<u32, String>,
}

impl<'a> Teller<'a> {
    fn new(stream: &'a Stream, fields: &Fields) -> Outcome<Teller<'a>> {
        Ok(Teller {
            stream,
            follow: fields.flag("follow")?,
            owners: users::names(&fs::read_to_string("/etc/passwd").unwrap_or_default()),
            groups: users::names(&fs::read_to_string("/etc/group").unwrap_or_default()),
        })
    }

    /// One message about a file; whether it is a folder (and no link to one).
    fn tell(&self, path: &Path, name: &OsStr) -> Outcome<bool> {
        let itself = fs::symlink_metadata(path)?;
        let is_link = itself.file_type().is_symlink();
        let mut target = if is_link { fs::read_link(path).unwrap_or_default() } else { PathBuf::new() };
        let mut told = &itself;
        let mut place = path;
        let followed;
        if is_link && self.follow {
            if let (Ok(metadata), Ok(there)) = (fs::metadata(path), fs::canonicalize(path)) {
                followed = metadata;
                target = there;
                told = &followed;
                place = &target;
            }
        }
        let size = told.len().to_string();
        let mode = mode_of(told);
        let modified = modified_ms(told);
        let (uid, gid) = (told.uid().to_string(), told.gid().to_string());
        let meta = metadata::of(place);
        let mut entries: Vec<(&str, &[u8])> = vec![
            ("name", name.as_bytes()),
            ("kind", kind_of(told).as_bytes()),
            ("size", size.as_bytes()),
            ("mode", mode.as_bytes()),
            ("mtimeMs", modified.as_bytes()),
            ("uid", uid.as_bytes()),
            ("gid", gid.as_bytes()),
            ("owner", self.owners.get(&told.uid()).unwrap_or(&uid).as_bytes()),
            ("group", self.groups.get(&told.gid()).unwrap_or(&gid).as_bytes()),
        ];
        if is_link {
            entries.push(("target", target.as_os_str().as_bytes()));
        }
        entries.extend(meta.iter().map(|pair| ("meta", pair.as_slice())));
        self.stream.message(&entries)?;
        Ok(itself.is_dir())
    }
}

pub fn stat(stream: &Stream, fields: &Fields) -> Outcome<()> {
    fields.only(&["svc", "path", "user", "owner", "follow"])?;
    let teller = Teller::new(stream, fields)?;
    let rights = Rights::act(fields)?;
    let path = rights.path(fields, "path")?;
    let name = path.file_name().unwrap_or_else(|| path.as_os_str());
    teller.tell(&path, name).map(|_| ())
}

pub fn list(stream: &Stream, fields: &Fields) -> Outcome<()> {
    fields.only(&["svc", "path", "limit", "depth", "user", "owner", "follow"])?;
    let limit = fields.number("limit")?.unwrap_or(LIST_DEFAULT).min(LIST_MOST) as usize;
    let depth = fields.number("depth")?.unwrap_or(1).clamp(1, DEPTH_MOST) as usize;
    let teller = Teller::new(stream, fields)?;
    let rights = Rights::act(fields)?;
    let path = rights.path(fields, "path")?;
    let mut walk = Walk::new(read_names(&path, limit)?, limit);
    while let Some(relative) = walk.next() {
        let whole = path.join(&relative);
        match teller.tell(&whole, relative.as_os_str()) {
            Ok(true) if walk.depth() < depth => {
                // A folder that is not for this user to look into was told, and that is all.
                if let Ok(names) = read_names(&whole, walk.left()) {
                    walk.go_into(relative, names);
                }
            }
            Ok(_) => (),
            // Removed meanwhile, or not for this user to look at.
            Err(Failure::Refused { .. }) => (),
            Err(gone) => return Err(gone),
        }
    }
    Ok(())
}

fn read_names(path: &Path, limit: usize) -> io::Result<Vec<OsString>> {
    fs::read_dir(path)?.take(limit).map(|entry| entry.map(|found| found.file_name())).collect()
}

/// The order of a sorted walk, without recursion, and without holding more names than may still be told.
pub struct Walk {
    levels: Vec<Level>,
    left: usize,
}

struct Level {
    folder: PathBuf,
    /// The next one last.
    names: Vec<OsString>,
}

impl Walk {
    pub fn new(names: Vec<OsString>, limit: usize) -> Walk {
        let mut walk = Walk {
            levels: Vec::new(),
            left: limit,
        };
        walk.go_into(PathBuf::new(), names);
        walk
    }

    /// The next path, relative to where the walk began.
    pub fn next(&mut self) -> Option<PathBuf> {
        if self.left == 0 {
            return None;
        }
        while let Some(level) = self.levels.last_mut() {
            if let Some(name) = level.names.pop() {
                self.left -= 1;
                return Some(level.folder.join(name));
            }
            self.levels.pop();
        }
        None
    }

    /// Of the path that `next` gave.
    pub fn depth(&self) -> usize {
        self.levels.len()
    }

    /// How many more it gives at most.
    pub fn left(&self) -> usize {
        self.left
    }

    #[cfg(test)]
    pub fn held(&self) -> usize {
        self.levels.iter().map(|level| level.names.len()).sum()
    }

    /// Next come the names in `folder`, which `next` gave.
    pub fn go_into(&mut self, folder: PathBuf, mut names: Vec<OsString>) {
        names.sort_unstable_by(|one, other| other.cmp(one));
        let mut room = self.left;
        self.levels.push(Level { folder, names });
        for level in self.levels.iter_mut().rev() {
            let surplus = level.names.len().saturating_sub(room);
            level.names.drain(..surplus);
            room -= level.names.len();
        }
    }
}
