//! `watch`: what happens in a folder, and below it, as it happens.

use crate::failure::{refuse, Failure, Outcome, LIMIT};
use crate::fields::Fields;
use crate::rights::Rights;
use crate::stream::Stream;
use crate::sys::inotify::{
    happenings, Happening, Inotify, IN_ATTRIB, IN_CREATE, IN_DELETE, IN_DELETE_SELF, IN_DONT_FOLLOW, IN_IGNORED, IN_ISDIR, IN_MODIFY, IN_MOVED_FROM,
    IN_MOVED_TO, IN_MOVE_SELF, IN_ONLYDIR, IN_Q_OVERFLOW,
};
use crate::sys::{self, PollFd};
use crate::write::{BESIDE_NEW, BESIDE_OLD};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

const INSIDE: u32 = IN_MODIFY | IN_ATTRIB | IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE | IN_DELETE | IN_ONLYDIR;
const CHUNK: usize = 8 * 1024;
/// Folders of one watch.
const MAX_FOLDERS: usize = 8_192;
/// Things found in new folders before their own events were read.
const MAX_FOUND: usize = 65_536;
const EMFILE: i32 = 24;
const ENOSPC: i32 = 28;

pub fn serve(stream: &Stream, fields: &Fields) -> Outcome<()> {
    fields.only(&["svc", "path", "recursive", "user", "owner"])?;
    let recursive = fields.flag("recursive")?;
    let path = Rights::act(fields)?.path(fields, "path")?;
    let mut watch = Watch::new(path, recursive)?;
    stream.message(&[])?;
    loop {
        watch.tell(&mut |name, change| stream.message(&[("name", name.as_os_str().as_bytes()), ("change", change.as_bytes())]))?;
        stream.wait(&mut [PollFd::new(watch.descriptor(), sys::POLLIN)], None)?;
    }
}

/// Told the relative path and what happened to it.
type Tell<'a> = dyn FnMut(&Path, &str) -> Outcome<()> + 'a;

pub struct Watch {
    inotify: Inotify,
    root: PathBuf,
    recursive: bool,
    /// By the kernel's number: paths relative to the root.
    folders: BTreeMap<i32, PathBuf>,
    /// Told because it was there when its folder was entered. Its own event may still come, and is not told a second time.
    found: BTreeSet<PathBuf>,
    /// A `fileWrite` is putting a file in its place: the cookie of the move, and whether the file is new.
    placed: Option<(u32, bool)>,
}

impl Watch {
    pub fn new(root: PathBuf, recursive: bool) -> Outcome<Watch> {
        let inotify = Inotify::new().or_else(|error| match error.raw_os_error() {
            Some(EMFILE) => refuse(LIMIT, "too many watches"),
            _ => Err(Failure::from(error)),
        })?;
        let mut watch = Watch {
            inotify,
            root,
            recursive,
            folders: BTreeMap::new(),
            found: BTreeSet::new(),
            placed: None,
        };
        let first = watch.inotify.add(&watch.root, INSIDE | IN_DELETE_SELF | IN_MOVE_SELF);
        let first = first.or_else(|error| watch.refused(error))?;
        watch.folders.insert(first, PathBuf::new());
        if recursive {
            watch.look_below(PathBuf::new(), &mut None)?;
        }
        Ok(watch)
    }

    pub fn descriptor(&self) -> i32 {
        self.inotify.descriptor()
    }

