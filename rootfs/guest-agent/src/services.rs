//! The table of services of PROTOCOL.md.

use crate::channel::Channel;
use crate::failure::{refuse, Outcome, DENIED, UNSUPPORTED};
use crate::fields::Fields;
use crate::room::Room;
use crate::stream::Stream;
use crate::{claim, connect, door, entries, exec, figures, files, freezer, logs, processes, ready, supervisor, watch, write};
use std::sync::Arc;

/// Serves one stream to its end. Its caller sends END or RESET.
pub fn serve(stream: &Arc<Stream>, fields: &Fields, room: &Room, channel: &Channel) -> Outcome<()> {
    let service = fields.needed("svc")?;
    let always = matches!(service, "claim" | "quiesce" | "stats" | "ready");
    if !always && !room.identity().claimed {
        return refuse(DENIED, "the room is not claimed yet");
    }
    if !matches!(service, "claim" | "quiesce") {
        freezer::thaw()?;
    }
    match service {
        "claim" => claim::serve(stream, fields, room),
        "ready" => ready::serve(stream, fields, room),
        "exec" => exec::serve(stream, fields, room),
        "attach" => processes::attach(stream, fields, room),
        "processes" => processes::list(stream, fields, room),
        "input" => processes::input(stream, fields, room),
        "signal" => processes::signal(fields, room),
        "resize" => processes::resize(fields, room),
        "connect" => connect::serve(stream, fields),
        "door" => door::serve(stream, fields, &room.doors),
        "fileRead" => files::read(stream, fields),
        "fileWrite" => write::serve(stream, fields),
        "fileList" => entries::list(stream, fields),
        "fileStat" => entries::stat(stream, fields),
        "fileMove" => files::rename(fields),
        "fileRemove" => files::remove(fields),
        "fileMakeDir" => files::make_directory(fields),
        "watch" => watch::serve(stream, fields),
        "logs" => logs::serve(stream, fields, room),
        "agent" => supervisor::serve(stream, fields, room),
        "quiesce" => figures::quiesce(stream, fields, channel),
        "stats" => figures::stats(stream, fields),
        _ => refuse(UNSUPPORTED, format!("no service {}", service)),
    }
}
