//! Kept processes: real ones, with a host that reads frames.

use super::{frame_bytes, sync_bytes};
use crate::course::{Course, End};
use crate::failure::{Failure, LIMIT, NOT_FOUND};
use crate::fields::{encode, Fields, MAX_BYTES, MAX_COUNT};
use crate::frames::{Event, Frame, Kind, Parser, LANE_BYTES, LANE_STDERR};
use crate::kept::{About, Found, Kept, Name, Process, MAX_KEPT};
use crate::outbox::Outbox;
use crate::output::Output;
use crate::processes::{fitting, parse_size};
use crate::pump::Pump;
use crate::stream::{Stream, WINDOW};
use crate::sys;
use std::fs::File;
use std::io::Read;
use std::os::unix::io::{AsRawFd, FromRawFd, IntoRawFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

/// One stream and the host that reads it. `credit`: whether it gives back credit for what it read.
struct Ear {
    stream: Arc<Stream>,
    heard: Arc<(Mutex<Vec<u8>>, Condvar)>,
}

impl Ear {
    fn new(credit: bool) -> Ear {
        let (mut reading, writing) = sys::pipe().unwrap();
        let outbox = Arc::new(Outbox::new());
        let session = outbox.begin_session(&[]);
        let stream = Arc::new(Stream::new(1, session, outbox.clone()).unwrap());
        let heard = Arc::new((Mutex::new(Vec::new()), Condvar::new()));
        thread::spawn(move || outbox.write_for_ever(&writing));
        let (stream_of_host, heard_by_host) = (stream.clone(), heard.clone());
        thread::spawn(move || {
            let mut parser = Parser::new();
            parser.feed(&sync_bytes(1));
            let mut bytes = [0; 4096];
            loop {
                while let Some(event) = parser.next() {
                    if let Event::Frame(Frame { kind: Kind::Data, payload, .. }) = event {
                        if credit {
                            stream_of_host.grant(payload.len());
                        }
                        heard_by_host.0.lock().unwrap().extend(payload);
                        heard_by_host.1.notify_all();
                    }
                }
                let count = reading.read(&mut bytes).unwrap();
                parser.feed(&bytes[..count]);
            }
        });
        Ear { stream, heard }
    }

    /// Waits until it has heard so much; what that was.
    fn hears(&self, count: usize) -> Vec<u8> {
        let mut heard = self.heard.0.lock().unwrap();
        while heard.len() < count {
            heard = self.heard.1.wait(heard).unwrap();
        }
        heard.clone()
    }
}

fn about(tag: Option<&str>) -> About {
    About {
        tag: tag.map(str::to_string),
        user: "user".to_string(),
        cwd: "/".to_string(),
        arguments: Vec::new(),
        env: Vec::new(),
        terminal: false,
    }
}

struct Kid {
    process: Arc<Process>,
    pump: Pump,
    number: u64,
}

/// The fields {pid}.
fn id_message(process: &Process) -> Vec<u8> {
    let pid = process.pid.to_string();
    [b"\x03pid".as_slice(), &(pid.len() as u32).to_le_bytes(), pid.as_bytes()].concat()
}

/// A shell command with its pump, which does not run yet.
fn start(kept: &Kept, command: &str, tag: Option<&str>, timeout_ms: Option<u64>) -> Kid {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", command]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // A process group of its own, as become_user makes it.
    unsafe {
        shell.pre_exec(|| sys::begin_session());
    }
    let mut child = shell.spawn().unwrap();
    let input = child.stdin.take().map(|pipe| unsafe { File::from_raw_fd(pipe.into_raw_fd()) }).unwrap();
    sys::set_nonblocking(input.as_raw_fd()).unwrap();
    let outputs = vec![
        Output::of_pipe(child.stdout.take(), LANE_BYTES).unwrap(),
        Output::of_pipe(child.stderr.take(), LANE_STDERR).unwrap(),
    ];
    let pump = Pump::new(Course::new(child, timeout_ms).unwrap(), outputs);
    let process = pump.process(about(tag), Some(input)).unwrap();
    let number = kept.enter(process.clone());
    Kid { process, pump, number }
}

fn run(kept: &Arc<Kept>, mut kid: Kid) -> thread::JoinHandle<End> {
    let kept = kept.clone();
    thread::spawn(move || {
        kid.pump.run(&kid.process).unwrap();
        let end = kid.pump.end();
        kept.leave(kid.number, end);
        end
    })
}

fn exited(code: i32) -> End {
    End {
        exit: Some(code),
        signal: 0,
        timed_out: false,
        truncated: false,
    }
}

#[test]
fn every_listener_gets_everything_and_those_that_leave_are_forgotten() {
    let kept = Arc::new(Kept::new());
    let kid = start(&kept, "read go; head -c 1000000 /dev/zero; echo end; exit 3", None, None);
    let process = kid.process.clone();
    let ears = [Ear::new(true), Ear::new(true), Ear::new(true)];
    // Takes nothing, and leaves once it is full.
    let deaf = Ear::new(false);
    let listeners: Vec<_> = ears
        .iter()
        .chain([&deaf])
        .map(|ear| {
            let (process, stream) = (process.clone(), ear.stream.clone());
            thread::spawn(move || process.listen(&stream))
        })
        .collect();
    while kid.process.waiting() < 4 {
        thread::yield_now();
    }
    let pump = run(&kept, kid);
    process.give(&deaf.stream, b"go\n").unwrap();
    assert_eq!(deaf.hears(WINDOW).len(), WINDOW);
    deaf.stream.abandon();
    assert_eq!(pump.join().unwrap(), exited(3));
    let ends: Vec<_> = listeners.into_iter().map(|listener| listener.join().unwrap()).collect();
    assert!(matches!(ends[..], [Ok(_), Ok(_), Ok(_), Err(Failure::Gone)]));
    let first = id_message(&process);
    for ear in &ears {
        let heard = ear.hears(first.len() + 1_000_004);
        assert_eq!(heard.len(), first.len() + 1_000_004);
        assert!(heard.starts_with(&first) && heard.ends_with(b"end\n"));
    }
}

#[test]
fn a_process_without_listeners_is_not_held_up() {
    let kept = Arc::new(Kept::new());
    let kid = start(&kept, "head -c 2000000 /dev/zero; head -c 2000000 /dev/zero >&2", None, None);
    assert_eq!(run(&kept, kid).join().unwrap(), exited(0));
}

#[test]
fn a_child_that_keeps_the_pipe_does_not_hold_the_end_back() {
    let kept = Arc::new(Kept::new());
    let kid = start(&kept, "sleep 1000 & echo left; exit 4", None, None);
    let group = kid.process.pid;
    assert_eq!(run(&kept, kid).join().unwrap(), exited(4));
    sys::kill_group(group, sys::SIGKILL);
}

#[test]
fn listening_at_the_very_end_never_hangs() {
    let kept = Arc::new(Kept::new());
    for _ in 0..60 {
        let kid = start(&kept, "echo x", Some("short"), None);
        let process = kid.process.clone();
        let ear = Ear::new(true);
        let pump = run(&kept, kid);
        assert_eq!(process.listen(&ear.stream).unwrap(), exited(0));
        pump.join().unwrap();
        let first = id_message(&process);
        assert!(ear.hears(first.len()).starts_with(&first));
    }
}

#[test]
fn a_timeout_ends_the_group() {
    let kept = Arc::new(Kept::new());
    let kid = start(&kept, "trap '' TERM; echo on; while :; do sleep 1; done", None, Some(50));
    let end = run(&kept, kid).join().unwrap();
    assert_eq!((end.exit, end.signal, end.timed_out), (None, sys::SIGKILL, true));
}

#[test]
fn input_goes_in_and_is_refused_when_it_cannot() {
    let kept = Arc::new(Kept::new());
    let ear = Ear::new(true);
    let kid = start(&kept, "cat; exit 6", None, None);
    let process = kid.process.clone();
    let pump = run(&kept, kid);
    process.give(&ear.stream, &vec![7; 300_000]).unwrap();
    process.close_input();
    assert!(matches!(process.give(&ear.stream, b"x"), Err(Failure::Refused { .. })));
    assert_eq!(pump.join().unwrap(), exited(6));

    // Nobody reads it: whoever waits learns of the end.
    let kid = start(&kept, "sleep 1000", None, None);
    let process = kid.process.clone();
    let pump = run(&kept, kid);
    let (given, stream) = (process.clone(), ear.stream.clone());
    let giver = thread::spawn(move || given.give(&stream, &vec![7; 300_000]));
    process.signal(sys::SIGTERM).unwrap();
    assert!(matches!(giver.join().unwrap(), Err(Failure::Refused { code: NOT_FOUND, .. })));
    assert_eq!(pump.join().unwrap().signal, sys::SIGTERM);
    assert!(matches!(process.signal(sys::SIGKILL), Err(Failure::Refused { code: NOT_FOUND, .. })));
}

#[test]
fn ends_are_kept_for_those_who_come_late_but_not_all() {
    let kept = Arc::new(Kept::new());
    let mut pids = Vec::new();
    for at in 0..70 {
        let tag = format!("t{}", at);
        let kid = start(&kept, &format!("exit {}", at), Some(&tag), None);
        pids.push(kid.process.pid);
        run(&kept, kid).join().unwrap();
    }
    let code = |tag: &str| match kept.find(&Name::Tag(tag)) {
        Ok(Found::Ended(_, end)) => end.exit,
        _ => None,
    };
    assert_eq!((code("t5"), code("t6"), code("t69")), (None, Some(6), Some(69)));
    assert!(kept.find_running(&Name::Pid(u64::from(pids[69]))).is_err());
    // One that runs goes before those that have ended, and the newer before the older.
    let older = start(&kept, "read x", Some("t69"), None);
    let newer = start(&kept, "read x", Some("t69"), None);
    assert_eq!(kept.find_running(&Name::Tag("t69")).unwrap().pid, newer.process.pid);
    for kid in [older, newer] {
        kid.process.close_input();
        run(&kept, kid).join().unwrap();
    }
    assert!(kept.all().is_empty());
}

#[test]
fn there_are_only_so_many_places() {
    let kept = Kept::new();
    let places: Vec<_> = (0..MAX_KEPT).map(|_| kept.reserve().unwrap()).collect();
    assert!(matches!(kept.reserve(), Err(Failure::Refused { code: LIMIT, .. })));
    drop(places);
    assert!(kept.reserve().is_ok());
}

#[test]
fn sizes_of_terminals_are_read() {
    assert_eq!(parse_size("80x24"), Some((80, 24)));
    for text in ["", "80", "80x", "x24", "0x24", "80x0", "+80x24", "80x24x1", "65536x1", "80X24", " 80x24"] {
        assert_eq!(parse_size(text), None, "{}", text);
    }
}

#[test]
fn what_is_told_about_a_process_fits_into_a_message() {
    let long = vec![b'x'; 40_000];
    let many = vec![("env", b"A=b".as_slice()); 2 * MAX_COUNT];
    assert_eq!(fitting(&many).len(), MAX_COUNT);
    let entries = [("arg", b"a".as_slice()), ("env", &long), ("env", &long), ("env", b"A=b")];
    let fit = fitting(&entries);
    assert_eq!(fit.len(), 2);
    assert!(encode(fit).len() <= MAX_BYTES && Fields::parse(&encode(fit)).is_ok());
    // Its arithmetic is the encoding's.
    assert_eq!(frame_bytes(&super::data(1, &encode(&entries[..1]))).len(), 12 + 5 + 3 + 1);
}
