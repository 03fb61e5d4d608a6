//! What a caller keeps beside a file: extended attributes `user.e2b.<key>`.

use crate::failure::{refuse, Outcome, INVALID};
use crate::fields::Fields;
use crate::sys::attributes::{attribute, attribute_names, remove_attribute, set_attribute};
use crate::template::split_pair;
use std::fs::File;
use std::io;
use std::path::Path;

const PREFIX: &str = "user.e2b.";
/// XATTR_NAME_MAX of the kernel, without our prefix.
const MAX_KEY: usize = 255 - PREFIX.len();
/// Of one file: keys and values together, and their number, so that a message about it has room for them.
const MAX_BYTES: usize = 4_096;
const MAX_COUNT: usize = 512;

/// The field `meta`, `key=value` each.
pub fn parse(fields: &Fields) -> Outcome<Vec<(&str, &str)>> {
    let mut pairs: Vec<(&str, &str)> = Vec::new();
    let mut bytes = 0;
    for text in fields.all("meta")? {
        let pair = match split_pair(text) {
            Some(pair) if pair.0.len() <= MAX_KEY => pair,
            _ => return refuse(INVALID, "meta is not key=value"),
        };
        bytes += pair.0.len() + pair.1.len();
        if bytes > MAX_BYTES || pairs.len() == MAX_COUNT {
            return refuse(INVALID, "too much of meta");
        }
        pairs.push(pair);
    }
    Ok(pairs)
}

pub fn set(file: &File, pairs: &[(&str, &str)]) -> io::Result<()> {
    pairs.iter().try_for_each(|(key, value)| set_attribute(file, &format!("{}{}", PREFIX, key), value.as_bytes()))
}

/// As `set`, of a file that may have others: they go.
pub fn replace(file: &File, path: &Path, pairs: &[(&str, &str)]) -> io::Result<()> {
    for name in attribute_names(path)? {
        if name.to_bytes().starts_with(PREFIX.as_bytes()) {
            remove_attribute(file, &name)?;
        }
    }
    set(file, pairs)
}

/// All that a file has, `key=value` each, as much as a message has room for; nothing when it cannot be read.
pub fn of(path: &Path) -> Vec<Vec<u8>> {
    let mut pairs = Vec::new();
    let mut left = MAX_BYTES;
    for name in attribute_names(path).unwrap_or_default() {
        let key = match name.to_bytes().strip_prefix(PREFIX.as_bytes()) {
            Some(key) if !key.is_empty() && key.len() <= left && pairs.len() < MAX_COUNT => key,
            _ => continue,
        };
        if let Ok(value) = attribute(path, &name, left - key.len()) {
            left -= key.len() + value.len();
            pairs.push([key, b"=", value.as_slice()].concat());
        }
    }
    pairs
}