    /// Tells all that has happened, without waiting.
    pub fn tell(&mut self, tell: &mut Tell) -> Outcome<()> {
        let mut chunk = vec![0; CHUNK];
        loop {
            let count = match self.inotify.read(&mut chunk) {
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    // What was found has had its event by now, or never will.
                    self.found.clear();
                    return Ok(());
                }
                Err(error) => return Err(Failure::from(error)),
            };
            for happening in happenings(&chunk[..count]) {
                self.take(&happening, tell)?;
            }
        }
    }

    fn refused<T>(&self, error: io::Error) -> Outcome<T> {
        match error.raw_os_error() {
            Some(ENOSPC) => refuse(LIMIT, "the kernel has no more watches"),
            _ => Err(Failure::from(error)),
        }
    }

    fn take(&mut self, happening: &Happening, tell: &mut Tell) -> Outcome<()> {
        let has = |bits: u32| happening.mask & bits != 0;
        if has(IN_Q_OVERFLOW) {
            return refuse(LIMIT, "more happened than was read");
        }
        if has(IN_IGNORED) {
            self.folders.remove(&happening.watch);
            return Ok(());
        }
        let folder = match self.folders.get(&happening.watch) {
            Some(folder) => folder,
            None => return Ok(()),
        };
        if happening.name.is_empty() {
            // Its parent's watch tells it of every other folder.
            return match folder.as_os_str().is_empty() {
                true if has(IN_DELETE_SELF) => tell(Path::new("."), "remove"),
                true if has(IN_MOVE_SELF) => tell(Path::new("."), "rename"),
                _ => Ok(()),
            };
        }
        let path = folder.join(happening.name);
        if let Some(is_new) = being_written(happening.name) {
            if has(IN_MOVED_FROM) {
                self.placed = Some((happening.cookie, is_new));
            }
            return Ok(());
        }
        let is_folder = has(IN_ISDIR);
        if has(IN_CREATE | IN_MOVED_TO) {
            return self.appeared(path, is_folder, has(IN_MOVED_TO).then(|| happening.cookie), tell);
        }
        if has(IN_MOVED_FROM) && is_folder {
            self.leave(&path);
        }
        let changes = [(IN_MODIFY, "write"), (IN_ATTRIB, "chmod"), (IN_DELETE, "remove"), (IN_MOVED_FROM, "rename")];
        match changes.iter().find(|(bit, _)| has(*bit)) {
            Some((_, change)) => tell(&path, change),
            None => Ok(()),
        }
    }

    /// Made, or moved here.
    fn appeared(&mut self, path: PathBuf, is_folder: bool, moved: Option<u32>, tell: &mut Tell) -> Outcome<()> {
        if self.found.remove(&path) {
            return Ok(());
        }
        if let (Some(cookie), Some((placed, is_new))) = (moved, self.placed) {
            if cookie == placed {
                self.placed = None;
                if is_new {
                    tell(&path, "create")?;
                }
                return tell(&path, "write");
            }
        }
        tell(&path, "create")?;
        if is_folder && self.recursive && self.enter(&path)? {
            self.look_below(path, &mut Some(tell))?;
        }
        Ok(())
    }

    /// Watches one more folder; false when it cannot be (any more).
    fn enter(&mut self, path: &Path) -> Outcome<bool> {
        if self.folders.len() >= MAX_FOLDERS {
            return refuse(LIMIT, "too many folders");
        }
        match self.inotify.add(&self.root.join(path), INSIDE | IN_DONT_FOLLOW) {
            Ok(number) => {
                self.folders.insert(number, path.to_path_buf());
                Ok(true)
            }
            Err(error) if error.raw_os_error() == Some(ENOSPC) => self.refused(error),
            // Gone already, or not for this user.
            Err(_) => Ok(false),
        }
    }

    /// Watches all folders below one that is watched, and tells, when it is to, what is there.
    fn look_below(&mut self, folder: PathBuf, tell: &mut Option<&mut Tell>) -> Outcome<()> {
        let mut unseen = vec![folder];
        while let Some(folder) = unseen.pop() {
            let entries = match fs::read_dir(self.root.join(&folder)) {
                Ok(entries) => entries,
                Err(_) => continue,
            };
            for entry in entries.flatten() {
                let name = entry.file_name();
                if being_written(&name).is_some() {
                    continue;
                }
                let path = folder.join(name);
                if let Some(tell) = tell {
                    if self.found.len() >= MAX_FOUND {
                        return refuse(LIMIT, "too much appeared at once");
                    }
                    self.found.insert(path.clone());
                    tell(&path, "create")?;
                }
                if entry.file_type().map_or(false, |kind| kind.is_dir()) && self.enter(&path)? {
                    unseen.push(path);
                }
            }
        }
        Ok(())
    }

    /// A folder went elsewhere: what happens there is told only if that is here too, and then by its new name.
    fn leave(&mut self, path: &Path) {
        let left: Vec<i32> = self.folders.iter().filter(|(_, folder)| folder.starts_with(path)).map(|(number, _)| *number).collect();
        for number in left {
            self.inotify.remove(number);
            self.folders.remove(&number);
        }
    }
}

/// Whether the name is that of a `fileWrite` under way; and then, whether its file is new.
fn being_written(name: &OsStr) -> Option<bool> {
    let name = name.as_bytes();
    if name.starts_with(BESIDE_NEW.as_bytes()) {
        Some(true)
    } else if name.starts_with(BESIDE_OLD.as_bytes()) {
        Some(false)
    } else {
        None
    }
}
