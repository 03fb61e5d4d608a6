//! The agent's own output: a file of at most 4 MiB and the one before it, and streams that follow them.

use crate::failure::Outcome;
use crate::fields::Fields;
use crate::frames::LANE_BYTES;
use crate::room::Room;
use crate::stream::Stream;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

const PATH: &str = "/var/log/alcove/agent.log";
const PATH_BEFORE: &str = "/var/log/alcove/agent.log.1";
const LIMIT: u64 = 4 * 1024 * 1024;
const CHUNK: usize = 16 * 1024;
/// A follower looks for more this often.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

pub struct Log {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    file: Option<File>,
    length: u64,
    /// Counts the rotations, so that a follower notices them.
    turn: u64,
    /// The last output was lost, and that was said.
    failing: bool,
}

impl Log {
    pub fn new() -> Log {
        Log {
            state: Mutex::new(State::default()),
        }
    }

    fn lock(&self) -> MutexGuard<State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Appends output of the agent. A full disk loses output, never the agent.
    pub fn append(&self, bytes: &[u8]) {
        let mut state = self.lock();
        let outcome = state.append(bytes);
        let failed_before = std::mem::replace(&mut state.failing, outcome.is_err());
        if let (Err(error), false) = (outcome, failed_before) {
            eprintln!("guest-agent: log: {}", error);
        }
    }

    fn turn(&self) -> u64 {
        self.lock().turn
    }
}

impl State {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.length >= LIMIT {
            self.file = None;
            self.length = 0;
            fs::rename(PATH, PATH_BEFORE)?;
            self.turn += 1;
        }
        if self.file.is_none() {
            let file = OpenOptions::new().append(true).create(true).open(PATH)?;
            self.length = file.metadata()?.len();
            self.file = Some(file);
        }
        if let Some(file) = &mut self.file {
            file.write_all(bytes)?;
        }
        self.length += bytes.len() as u64;
        Ok(())
    }
}

pub fn serve(stream: &Stream, fields: &Fields, room: &Room) -> Outcome<()> {
    fields.only(&["svc", "follow", "tailBytes"])?;
    let follow = fields.flag("follow")?;
    let mut left_out = match fields.number("tailBytes")? {
        Some(tail) => (length_of(PATH_BEFORE) + length_of(PATH)).saturating_sub(tail),
        None => 0,
    };
    let mut turn = room.log.turn();
    for path in [PATH_BEFORE, PATH] {
        let length = length_of(path);
        let skipped = left_out.min(length);
        left_out -= skipped;
        if let Ok(mut file) = File::open(path) {
            file.seek(SeekFrom::Start(skipped))?;
            copy(stream, &mut file)?;
            if path == PATH && follow {
                follow_from(stream, room, file, &mut turn)?;
            }
        } else if path == PATH && follow {
            let file = wait_for_file(stream)?;
            follow_from(stream, room, file, &mut turn)?;
        }
    }
    Ok(())
}

fn length_of(path: &str) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

fn copy(stream: &Stream, file: &mut File) -> Outcome<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        let count = file.read(&mut chunk)?;
        if count == 0 {
            return Ok(());
        }
        stream.send(LANE_BYTES, &chunk[..count])?;
    }
}

fn wait_for_file(stream: &Stream) -> Outcome<File> {
    loop {
        match File::open(PATH) {
            Ok(file) => return Ok(file),
            Err(_) => stream.pause(LOOK_AGAIN)?,
        }
    }
}

/// Until the host goes away. An open file stays readable after its rotation: first it is read to its end, then the next.
fn follow_from(stream: &Stream, room: &Room, mut file: File, turn: &mut u64) -> Outcome<()> {
    loop {
        let now = room.log.turn();
        copy(stream, &mut file)?;
        if now != *turn {
            *turn = now;
            file = wait_for_file(stream)?;
        } else {
            stream.pause(LOOK_AGAIN)?;
        }
    }
}
