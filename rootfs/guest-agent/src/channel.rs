//! The reader's side of the channel: bytes from the port become frames, frames find their stream, and every OPEN gets a thread.

use crate::failure::{Failure, Outcome, BUSY, FLOW, PROTOCOL};
use crate::fields::{encode, Fields};
use crate::freezer;
use crate::kept::MAX_KEPT;
use crate::frames::{sync_answer, Event, Frame, Kind, Parser, LANE_BYTES};
use crate::outbox::Outbox;
use crate::room::Room;
use crate::services;
use crate::stream::Stream;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

const MAX_STREAMS: usize = 256;
/// A thread may outlive its stream by the two seconds that a process is given to end, and that of a kept process by more. Beyond
/// this many, OPEN is `busy`.
const MAX_THREADS: usize = 320 + MAX_KEPT;
const STACK_BYTES: usize = 64 * 1024;

pub struct Channel {
    pub outbox: Arc<Outbox>,
    room: Arc<Room>,
    table: Mutex<Table>,
    threads: AtomicUsize,
    rescan: AtomicBool,
}

struct Table {
    session: u64,
    highest: u32,
    streams: BTreeMap<u32, Entry>,
}

struct Entry {
    stream: Arc<Stream>,
    guest_ended: bool,
    host_ended: bool,
}

impl Channel {
    pub fn new(room: Arc<Room>) -> Channel {
        let table = Table {
            session: 0,
            highest: 0,
            streams: BTreeMap::new(),
        };
        Channel {
            outbox: Arc::new(Outbox::new()),
            room,
            table: Mutex::new(table),
            threads: AtomicUsize::new(0),
            rescan: AtomicBool::new(false),
        }
    }

    fn table(&self) -> MutexGuard<Table> {
        self.table.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Takes what one read of the port brought.
    pub fn receive(self: &Arc<Channel>, parser: &mut Parser, bytes: &[u8]) {
        if self.rescan.swap(false, Ordering::SeqCst) {
            parser.scan();
        }
        parser.feed(bytes);
        while let Some(event) = parser.next() {
            match event {
                Event::Sync { session, .. } => self.begin_session(&sync_answer(&session)),
                Event::Bad(reason) => self.lose_session(reason),
                Event::Frame(frame) => {
                    if let Err(reason) = self.accept(frame) {
                        self.lose_session(reason);
                        parser.scan();
                    }
                }
            }
        }
    }

    /// The host closed the port: nothing of the session is left.
    pub fn disconnected(&self, parser: &mut Parser) {
        parser.scan();
        self.begin_session(&[]);
    }

    /// From now on only a sync is understood (after `quiesce`).
    pub fn scan_from_now(&self) {
        self.rescan.store(true, Ordering::SeqCst);
    }

    fn lose_session(&self, reason: &str) {
        eprintln!("guest-agent: bad frame: {}", reason);
        self.begin_session(&[]);
    }

    fn begin_session(&self, first: &[u8]) {
        let mut table = self.table();
        for (_, entry) in std::mem::take(&mut table.streams) {
            entry.stream.abandon();
        }
        table.highest = 0;
        table.session = self.outbox.begin_session(first);
    }

    /// Handles one frame; an error makes it a bad frame.
    fn accept(self: &Arc<Channel>, frame: Frame) -> Result<(), &'static str> {
        match frame.kind {
            Kind::Open => return self.open(frame.stream, &frame.payload),
            Kind::Data => self.data(&frame),
            Kind::End => self.end(frame.stream),
            Kind::Reset => {
                if let Some(entry) = self.table().streams.remove(&frame.stream) {
                    entry.stream.abandon();
                }
            }
            Kind::Window => self.window(&frame),
            Kind::Ping => {
                // Whoever asks whether the room lives does not put it to sleep.
                let _ = freezer::thaw();
                let session = self.table().session;
                let _ = self.outbox.send(session, 0, Kind::Pong, 0, &frame.payload);
            }
            Kind::Pong => (),
        }
        Ok(())
    }

    fn find(&self, id: u32) -> Option<Arc<Stream>> {
        self.table().streams.get(&id).map(|entry| entry.stream.clone())
    }

