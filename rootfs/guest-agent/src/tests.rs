//! Tests of the pure parts; run by test.sh. The fuzz tests print their seed: `FUZZ_SEED=… test.sh` repeats one, `FUZZ_ROUNDS`
//! sets how long they go on.

use crate::failure::Failure;
use crate::fields::{encode, put, BadFields, Fields, MAX_BYTES, MAX_COUNT};
use crate::figures::{memory_bytes, milliseconds};
use crate::frames::{header, sync_answer, Event, Frame, Kind, Parser, HEADER, MAGIC, MAX_PAYLOAD, SYNC, VERSION};
use crate::outbox::Outbox;
use crate::stream::{Stream, Taken, WINDOW};
use crate::template::{split_pair, Template};
use crate::users;
use std::sync::Arc;

mod door;
mod files;
mod kept;

// ---- randomness with a seed (splitmix64, public domain, Sebastiano Vigna)

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }
}

fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Runs `check` with many seeds; says which one failed.
fn with_seeds(check: impl Fn(&mut Random)) {
    let first = from_environment("FUZZ_SEED", 1);
    let rounds = from_environment("FUZZ_ROUNDS", 400);
    for seed in first..first + rounds {
        // Shown by the test harness only when the check fails.
        println!("seed {}", seed);
        check(&mut Random(seed));
    }
}

// ---- frames

fn sync_bytes(session: u8) -> Vec<u8> {
    sync_answer(&[session; 16]).to_vec()
}

fn frame_bytes(frame: &Frame) -> Vec<u8> {
    let mut bytes = header(frame.payload.len(), frame.stream, frame.kind, frame.lane).to_vec();
    bytes.extend_from_slice(&frame.payload);
    bytes
}

fn data(stream: u32, payload: &[u8]) -> Frame {
    Frame {
        stream,
        kind: Kind::Data,
        lane: 0,
        payload: payload.to_vec(),
    }
}

fn drain(parser: &mut Parser) -> Vec<Event> {
    std::iter::from_fn(|| parser.next()).collect()
}

fn synced() -> Parser {
    let mut parser = Parser::new();
    parser.feed(&sync_bytes(7));
    assert_eq!(drain(&mut parser), [sync_event(7)]);
    parser
}

fn sync_event(session: u8) -> Event {
    Event::Sync {
        session: [session; 16],
        version: VERSION,
    }
}

#[test]
fn frames_arrive_whole_however_they_are_cut() {
    let frames = [data(1, b"hello"), data(3, b""), data(5, &[9; MAX_PAYLOAD])];
    let mut bytes = Vec::new();
    for frame in &frames {
        bytes.extend(frame_bytes(frame));
    }
    for size in [1, 2, 3, 11, 12, 13, 4096, 1_000_000] {
        let mut parser = synced();
        let mut seen = Vec::new();
        for piece in bytes.chunks(size) {
            parser.feed(piece);
            seen.extend(drain(&mut parser));
        }
        let wanted: Vec<Event> = vec![
            Event::Frame(data(1, b"hello")),
            Event::Frame(data(3, b"")),
            Event::Frame(data(5, &[9; MAX_PAYLOAD])),
        ];
        assert_eq!(seen, wanted, "cut into {}", size);
    }
}

#[test]
fn a_sync_is_found_in_garbage_and_between_frames() {
    let mut parser = Parser::new();
    parser.feed(&[0xFF; 5000]);
    parser.feed(&MAGIC[..9]);
    parser.feed(&[0xFF; 3]);
    assert_eq!(drain(&mut parser), []);
    let sync = sync_bytes(3);
    parser.feed(&sync[..20]);
    assert_eq!(drain(&mut parser), []);
    parser.feed(&sync[20..]);
    parser.feed(&frame_bytes(&data(1, b"a")));
    parser.feed(&sync_bytes(4));
    assert_eq!(drain(&mut parser), [sync_event(3), Event::Frame(data(1, b"a")), sync_event(4)]);
}

#[test]
fn a_sync_of_another_version_is_told_but_not_followed() {
    let mut sync = sync_bytes(1);
    sync[32] = 2;
    let mut parser = Parser::new();
    parser.feed(&sync);
    parser.feed(&frame_bytes(&data(1, b"a")));
    let told = Event::Sync {
        session: [1; 16],
        version: 2,
    };
    assert_eq!(drain(&mut parser), [told]);
}

#[test]
fn filler_completes_a_partial_frame_and_the_next_sync_is_found() {
    let mut parser = synced();
    parser.feed(&header(MAX_PAYLOAD, 1, Kind::Data, 0));
    parser.feed(&[1; 100]);
    parser.feed(&[0xFF; 65_552]);
    parser.feed(&sync_bytes(9));
    let events = drain(&mut parser);
    assert_eq!(events.last(), Some(&sync_event(9)));
}

