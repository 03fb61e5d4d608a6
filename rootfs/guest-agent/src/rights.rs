//! With whose rights a file service acts, and to whom belongs what it makes.

use crate::failure::Outcome;
use crate::fields::Fields;
use crate::process::resolve;
use crate::users::User;
use crate::{sys, users};
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

pub struct Rights {
    /// Acts.
    pub user: User,
    /// Gets what is made, and relative paths start at its home; absent: the one who acts.
    owner: Option<User>,
}

impl Rights {
    /// The fields `user` (default `user`) and `owner`.
    pub fn find(fields: &Fields) -> Outcome<Rights> {
        Ok(Rights {
            user: users::find(fields.text("user")?.unwrap_or("user"))?,
            owner: fields.text("owner")?.map(users::find).transpose()?,
        })
    }

    /// As `find`; and from here on this thread acts on files as the user.
    pub fn act(fields: &Fields) -> Outcome<Rights> {
        let rights = Rights::find(fields)?;
        rights.become_user()?;
        Ok(rights)
    }

    pub fn become_user(&self) -> io::Result<()> {
        sys::become_file_user(self.user.uid, self.user.gid, &self.user.groups)
    }

    /// A field's path.
    pub fn path(&self, fields: &Fields, name: &str) -> Outcome<PathBuf> {
        let home = self.owner.as_ref().unwrap_or(&self.user);
        Ok(resolve(home, fields.needed(name)?))
    }

    /// Gives something that was made to its owner.
    pub fn give(&self, path: &Path) -> io::Result<()> {
        self.give_by(|uid, gid| sys::attributes::change_path_owner(path, uid, gid))
    }

    /// As `give`, of an open file.
    pub fn give_file(&self, file: &File) -> io::Result<()> {
        self.give_by(|uid, gid| sys::change_owner(file, uid, gid))
    }

    fn give_by(&self, give: impl FnOnce(u32, u32) -> io::Result<()>) -> io::Result<()> {
        let owner = match &self.owner {
            Some(owner) if owner.uid != self.user.uid || owner.gid != self.user.gid => owner,
            _ => return Ok(()),
        };
        match give(owner.uid, owner.gid) {
            // Only root gives things away.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(()),
            given => given,
        }
    }

    /// Makes the directories that `path` is to lie in. In a loop: std's `create_dir_all` recurses, and a path may have more parts
    /// than our small stacks have room for.
    pub fn make_parents(&self, path: &Path) -> io::Result<()> {
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
                Err(error) if error.kind() == ErrorKind::AlreadyExists && directory.is_dir() => continue,
                made => made?,
            }
            self.give(directory)?;
        }
        Ok(())
    }
}
