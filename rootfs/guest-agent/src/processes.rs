//! The services about kept processes: `attach`, `processes`, `input`, `signal`, `resize`.

use crate::failure::{refuse, Outcome, INVALID};
use crate::fields::{Fields, MAX_BYTES, MAX_COUNT};
use crate::kept::{Found, Name, Process};
use crate::room::Room;
use crate::stream::Stream;
use std::sync::Arc;

const CHUNK: usize = 16 * 1024;
/// SIGRTMAX of Linux.
const HIGHEST_SIGNAL: u64 = 64;

fn name_of<'a>(fields: &'a Fields) -> Outcome<Name<'a>> {
    match (fields.number("pid")?, fields.text("tag")?) {
        (Some(pid), None) => Ok(Name::Pid(pid)),
        (None, Some(tag)) => Ok(Name::Tag(tag)),
        _ => refuse(INVALID, "either pid or tag"),
    }
}

/// `COLSxROWS` of the field `pty`.
pub fn terminal_size(fields: &Fields) -> Outcome<Option<(u16, u16)>> {
    match fields.text("pty")? {
        None => Ok(None),
        Some(text) => match parse_size(text) {
            None => refuse(INVALID, "pty is not COLSxROWS"),
            size => Ok(size),
        },
    }
}

pub fn parse_size(text: &str) -> Option<(u16, u16)> {
    let (columns, rows) = text.split_once('x')?;
    let number = |text: &str| -> Option<u16> {
        // parse takes a sign; the protocol does not.
        if !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        text.parse().ok().filter(|value| *value > 0)
    };
    Some((number(columns)?, number(rows)?))
}

pub fn attach(stream: &Arc<Stream>, fields: &Fields, room: &Room) -> Outcome<()> {
    fields.only(&["svc", "pid", "tag"])?;
    stream.stop_listening();
    let end = match room.kept.find(&name_of(fields)?)? {
        Found::Running(process) => process.listen(stream)?,
        Found::Ended(pid, end) => {
            stream.message(&[("pid", pid.to_string().as_bytes())])?;
            end
        }
    };
    end.tell(stream)
}

pub fn list(stream: &Stream, fields: &Fields, room: &Room) -> Outcome<()> {
    fields.only(&["svc"])?;
    for process in room.kept.all() {
        tell(stream, &process)?;
    }
    Ok(())
}

fn tell(stream: &Stream, process: &Process) -> Outcome<()> {
    let about = &process.about;
    let pid = process.pid.to_string();
    let env: Vec<String> = about.env.iter().map(|(key, value)| format!("{}={}", key, value)).collect();
    let mut entries: Vec<(&str, &[u8])> = vec![("pid", pid.as_bytes()), ("user", about.user.as_bytes()), ("cwd", about.cwd.as_bytes())];
    if let Some(tag) = &about.tag {
        entries.push(("tag", tag.as_bytes()));
    }
    if about.terminal {
        entries.push(("pty", b"1"));
    }
    entries.extend(about.arguments.iter().map(|word| ("arg", word.as_bytes())));
    entries.extend(env.iter().map(|pair| ("env", pair.as_bytes())));
    stream.message(fitting(&entries))
}

/// What fits into one message. A request that fills one to its last byte comes back without its last variables: what is told has
/// more about it than it said itself.
pub fn fitting<'a, 'b>(entries: &'a [(&'b str, &'b [u8])]) -> &'a [(&'b str, &'b [u8])] {
    let mut bytes = 0;
    let count = entries.iter().take(MAX_COUNT).take_while(|(name, value)| {
        bytes += 5 + name.len() + value.len();
        bytes <= MAX_BYTES
    });
    &entries[..count.count()]
}

pub fn input(stream: &Stream, fields: &Fields, room: &Room) -> Outcome<()> {
    fields.only(&["svc", "pid", "tag", "close"])?;
    let close = fields.flag("close")?;
    let process = room.kept.find_running(&name_of(fields)?)?;
    // Refused at once when there is none, also when nothing is to be given.
    drop(process.input()?);
    if close && process.about.terminal {
        return refuse(INVALID, "the input of a terminal does not end; 0x04 is what says so");
    }
    let mut chunk = vec![0; CHUNK];
    loop {
        let count = stream.read(&mut chunk)?;
        if count == 0 {
            break;
        }
        process.give(stream, &chunk[..count])?;
    }
    if close {
        process.close_input();
    }
    Ok(())
}

pub fn signal(fields: &Fields, room: &Room) -> Outcome<()> {
    fields.only(&["svc", "pid", "tag", "signal"])?;
    let number = match fields.number("signal")? {
        Some(number @ 1..=HIGHEST_SIGNAL) => number as i32,
        _ => return refuse(INVALID, "signal is missing or wrong"),
    };
    room.kept.find_running(&name_of(fields)?)?.signal(number)
}

pub fn resize(fields: &Fields, room: &Room) -> Outcome<()> {
    fields.only(&["svc", "pid", "tag", "pty"])?;
    let (columns, rows) = match terminal_size(fields)? {
        Some(size) => size,
        None => return refuse(INVALID, "pty is missing"),
    };
    room.kept.find_running(&name_of(fields)?)?.resize(columns, rows)
}
