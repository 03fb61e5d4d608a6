//! `ready`: answers once the guest is fit to become a template.

use crate::failure::{Failure, Outcome};
use crate::fields::Fields;
use crate::process::{spawn, Start};
use crate::room::Room;
use crate::stream::Stream;
use crate::{users, VERSION};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::process::Stdio;
use std::time::Duration;

const ASK_AGAIN: Duration = Duration::from_millis(50);
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
const MAX_ANSWER: u64 = 16 * 1024;

pub fn serve(stream: &Stream, fields: &Fields, room: &Room) -> Outcome<()> {
    fields.only(&["svc"])?;
    let has_agent = !room.template.start.is_empty();
    if has_agent && room.template.clone_safe {
        while !is_idle(room.template.port) {
            stream.pause(ASK_AGAIN)?;
        }
    }
    for command in &room.template.warm {
        if let Err(error) = warm(room, command) {
            eprintln!("guest-agent: warm: {}: {:?}", command, error);
        }
    }
    let flag = |value: bool| -> &[u8] { if value { b"1" } else { b"0" } };
    stream.message(&[
        ("agentRunning", flag(room.supervisor.is_running())),
        ("cloneSafe", flag(room.template.clone_safe)),
        ("version", VERSION.as_bytes()),
    ])
}

/// Whether `GET /ping` of the agent is answered with 200, and not with `HealthyBusy`: a template of a busy agent would be busy
/// in every room.
fn is_idle(port: u16) -> bool {
    let ask = || -> std::io::Result<Vec<u8>> {
        let mut socket = TcpStream::connect(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))?;
        socket.set_read_timeout(Some(ANSWER_WITHIN))?;
        socket.write_all(b"GET /ping HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        let mut answer = Vec::new();
        socket.take(MAX_ANSWER).read_to_end(&mut answer)?;
        Ok(answer)
    };
    match ask() {
        Ok(answer) => {
            let text = String::from_utf8_lossy(&answer);
            text.starts_with("HTTP/1.") && text.get(8..12) == Some(" 200") && !text.contains("HealthyBusy")
        }
        Err(_) => false,
    }
}

fn warm(room: &Room, command: &str) -> Outcome<()> {
    let user = users::find(&room.template.user)?;
    let arguments = ["/bin/sh".to_string(), "-c".to_string(), command.to_string()];
    let mut child = spawn(Start {
        arguments: &arguments,
        user: &user,
        cwd: None,
        env: &room.template.env,
        stdin: Stdio::null(),
        stdout: Stdio::null(),
        stderr: Stdio::null(),
        terminal: false,
    })?;
    child.wait().map(|_| ()).map_err(Failure::from)
}
