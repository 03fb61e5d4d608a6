//! Finds the virtio-serial port of the channel by its name (there is no udev to make `/dev/virtio-ports`).

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

const NAME: &str = "alcove.0";
const WITHIN: Duration = Duration::from_secs(10);

/// Opens the port for reading and writing. Drivers probe in the background, so it waits a while for the port to appear.
pub fn open() -> io::Result<File> {
    let since = Instant::now();
    loop {
        if let Some(device) = find() {
            return OpenOptions::new().read(true).write(true).open(device);
        }
        if since.elapsed() > WITHIN {
            return Err(io::Error::new(io::ErrorKind::NotFound, "no port alcove.0"));
        }
        thread::sleep(Duration::from_millis(2));
    }
}

fn find() -> Option<PathBuf> {
    for entry in fs::read_dir("/sys/class/virtio-ports").ok()?.flatten() {
        let name = fs::read_to_string(entry.path().join("name")).unwrap_or_default();
        if name.trim_end() == NAME {
            return Some(PathBuf::from("/dev").join(entry.file_name()));
        }
    }
    None
}
