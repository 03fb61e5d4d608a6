//! The initrd's `/init`: loads the few modules that the kernel has not built in, lays the writable disk over the read-only
//! root and goes there. `/modules` holds the modules, named in the order in which they must be loaded.

use crate::sys;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

const AGENT: &str = "/usr/lib/alcove/guest-agent";
const DISKS_WITHIN: Duration = Duration::from_secs(10);

/// Does not return: the room's PID 1 takes over, or the machine ends.
pub fn run() -> ! {
    // A host that watches the console sees that the kernel is past the point where an emulated boot may hang.
    eprintln!("alcove: initrd");
    if let Err(error) = enter_room() {
        eprintln!("initrd: {}", error);
    }
    sys::end_machine()
}

fn enter_room() -> io::Result<()> {
    for directory in ["/dev", "/proc", "/lower", "/disk", "/root"] {
        fs::create_dir_all(directory)?;
    }
    sys::mount_at("dev", "/dev", "devtmpfs", 0, "")?;
    load_modules()?;
    let (root, disk) = find_disks()?;
    sys::mount_at(&root, "/lower", "erofs", sys::MS_RDONLY | sys::MS_NOATIME, "")?;
    sys::mount_at(&disk, "/disk", "ext4", sys::MS_NOATIME, "")?;
    fs::create_dir_all("/disk/upper")?;
    fs::create_dir_all("/disk/work")?;
    // redirect_dir lets a directory of the template be renamed.
    let layers = "lowerdir=/lower,upperdir=/disk/upper,workdir=/disk/work,redirect_dir=on";
    sys::mount_at("room", "/root", "overlay", sys::MS_NOATIME, layers)?;
    sys::mount_at("/dev", "/root/dev", "", sys::MS_MOVE, "")?;
    // The initrd's files are memory: give it back before nobody can reach them any more.
    fs::remove_dir_all("/modules")?;
    fs::remove_file("/init")?;
    std::env::set_current_dir("/root")?;
    sys::mount_at(".", "/", "", sys::MS_MOVE, "")?;
    sys::chroot_here()?;
    std::env::set_current_dir("/")?;
    Err(Command::new(AGENT).arg0("alcove-init").env_clear().exec())
}

fn load_modules() -> io::Result<()> {
    let mut paths: Vec<PathBuf> = fs::read_dir("/modules")?
        .filter_map(|entry| entry.ok().map(|found| found.path()))
        .collect();
    paths.sort();
    for path in paths {
        sys::load_module(&File::open(&path)?)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {}", path.display(), error)))?;
    }
    Ok(())
}

/// The root (erofs) and the room's disk (ext4), told apart by their contents: the order in which a virtual machine
/// monitor's devices appear is not promised.
fn find_disks() -> io::Result<(String, String)> {
    let since = Instant::now();
    loop {
        let mut root = None;
        let mut disk = None;
        for letter in ["a", "b", "c", "d"] {
            let device = format!("/dev/vd{}", letter);
            match file_system(&device) {
                Some("erofs") if root.is_none() => root = Some(device),
                Some("ext4") if disk.is_none() => disk = Some(device),
                _ => (),
            }
        }
        if let (Some(root), Some(disk)) = (root, disk) {
            return Ok((root, disk));
        }
        if since.elapsed() > DISKS_WITHIN {
            return Err(io::Error::new(io::ErrorKind::NotFound, "no root or no disk"));
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// Magic numbers of `linux/magic.h`: erofs at 1024, ext4 at 1024 + 56.
fn file_system(device: &str) -> Option<&'static str> {
    let mut block = [0; 64];
    let mut file = File::open(device).ok()?;
    file.seek(SeekFrom::Start(1024)).ok()?;
    file.read_exact(&mut block).ok()?;
    if block[..4] == [0xE2, 0xE1, 0xF5, 0xE0] {
        Some("erofs")
    } else if block[56..58] == [0x53, 0xEF] {
        Some("ext4")
    } else {
        None
    }
}
