//! The claim: a copy of a template becomes this room's incarnation. In this order: entropy, clock, identity, environment,
//! the thaw of what was frozen before the sleep, agent; so that nothing of the room runs with a neighbour's randomness or with yesterday's time.

use crate::failure::{refuse, Outcome, INVALID};
use crate::fields::Fields;
use crate::room::{Identity, Room};
use crate::stream::Stream;
use crate::template::{owned, split_pair};
use crate::{freezer, sys, users};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;

const DIRECTORY: &str = "/run/alcove";
const KERNEL_BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

struct Claim<'a> {
    room: &'a str,
    incarnation: u64,
    mode: &'a str,
    entropy: &'a [u8],
    wall_clock_ns: u64,
    machine_id: Option<&'a str>,
    hostname: Option<&'a str>,
    env: Vec<(String, String)>,
}

pub fn serve(stream: &Stream, fields: &Fields, room: &Room) -> Outcome<()> {
    let claim = Claim::parse(fields)?;
    let mut identity = room.identity();
    if claim.mode == "resumed" && !identity.claimed {
        return refuse(INVALID, "nothing to resume: this is the first claim");
    }
    sys::reseed_kernel(claim.entropy)?;
    sys::set_wall_clock(claim.wall_clock_ns)?;
    if claim.mode != "resumed" {
        take_identity(&claim, &mut identity, &room.doors.hosts_lines())?;
    }
    let id = random_hex()?;
    write_environment(&claim, room)?;
    write_claim(&claim, &identity, &id)?;
    identity.env = claim.env;
    identity.claimed = true;
    let answer = [
        ("bootNonce", identity.boot_nonce.clone()),
        ("bootId", identity.boot_id.clone()),
        ("claim", id),
    ];
    drop(identity);
    freezer::thaw()?;
    room.supervisor.start();
    let entries: Vec<(&str, &[u8])> = answer.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
    stream.message(&entries)
}

impl<'a> Claim<'a> {
    /// Everything is checked before anything is done.
    fn parse(fields: &'a Fields) -> Outcome<Claim<'a>> {
        let known = [
            "svc", "room", "incarnation", "mode", "entropy", "wallClockNs", "machineId", "hostname", "env",
        ];
        fields.only(&known)?;
        let mut env = Vec::new();
        for pair in fields.all("env")? {
            match split_pair(pair) {
                Some(pair) => env.push(owned(pair)),
                None => return refuse(INVALID, "env is not K=V"),
            }
        }
        let claim = Claim {
            room: fields.needed("room")?,
            incarnation: fields.number("incarnation")?.unwrap_or(0),
            mode: fields.needed("mode")?,
            entropy: fields.bytes("entropy")?.unwrap_or(&[]),
            wall_clock_ns: fields.number("wallClockNs")?.unwrap_or(0),
            machine_id: fields.text("machineId")?,
            hostname: fields.text("hostname")?,
            env,
        };
        match claim.fault() {
            Some(name) => refuse(INVALID, format!("{} is missing or wrong", name)),
            None => Ok(claim),
        }
    }

    fn fault(&self) -> Option<&'static str> {
        let new = matches!(self.mode, "fresh" | "disk");
        if !new && self.mode != "resumed" {
            return Some("mode");
        }
        if self.room.contains('\n') {
            return Some("room");
        }
        if self.incarnation == 0 {
            return Some("incarnation");
        }
        if self.entropy.len() < 64 || self.entropy.len() > 512 {
            return Some("entropy");
        }
        if self.wall_clock_ns == 0 {
            return Some("wallClockNs");
        }
        if !self.machine_id.map_or(!new, is_machine_id) {
            return Some("machineId");
        }
        if !self.hostname.map_or(!new, is_hostname) {
            return Some("hostname");
        }
        None
    }
}

/// machine-id(5).
fn is_machine_id(text: &str) -> bool {
    let hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    text.len() == 32 && text.bytes().all(hex)
}

fn is_hostname(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    !text.is_empty() && text.len() <= 63 && text.bytes().all(allowed) && !text.starts_with(['-', '.'])
}

/// `/etc/machine-id`, `/etc/hostname` and `/etc/hosts` are links to files in `/run/alcove`: identity lives in memory, and a
/// claim writes nothing to the disk.
fn take_identity(claim: &Claim, identity: &mut Identity, doors: &str) -> io::Result<()> {
    let machine_id = claim.machine_id.unwrap_or_default();
    let hostname = claim.hostname.unwrap_or_default();
    identity.boot_nonce = random_hex()?;
    identity.boot_id = random_uuid()?;
    let hosts = format!("127.0.0.1 localhost\n127.0.1.1 {}\n::1 localhost\n{}", hostname, doors);
    replace("machine-id", 0o444, format!("{}\n", machine_id).as_bytes())?;
    replace("hostname", 0o644, format!("{}\n", hostname).as_bytes())?;
    replace("hosts", 0o644, hosts.as_bytes())?;
    sys::set_hostname(hostname)?;
    // The kernel draws its boot id once, perhaps before the template was captured: lay a new one over it.
    let covered = format!("{}/boot-id", DIRECTORY);
    let first = !fs::metadata(&covered).is_ok();
    fs::write(&covered, format!("{}\n", identity.boot_id))?;
    if first {
        sys::mount_at(&covered, KERNEL_BOOT_ID, "", sys::MS_BIND, "")?;
    }
    Ok(())
}

/// `/run/alcove/env`: `K=V`, each ended by a zero byte as in `/proc/PID/environ`; only the agent's user may read it.
fn write_environment(claim: &Claim, room: &Room) -> Outcome<()> {
    let mut bytes = Vec::new();
    for (key, value) in &claim.env {
        bytes.extend_from_slice(format!("{}={}\0", key, value).as_bytes());
    }
    let user = users::find(&room.template.user)?;
    let path = format!("{}/env.new", DIRECTORY);
    let _ = fs::remove_file(&path);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o400).open(&path)?;
    file.write_all(&bytes)?;
    sys::change_owner(&file, user.uid, user.gid)?;
    fs::rename(&path, format!("{}/env", DIRECTORY))?;
    Ok(())
}

/// `/run/alcove/claim`: different after every claim. A clone-safe agent compares it at the start of every request.
fn write_claim(claim: &Claim, identity: &Identity, id: &str) -> io::Result<()> {
    let text = format!(
        "claim={}\nroom={}\nincarnation={}\nmode={}\nbootNonce={}\n",
        id, claim.room, claim.incarnation, claim.mode, identity.boot_nonce
    );
    replace("claim", 0o444, text.as_bytes())
}

/// Writes a file of `/run/alcove` beside and renames it, so that a reader sees the old or the new one.
pub fn replace(name: &str, mode: u32, bytes: &[u8]) -> io::Result<()> {
    let path = format!("{}/{}", DIRECTORY, name);
    let beside = format!("{}.new", path);
    let _ = fs::remove_file(&beside);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
    file.write_all(bytes)?;
    fs::rename(&beside, &path)
}

fn random_bytes() -> io::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{:02x}", byte)).collect()
}

/// 128 random bits.
fn random_hex() -> io::Result<String> {
    random_bytes().map(|bytes| hex(&bytes))
}

/// RFC 9562, version 4.
fn random_uuid() -> io::Result<String> {
    let mut bytes = random_bytes()?;
    bytes[6] = bytes[6] & 0x0F | 0x40;
    bytes[8] = bytes[8] & 0x3F | 0x80;
    let text = hex(&bytes);
    Ok(format!("{}-{}-{}-{}-{}", &text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]))
}