    fn data(&self, frame: &Frame) {
        if let Some(stream) = self.find(frame.stream) {
            if frame.lane != LANE_BYTES {
                self.refuse(&stream, PROTOCOL, "no service takes this lane");
            } else if !stream.deliver(&frame.payload) {
                self.refuse(&stream, FLOW, "more than the window");
            }
        }
    }

    fn window(&self, frame: &Frame) {
        if let Some(stream) = self.find(frame.stream) {
            let bytes = [frame.payload[0], frame.payload[1], frame.payload[2], frame.payload[3]];
            if !stream.grant(u32::from_le_bytes(bytes) as usize) {
                self.refuse(&stream, FLOW, "more credit than was used");
            }
        }
    }

    fn end(&self, id: u32) {
        let mut table = self.table();
        if let Some(entry) = table.streams.get_mut(&id) {
            entry.host_ended = true;
            entry.stream.host_ended();
            if entry.guest_ended {
                table.streams.remove(&id);
            }
        }
    }

    /// Resets a stream whose host broke a rule.
    fn refuse(&self, stream: &Stream, code: &str, detail: &str) {
        self.table().streams.remove(&stream.id);
        let _ = stream.reset(code, detail);
        stream.abandon();
    }

    fn open(self: &Arc<Channel>, id: u32, payload: &[u8]) -> Result<(), &'static str> {
        let mut table = self.table();
        if id % 2 == 0 {
            return Err("an even number is not the host's");
        }
        if id <= table.highest {
            return Err("stream numbers must rise");
        }
        table.highest = id;
        let session = table.session;
        let fields = match Fields::parse(payload) {
            Ok(fields) => fields,
            Err(error) => {
                self.turn_away(session, id, PROTOCOL, &error.0);
                return Ok(());
            }
        };
        if table.streams.len() >= MAX_STREAMS || self.threads.load(Ordering::SeqCst) >= MAX_THREADS {
            self.turn_away(session, id, BUSY, "too many streams");
            return Ok(());
        }
        match self.start(session, id, fields) {
            Ok(stream) => {
                let entry = Entry {
                    stream,
                    guest_ended: false,
                    host_ended: false,
                };
                table.streams.insert(id, entry);
            }
            Err(_) => self.turn_away(session, id, BUSY, "no thread to spare"),
        }
        Ok(())
    }

    fn turn_away(&self, session: u64, id: u32, code: &str, detail: &str) {
        let payload = encode(&[("code", code.as_bytes()), ("detail", detail.as_bytes())]);
        let _ = self.outbox.send(session, id, Kind::Reset, 0, &payload);
    }

    /// The caller holds the table, so the thread cannot be finished before its entry is there.
    fn start(self: &Arc<Channel>, session: u64, id: u32, fields: Fields) -> Outcome<Arc<Stream>> {
        let stream = Arc::new(Stream::new(id, session, self.outbox.clone())?);
        let channel = self.clone();
        let served = stream.clone();
        self.threads.fetch_add(1, Ordering::SeqCst);
        let started = thread::Builder::new().stack_size(STACK_BYTES).spawn(move || {
            channel.serve(session, &served, &fields);
            channel.threads.fetch_sub(1, Ordering::SeqCst);
        });
        if started.is_err() {
            self.threads.fetch_sub(1, Ordering::SeqCst);
        }
        started?;
        Ok(stream)
    }

    fn serve(&self, session: u64, stream: &Arc<Stream>, fields: &Fields) {
        let outcome = services::serve(stream, fields, &self.room, self);
        stream.stop_listening();
        let told = match &outcome {
            Ok(()) => stream.end(),
            Err(Failure::Refused { code, detail }) => stream.reset(code, detail),
            Err(Failure::Gone) => Ok(()),
        };
        let mut table = self.table();
        if table.session != session {
            return;
        }
        let ended_well = outcome.is_ok() && told.is_ok();
        if let Some(entry) = table.streams.get_mut(&stream.id) {
            entry.guest_ended = true;
            if entry.host_ended || !ended_well {
                table.streams.remove(&stream.id);
            }
        }
    }
}
