//! PID 1 of a room: mounts what the initrd left, forks the agent proper and then only reaps orphans, for ever. Because it does
//! nothing else, the agent's own waits for its children are never raced. When the agent dies, the machine ends.

use crate::{agent, freezer, sys};
use std::fs;
use std::io;
use std::os::unix::fs::{symlink, PermissionsExt};

/// The clock until the first claim: 2024-01-01T00:00:00Z. More than a day in the past of any claim, so that libraries which
/// reseed their random generators by time do it at the claim's clock step.
const BEFORE_ANY_CLAIM_NS: u64 = 1_704_067_200_000_000_000;

/// Does not return.
pub fn run() -> ! {
    eprintln!("alcove: init");
    if let Err(error) = prepare() {
        eprintln!("init: {}", error);
        sys::end_machine();
    }
    match sys::fork() {
        Ok(0) => agent::run(),
        Ok(agent) => reap_until(agent),
        Err(error) => eprintln!("init: fork: {}", error),
    }
    sys::end_machine()
}

fn reap_until(agent: u32) {
    loop {
        match sys::wait_any() {
            Ok(pid) if pid == agent => return eprintln!("init: the guest agent has ended"),
            Err(error) if error.raw_os_error() == Some(sys::ECHILD) => return,
            _ => (),
        }
    }
}

fn prepare() -> io::Result<()> {
    let strict = sys::MS_NOSUID | sys::MS_NODEV | sys::MS_NOEXEC;
    sys::mount_at("proc", "/proc", "proc", strict, "")?;
    sys::mount_at("sysfs", "/sys", "sysfs", strict, "")?;
    fs::create_dir_all("/dev/pts")?;
    fs::create_dir_all("/dev/shm")?;
    sys::mount_at("devpts", "/dev/pts", "devpts", sys::MS_NOSUID | sys::MS_NOEXEC, "gid=5,mode=620,ptmxmode=666")?;
    sys::mount_at("shm", "/dev/shm", "tmpfs", sys::MS_NOSUID | sys::MS_NODEV, "mode=1777")?;
    sys::mount_at("run", "/run", "tmpfs", sys::MS_NOSUID | sys::MS_NODEV, "mode=755")?;
    freezer::prepare()?;
    link_descriptors();
    for directory in ["/run/alcove", "/run/lock", "/var/log/alcove"] {
        fs::create_dir_all(directory)?;
    }
    fs::set_permissions("/run/lock", fs::Permissions::from_mode(0o1777))?;
    sys::loopback_up()?;
    sys::set_wall_clock(BEFORE_ANY_CLAIM_NS)?;
    tune();
    Ok(())
}

fn link_descriptors() {
    let links = [
        ("/proc/self/fd", "/dev/fd"),
        ("/proc/self/fd/0", "/dev/stdin"),
        ("/proc/self/fd/1", "/dev/stdout"),
        ("/proc/self/fd/2", "/dev/stderr"),
    ];
    for (target, link) in links {
        // A kernel that makes them itself has done it already.
        let _ = symlink(target, link);
    }
}

/// Settings that keep a sleeping room's memory small, and end the machine at a kernel fault. None is worth failing for.
fn tune() {
    let settings = [
        // Whole huge pages would be dirtied for a few bytes.
        ("/sys/kernel/mm/transparent_hugepage/enabled", "never"),
        ("/proc/sys/kernel/panic", "-1"),
        ("/proc/sys/kernel/panic_on_oops", "1"),
        ("/proc/sys/kernel/core_pattern", "core"),
        // Of the guest agent, one for each watch.
        ("/proc/sys/fs/inotify/max_user_instances", "512"),
        ("/proc/sys/net/ipv4/ping_group_range", "0 2147483647"),
        ("/proc/sys/net/ipv4/ip_unprivileged_port_start", "80"),
    ];
    for (path, value) in settings {
        if let Err(error) = fs::write(path, value) {
            eprintln!("init: {}: {}", path, error);
        }
    }
}
