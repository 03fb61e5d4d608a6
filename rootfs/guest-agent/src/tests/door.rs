//! The door: who waits gets a connection, names go into a hosts file and nothing else does.

use super::with_seeds;
use crate::door::{accept, is_host_name, Doors, ADDRESS};
use crate::failure::{Failure, BUSY, LIMIT};
use crate::outbox::Outbox;
use crate::stream::Stream;
use crate::sys::redirect::program;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

const NAME: &str = "memory.alcove.internal";

fn stream() -> Arc<Stream> {
    let outbox = Arc::new(Outbox::new());
    let session = outbox.begin_session(&[]);
    Arc::new(Stream::new(1, session, outbox).unwrap())
}

#[test]
fn one_listener_serves_all_who_wait() {
    let doors = Doors::at(0);
    let listener = doors.open(&[NAME], |_| Ok(())).unwrap();
    assert!(Arc::ptr_eq(&listener, &doors.open(&[NAME], |_| panic!("told twice")).unwrap()));
    let place = listener.local_addr().unwrap();
    assert_eq!(place.ip(), ADDRESS);
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let (stream, listener) = (stream(), listener.clone());
            thread::spawn(move || accept(&stream, &listener).unwrap().write_all(b"x").unwrap())
        })
        .collect();
    for _ in 0..3 {
        let mut heard = Vec::new();
        TcpStream::connect(place).unwrap().read_to_end(&mut heard).unwrap();
        assert_eq!(heard, b"x");
    }
    waiting.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn who_waits_goes_with_its_stream_and_the_caller_waits_for_the_next() {
    let doors = Doors::at(0);
    let listener = doors.open(&[NAME], |_| Ok(())).unwrap();
    let gone = stream();
    let (waiting, at) = (gone.clone(), listener.clone());
    let thread = thread::spawn(move || accept(&waiting, &at).map(|_| ()));
    gone.abandon();
    assert!(matches!(thread.join().unwrap(), Err(Failure::Gone)));
    // As after a sleep: it has connected while nobody waited.
    let mut caller = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    accept(&stream(), &listener).unwrap().write_all(b"late").unwrap();
    let mut heard = String::new();
    caller.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "late");
}

#[test]
fn names_are_told_once_and_kept_for_the_next_claim() {
    let doors = Doors::at(0);
    let mut told = Vec::new();
    doors.open(&["a.alcove.internal", NAME], |lines| Ok(told.push(lines.to_string()))).unwrap();
    doors.open(&[NAME, "b.alcove.internal"], |lines| Ok(told.push(lines.to_string()))).unwrap();
    assert_eq!(told, ["127.0.0.80 a.alcove.internal\n127.0.0.80 memory.alcove.internal\n", "127.0.0.80 b.alcove.internal\n"]);
    assert_eq!(doors.hosts_lines(), told.concat());
    let many: Vec<String> = (0..20).map(|number| format!("n{}.alcove.internal", number)).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert!(matches!(doors.open(&many, |_| Ok(())), Err(Failure::Refused { code: LIMIT, .. })));
}

#[test]
fn a_port_that_the_room_has_taken_is_busy() {
    let taken = TcpListener::bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let doors = Doors::at(taken.local_addr().unwrap().port());
    assert!(matches!(doors.open(&[NAME], |_| Ok(())), Err(Failure::Refused { code: BUSY, .. })));
    drop(taken);
    assert!(doors.open(&[NAME], |_| Ok(())).is_ok());
}

#[test]
fn only_host_names_get_into_a_hosts_file() {
    let long = "a".repeat(64);
    let longer = ["a"; 130].join(".");
    for bad in ["", ".", "a..b", "A.b", "a b", "a\nb", "a#b", "-a", "a-", "a_b", "é", "a\tb", "a/b", long.as_str(), longer.as_str()] {
        assert!(!is_host_name(bad), "{:?}", bad);
    }
    assert!(is_host_name(NAME) && is_host_name("a") && is_host_name("127.0.0.1"));
    with_seeds(|random| {
        let length = random.below(40);
        let name = String::from_utf8_lossy(&random.bytes(length)).into_owned();
        if is_host_name(&name) {
            assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.'));
        }
    });
}

/// Runs the few operations that the program uses, as uapi/linux/bpf.h says them; the port that comes of it.
fn connect_by(program: &[u64], ip: [u8; 4], port: u16) -> u16 {
    let mut registers = [0u64; 11];
    let (ip, mut asked) = (u32::from_ne_bytes(ip), u32::from(port.to_be()));
    let mut at = 0;
    loop {
        let word = program[at];
        let (operation, to, from) = (word as u8, (word >> 8 & 15) as usize, (word >> 12 & 15) as usize);
        let (offset, value) = ((word >> 16) as i16, (word >> 32) as i32);
        at += 1;
        match (operation, offset) {
            (0x61, 4) => registers[to] = u64::from(ip),
            (0x61, 24) => registers[to] = u64::from(asked),
            (0x63, 24) => asked = registers[from] as u32,
            (0x55, _) if registers[to] != value as i64 as u64 => at += offset as usize,
            (0x55, _) => (),
            (0xB7, 0) => registers[to] = value as i64 as u64,
            (0x95, 0) => {
                assert_eq!(registers[0], 1, "the connect must go on");
                return u16::from_be(asked as u16);
            }
            other => panic!("{:?}", other),
        }
    }
}

#[test]
fn only_the_doors_address_and_port_are_taken_elsewhere() {
    let program = program(SocketAddrV4::new(ADDRESS, 80), 79);
    assert_eq!(connect_by(&program, [127, 0, 0, 80], 80), 79);
    for (ip, port) in [([127, 0, 0, 80], 81), ([127, 0, 0, 80], 79), ([127, 0, 0, 1], 80), ([10, 0, 0, 80], 80), ([80, 0, 0, 127], 80)] {
        assert_eq!(connect_by(&program, ip, port), port);
    }
}