#[test]
fn bad_headers_are_refused() {
    let good = header(0, 1, Kind::Data, 0);
    let broken = |at: usize, byte: u8| {
        let mut bytes = good;
        bytes[at] = byte;
        bytes.to_vec()
    };
    let wrong = [
        broken(2, 2),                                 // 131,072 bytes
        broken(8, 0),                                 // type 0
        broken(8, 8),                                 // type 8
        broken(9, 3),                                 // lane 3
        broken(10, 1),                                // reserved
        broken(11, 1),                                // reserved
        broken(4, 0),                                 // DATA on stream 0
        header(1, 1, Kind::End, 0).to_vec(),          // END with a payload
        header(3, 1, Kind::Window, 0).to_vec(),       // WINDOW of 3 bytes
        header(0, 1, Kind::Ping, 0).to_vec(),         // PING on a stream
        header(65, 0, Kind::Ping, 0).to_vec(),        // PING too long
        header(0, 1, Kind::Open, 1).to_vec(),         // OPEN with a lane
        vec![0xFF, 0xFF, 0xFF, 0xFF, b'A', b'L', b'X', 0, 0, 0, 0, 0],
    ];
    for bytes in wrong {
        let mut parser = synced();
        parser.feed(&bytes);
        let events = drain(&mut parser);
        assert!(matches!(events[..], [Event::Bad(_)]), "{:?} gave {:?}", bytes, events);
        parser.feed(&sync_bytes(8));
        assert_eq!(drain(&mut parser), [sync_event(8)], "after {:?}", bytes);
    }
}

#[test]
fn fuzz_random_frames_survive_random_cuts() {
    with_seeds(|random| {
        let mut parser = synced();
        let mut wanted = Vec::new();
        let mut bytes = Vec::new();
        for _ in 0..random.below(20) {
            if random.below(8) == 0 {
                bytes.extend(sync_bytes(2));
                wanted.push(sync_event(2));
                continue;
            }
            let length = [0, 1, 4, 100, 4096, MAX_PAYLOAD][random.below(6)];
            let frame = data(1 + random.below(1 << 30) as u32, &random.bytes(length));
            bytes.extend(frame_bytes(&frame));
            wanted.push(Event::Frame(frame));
        }
        let mut seen = Vec::new();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(1 + random.below(rest.len().min(9000)));
            parser.feed(piece);
            seen.extend(drain(&mut parser));
            rest = after;
        }
        assert!(seen == wanted);
    });
}

#[test]
fn fuzz_garbage_never_confuses_the_parser_for_good() {
    with_seeds(|random| {
        let mut parser = synced();
        for _ in 0..20 {
            let length = 1 + random.below(3000);
            let mut garbage = random.bytes(length);
            // Looks like frames often enough to get deeper than the first check.
            let step = 1 + random.below(50);
            for at in (0..garbage.len().saturating_sub(HEADER)).step_by(step) {
                garbage[at + 1..at + 4].copy_from_slice(&[0, 0, 0]);
                garbage[at + 8] &= 7;
                garbage[at + 9..at + 12].copy_from_slice(&[0, 0, 0]);
            }
            parser.feed(&garbage);
            for event in drain(&mut parser) {
                if let Event::Frame(frame) = event {
                    assert!(frame.payload.len() <= MAX_PAYLOAD);
                }
            }
        }
        parser.feed(&[0xFF; 65_552]);
        drain(&mut parser);
        parser.feed(&sync_bytes(6));
        assert_eq!(drain(&mut parser).last(), Some(&sync_event(6)));
        assert_eq!(sync_bytes(6).len(), SYNC);
    });
}

// ---- fields

fn bad(result: Result<Fields, BadFields>) -> bool {
    result.is_err()
}

#[test]
fn fields_are_read_back() {
    let payload = encode(&[("path", b"/a"), ("arg", b"x"), ("arg", b"y"), ("mode", b"644"), ("append", b"1"), ("size", b"42")]);
    let fields = Fields::parse(&payload).unwrap();
    assert_eq!(fields.needed("path"), Ok("/a"));
    assert_eq!(fields.all("arg"), Ok(vec!["x", "y"]));
    assert_eq!(fields.octal("mode"), Ok(Some(0o644)));
    assert_eq!(fields.flag("append"), Ok(true));
    assert_eq!(fields.flag("absent"), Ok(false));
    assert_eq!(fields.number("size"), Ok(Some(42)));
    assert!(fields.text("arg").is_err());
    assert!(fields.needed("absent").is_err());
    assert!(fields.number("path").is_err());
    assert!(fields.only(&["path", "arg", "mode", "append"]).is_err());
}

#[test]
fn numbers_are_digits_within_range() {
    for text in ["-1", "+1", "1.0", "0x10", " 1", "99999999999999999999999"] {
        let payload = encode(&[("n", text.as_bytes())]);
        assert!(Fields::parse(&payload).unwrap().number("n").is_err(), "{}", text);
    }
    let payload = encode(&[("n", b"18446744073709551615"), ("mode", b"10000"), ("text", b"a\0b")]);
    let fields = Fields::parse(&payload).unwrap();
    assert_eq!(fields.number("n"), Ok(Some(u64::MAX)));
    assert!(fields.octal("mode").is_err());
    assert!(fields.text("text").is_err());
}

