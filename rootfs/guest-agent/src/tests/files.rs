//! What is told about files: the order of a walk, and what happens in folders.

use super::{with_seeds, Random};
use crate::entries::Walk;
use crate::failure::Failure;
use crate::figures::processor_ms;
use crate::sys::inotify::happenings;
use crate::users;
use crate::watch::Watch;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// A tree: each folder's names; those with an entry of their own are folders.
type Tree = BTreeMap<PathBuf, Vec<OsString>>;

fn random_tree(random: &mut Random) -> Tree {
    let mut tree = Tree::new();
    let mut unmade = vec![PathBuf::new()];
    while let Some(folder) = unmade.pop() {
        let names: Vec<OsString> = (0..random.below(6)).map(|at| OsString::from(format!("{}{}", random.below(9), at))).collect();
        for name in &names {
            if random.below(3) == 0 && tree.len() < 50 {
                unmade.push(folder.join(name));
            }
        }
        tree.insert(folder, names);
    }
    tree
}

fn by_recursion(tree: &Tree, folder: &Path, depth: usize, into: &mut Vec<PathBuf>) {
    let mut names = tree[folder].clone();
    names.sort();
    for name in names {
        let path = folder.join(name);
        into.push(path.clone());
        if depth > 1 && tree.contains_key(&path) {
            by_recursion(tree, &path, depth - 1, into);
        }
    }
}

#[test]
fn fuzz_a_walk_gives_the_beginning_of_the_sorted_order() {
    with_seeds(|random| {
        let tree = random_tree(random);
        let depth = 1 + random.below(5);
        let limit = random.below(40);
        let mut wanted = Vec::new();
        by_recursion(&tree, Path::new(""), depth, &mut wanted);
        wanted.truncate(limit);
        let mut walk = Walk::new(tree[Path::new("")].clone(), limit);
        let mut given = Vec::new();
        while let Some(path) = walk.next() {
            given.push(path.clone());
            if let (Some(names), true) = (tree.get(&path), walk.depth() < depth) {
                walk.go_into(path, names.clone());
            }
            assert!(walk.held() <= limit);
        }
        assert_eq!(given, wanted);
    });
}

#[test]
fn fuzz_records_of_the_kernel_are_read_or_left() {
    with_seeds(|random| {
        let length = random.below(200);
        let mut bytes = random.bytes(length);
        for at in (12..bytes.len().saturating_sub(4)).step_by(16) {
            bytes[at..at + 4].copy_from_slice(&(random.below(40) as u32).to_ne_bytes());
        }
        for happening in happenings(&bytes) {
            assert!(happening.name.len() < 200);
        }
    });
}

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("alcove-{}-{}", name, std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn told(watch: &mut Watch) -> Vec<String> {
    let mut lines = Vec::new();
    let mut tell = |path: &Path, change: &str| -> Result<(), Failure> {
        lines.push(format!("{} {}", change, path.display()));
        Ok(())
    };
    watch.tell(&mut tell).unwrap();
    lines
}

#[test]
fn a_watch_tells_what_happens_once() {
    let folder = Folder::new("watch");
    let root = &folder.0;
    fs::create_dir_all(root.join("old/er")).unwrap();
    let mut watch = Watch::new(root.clone(), true).unwrap();
    fs::write(root.join("old/er/file"), "x").unwrap();
    assert_eq!(told(&mut watch), ["create old/er/file", "write old/er/file"]);
    // Made faster than anybody reads: found by looking, and not told again by their own events.
    fs::create_dir_all(root.join("new/a/b")).unwrap();
    fs::create_dir(root.join("new/c")).unwrap();
    let mut lines = told(&mut watch);
    lines.sort();
    assert_eq!(lines, ["create new", "create new/a", "create new/a/b", "create new/c"]);
    fs::write(root.join("new/a/b/file"), "").unwrap();
    assert_eq!(told(&mut watch), ["create new/a/b/file"]);
    // What is moved away is no longer told, what is moved here is, by its new name.
    fs::rename(root.join("new/a"), root.join("moved")).unwrap();
    assert_eq!(told(&mut watch), ["rename new/a", "create moved", "create moved/b", "create moved/b/file"]);
    fs::remove_file(root.join("moved/b/file")).unwrap();
    assert_eq!(told(&mut watch), ["remove moved/b/file"]);
    fs::remove_dir_all(root).unwrap();
    let lines = told(&mut watch);
    assert_eq!(lines.iter().filter(|line| line.starts_with("remove")).count(), 8, "{:?}", lines);
    assert_eq!(lines.last().map(String::as_str), Some("remove ."));
}

#[test]
fn a_watch_tells_a_file_write_by_what_it_does() {
    let folder = Folder::new("write");
    let mut watch = Watch::new(folder.0.clone(), false).unwrap();
    let place = |beside: &str| {
        fs::write(folder.0.join(beside), "x").unwrap();
        fs::rename(folder.0.join(beside), folder.0.join("file")).unwrap();
    };
    place(".alcove-write-1");
    assert_eq!(told(&mut watch), ["create file", "write file"]);
    place(".alcove-rewrite-2");
    assert_eq!(told(&mut watch), ["write file"]);
    place("other");
    assert_eq!(told(&mut watch), ["create other", "write other", "rename other", "create file"]);
}

#[test]
fn numbers_of_users_have_names() {
    let names = users::names("root:x:0:0::/:/bin/sh\ntoor:x:0:0::/:/bin/sh\nbroken\nnobody:x:65534:\nx:y:z\n");
    assert_eq!(names.get(&0).map(String::as_str), Some("root"));
    assert_eq!(names.get(&65_534).map(String::as_str), Some("nobody"));
    assert_eq!(names.len(), 2);
}

#[test]
fn times_of_processors_are_read() {
    assert_eq!(processor_ms("cpu  10 1 5 100 20 2 3 9 7 7\ncpu0 1 1 1 1\n"), (210, 1_500));
    assert_eq!(processor_ms("cpu 1 1\n"), (20, 20));
    assert_eq!(processor_ms(""), (0, 0));
}
