//! The wire: the sync and the frames of PROTOCOL.md. Pure; `Parser` is fed bytes in pieces of any size and gives whole frames.

pub const VERSION: u32 = 1;
pub const MAX_PAYLOAD: usize = 65_536;
pub const HEADER: usize = 12;
pub const SYNC: usize = 36;
pub const MAX_PING: usize = 64;
pub const MAGIC: [u8; 16] = [
    0xFF, 0xFF, 0xFF, 0xFF, b'A', b'L', b'C', b'O', b'V', b'E', b'/', b'1', 0x0D, 0x0A, 0x1A, 0x00,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Open = 1,
    Data = 2,
    End = 3,
    Reset = 4,
    Window = 5,
    Ping = 6,
    Pong = 7,
}

impl Kind {
    fn of(byte: u8) -> Option<Kind> {
        Some(match byte {
            1 => Kind::Open,
            2 => Kind::Data,
            3 => Kind::End,
            4 => Kind::Reset,
            5 => Kind::Window,
            6 => Kind::Ping,
            7 => Kind::Pong,
            _ => return None,
        })
    }
}

pub const LANE_BYTES: u8 = 0;
pub const LANE_STDERR: u8 = 1;
pub const LANE_MESSAGE: u8 = 2;

#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    pub stream: u32,
    pub kind: Kind,
    pub lane: u8,
    pub payload: Vec<u8>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// The host starts a session. `version` is the host's.
    Sync { session: [u8; 16], version: u32 },
    Frame(Frame),
    /// The bytes cannot be a frame. The parser scans for the next sync by itself.
    Bad(&'static str),
}

/// The twelve bytes in front of a payload.
pub fn header(length: usize, stream: u32, kind: Kind, lane: u8) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    bytes[0..4].copy_from_slice(&(length as u32).to_le_bytes());
    bytes[4..8].copy_from_slice(&stream.to_le_bytes());
    bytes[8] = kind as u8;
    bytes[9] = lane;
    bytes
}

/// The answer to a sync.
pub fn sync_answer(session: &[u8; 16]) -> [u8; SYNC] {
    let mut bytes = [0; SYNC];
    bytes[..16].copy_from_slice(&MAGIC);
    bytes[16..32].copy_from_slice(session);
    bytes[32..].copy_from_slice(&VERSION.to_le_bytes());
    bytes
}

fn word(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// Holds at most one frame and what one `feed` brought.
pub struct Parser {
    bytes: Vec<u8>,
    start: usize,
    scanning: bool,
}

impl Parser {
    /// Starts by scanning for a sync.
    pub fn new() -> Parser {
        Parser {
            bytes: Vec::new(),
            start: 0,
            scanning: true,
        }
    }

    /// Forgets everything and scans for the next sync.
    pub fn scan(&mut self) {
        self.bytes = Vec::new();
        self.start = 0;
        self.scanning = true;
    }

    /// Adds bytes from the channel. Call `next` until it has nothing before feeding again.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.start);
        self.start = 0;
        // A frame of the largest size came and went: do not keep its memory.
        if self.bytes.is_empty() && self.bytes.capacity() > 4 * bytes.len().max(4096) {
            self.bytes = Vec::new();
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The next thing that is complete.
    pub fn next(&mut self) -> Option<Event> {
        if self.scanning {
            return self.next_sync();
        }
        let rest = &self.bytes[self.start..];
        let known = rest.len().min(4);
        if rest[..known] == MAGIC[..known] {
            return self.next_magic();
        }
        if rest.len() < HEADER {
            return None;
        }
        let length = word(&rest[0..4]) as usize;
        if length > MAX_PAYLOAD {
            return self.bad("too long");
        }
        let stream = word(&rest[4..8]);
        let kind = match Kind::of(rest[8]) {
            Some(kind) => kind,
            None => return self.bad("unknown type"),
        };
        let lane = rest[9];
        if rest[10] != 0 || rest[11] != 0 {
            return self.bad("reserved bytes are not zero");
        }
        if let Some(reason) = fault(length, stream, kind, lane) {
            return self.bad(reason);
        }
        if rest.len() < HEADER + length {
            return None;
        }
        let payload = rest[HEADER..HEADER + length].to_vec();
        self.start += HEADER + length;
        Some(Event::Frame(Frame {
            stream,
            kind,
            lane,
            payload,
        }))
    }

    fn bad(&mut self, reason: &'static str) -> Option<Event> {
        self.scanning = true;
        Some(Event::Bad(reason))
    }

    /// At a frame boundary, with bytes that begin as the magic does.
    fn next_magic(&mut self) -> Option<Event> {
        let rest = &self.bytes[self.start..];
        let known = rest.len().min(MAGIC.len());
        if rest[..known] != MAGIC[..known] {
            return self.bad("too long");
        }
        if rest.len() < SYNC {
            return None;
        }
        Some(self.take_sync())
    }

    fn next_sync(&mut self) -> Option<Event> {
        let rest = &self.bytes[self.start..];
        let found = rest.windows(MAGIC.len()).position(|window| window == MAGIC);
        match found {
            Some(skipped) if rest.len() - skipped >= SYNC => {
                self.start += skipped;
                Some(self.take_sync())
            }
            Some(skipped) => {
                self.start += skipped;
                None
            }
            None => {
                // The end may be the beginning of a magic.
                self.start += rest.len().saturating_sub(MAGIC.len() - 1);
                None
            }
        }
    }

    /// Takes a whole sync. Only with our own version do frames follow.
    fn take_sync(&mut self) -> Event {
        let sync = &self.bytes[self.start..self.start + SYNC];
        let mut session = [0; 16];
        session.copy_from_slice(&sync[16..32]);
        let version = word(&sync[32..36]);
        self.start += SYNC;
        self.scanning = version != VERSION;
        Event::Sync { session, version }
    }
}

/// What is wrong with a header, if anything.
fn fault(length: usize, stream: u32, kind: Kind, lane: u8) -> Option<&'static str> {
    let of_channel = matches!(kind, Kind::Ping | Kind::Pong);
    if of_channel != (stream == 0) {
        return Some("wrong stream for this type");
    }
    if lane > if kind == Kind::Data { LANE_MESSAGE } else { 0 } {
        return Some("unknown lane");
    }
    let fits = match kind {
        Kind::End => length == 0,
        Kind::Window => length == 4,
        Kind::Ping | Kind::Pong => length <= MAX_PING,
        Kind::Open | Kind::Data | Kind::Reset => true,
    };
    if fits {
        None
    } else {
        Some("wrong length for this type")
    }
}