#[test]
fn malformed_fields_are_refused() {
    let good = encode(&[("name", b"value")]);
    for cut in 1..good.len() {
        assert!(bad(Fields::parse(&good[..cut])), "cut at {}", cut);
    }
    assert!(bad(Fields::parse(&[0, 0, 0, 0, 0])));
    assert!(bad(Fields::parse(&[33; 60])));
    assert!(bad(Fields::parse(&encode(&[("na me", b"")]))));
    assert!(bad(Fields::parse(&encode(&[("1name", b"")]))));
    assert!(!bad(Fields::parse(&encode(&[("name1", b"")]))));
    assert!(bad(Fields::parse(&[1, b'a', 0xFF, 0xFF, 0xFF, 0xFF])));
    assert!(bad(Fields::parse(&vec![0; MAX_BYTES + 1])));
    let mut many = Vec::new();
    for _ in 0..MAX_COUNT {
        put(&mut many, "a", b"");
    }
    assert!(!bad(Fields::parse(&many)));
    put(&mut many, "a", b"");
    assert!(bad(Fields::parse(&many)));
}

#[test]
fn fuzz_fields_of_any_bytes_are_read_or_refused() {
    with_seeds(|random| {
        let length = random.below(200);
        let mut payload = random.bytes(length);
        if random.below(2) == 0 {
            payload = encode(&[("alpha", &payload), ("beta", b"1")]);
            let at = random.below(payload.len());
            payload[at] = random.next() as u8;
        }
        if let Ok(fields) = Fields::parse(&payload) {
            let _ = fields.text("alpha");
            let _ = fields.number("beta");
            let _ = fields.all("alpha");
        }
    });
}

// ---- streams

fn stream() -> Stream {
    let outbox = Arc::new(Outbox::new());
    let session = outbox.begin_session(&[]);
    Stream::new(1, session, outbox).unwrap()
}

#[test]
fn a_window_is_held_to() {
    let stream = stream();
    assert!(stream.deliver(&vec![0; WINDOW]));
    assert!(!stream.deliver(&[0]));
    let mut taken = vec![0; 40_000];
    assert_eq!(stream.take(&mut taken), Taken::Bytes(40_000));
    assert!(stream.deliver(&vec![0; 40_000]));
    assert!(!stream.deliver(&[0]));
    assert!(!stream.grant(1));
}

#[test]
fn a_finished_service_throws_away_what_still_comes() {
    let stream = stream();
    assert!(stream.deliver(&vec![0; WINDOW]));
    stream.stop_listening();
    for _ in 0..10 {
        assert!(stream.deliver(&vec![0; WINDOW]));
    }
    assert_eq!(stream.take(&mut [0; 10]), Taken::Nothing);
    stream.host_ended();
    assert_eq!(stream.take(&mut [0; 10]), Taken::End);
}

#[test]
fn whoever_waits_learns_that_the_stream_is_gone() {
    let stream = Arc::new(stream());
    stream.send(0, &vec![0; WINDOW / 4]).unwrap();
    let waiting = stream.clone();
    let reader = std::thread::spawn(move || waiting.read(&mut [0; 10]));
    stream.abandon();
    assert!(matches!(reader.join(), Ok(Err(Failure::Gone))));
    assert!(matches!(stream.message(&[]), Err(Failure::Gone)));
}

// ---- files of the room

#[test]
fn templates_are_read() {
    let template = Template::parse("start=node\nstart=/opt/a b.ts\nuser=bob\nenv=A=b=c\nenv==x\ncloneSafe=1\nport=8080\nnew=1\nnoise\n");
    assert_eq!(template.start, ["node", "/opt/a b.ts"]);
    assert_eq!(template.user, "bob");
    assert_eq!(template.env, [("A".to_string(), "b=c".to_string())]);
    assert!(template.clone_safe);
    assert_eq!(Template::parse("").user, "user");
    assert_eq!(split_pair("=x"), None);
}

#[test]
fn users_are_found() {
    let passwd = "root:x:0:0:root:/root:/bin/bash\nuser:x:1000:1000::/home/user:/bin/bash\nshort:x\n";
    let group = "root:x:0:\nsudo:x:27:other,user\nuser:x:1000:user\nbroken\n";
    let user = users::parse("user", passwd, group).unwrap();
    assert_eq!((user.uid, user.gid, user.home.as_str()), (1000, 1000, "/home/user"));
    assert_eq!(user.groups, [27, 1000]);
    assert_eq!(users::parse("use", passwd, group), None);
    assert_eq!(users::parse("short", passwd, group), None);
}

#[test]
fn figures_of_proc_are_read() {
    assert_eq!(memory_bytes("MemTotal:  100 kB\nMemFree: 1 kB\n", "MemTotal:"), 102_400);
    assert_eq!(memory_bytes("", "MemTotal:"), 0);
    assert_eq!(milliseconds("12.34 5.00\n"), 12_340);
    assert_eq!(milliseconds("?"), 0);
}
