//! Users of the room, from `/etc/passwd` and `/etc/group` (a static binary cannot use the name service switch).

use crate::failure::{refuse, Outcome, INVALID};
use std::collections::BTreeMap;
use std::fs;

#[derive(Debug, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    pub home: String,
    pub shell: String,
}

/// The user of that name; `invalid` when there is none.
pub fn find(name: &str) -> Outcome<User> {
    let passwd = fs::read_to_string("/etc/passwd")?;
    let group = fs::read_to_string("/etc/group").unwrap_or_default();
    match parse(name, &passwd, &group) {
        Some(user) => Ok(user),
        None => refuse(INVALID, format!("no user {}", name)),
    }
}

/// passwd(5): name:password:uid:gid:comment:home:shell.
pub fn parse(name: &str, passwd: &str, group: &str) -> Option<User> {
    let line = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
    let parts: Vec<&str> = line.split(':').collect();
    let gid = parts.get(3)?.parse().ok()?;
    let mut groups = groups_of(name, group);
    if !groups.contains(&gid) {
        groups.push(gid);
    }
    Some(User {
        name: name.to_string(),
        uid: parts.get(2)?.parse().ok()?,
        gid,
        groups,
        home: parts.get(5)?.to_string(),
        shell: parts.get(6).unwrap_or(&"/bin/sh").to_string(),
    })
}

/// The names of the numbers of passwd(5) or group(5): name:password:number. The first of a number counts.
pub fn names(text: &str) -> BTreeMap<u32, String> {
    let mut names = BTreeMap::new();
    for line in text.lines() {
        let parts: Vec<&str> = line.split(':').take(3).collect();
        if let [name, _, number] = parts[..] {
            if let Ok(number) = number.parse() {
                names.entry(number).or_insert_with(|| name.to_string());
            }
        }
    }
    names
}

/// group(5): name:password:gid:member,member.
fn groups_of(name: &str, group: &str) -> Vec<u32> {
    let mut groups = Vec::new();
    for line in group.lines() {
        let parts: Vec<&str> = line.split(':').collect();
        let member = parts.get(3).map_or(false, |list| list.split(',').any(|one| one == name));
        if let (true, Some(Ok(gid))) = (member, parts.get(2).map(|text| text.parse())) {
            groups.push(gid);
        }
    }
    groups
}
