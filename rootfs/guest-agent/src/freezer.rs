//! Everything of the room but the guest agent stands in one control group, which is frozen from the quiesce before a sleep until the
//! claim after it has been taken: nothing of the room runs with another room's randomness, identity or clock. After a sleep that came
//! to nothing, the next ping or service thaws it. (cgroup v2: https://docs.kernel.org/admin-guide/cgroup-v2.html#core-interface-files)

use crate::{door, sys};
use std::fs;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const MOUNT: &str = "/sys/fs/cgroup";
const GROUP: &str = "/sys/fs/cgroup/room";
/// A task inside a long system call is frozen as it leaves it: nothing is waited for longer than this.
const PATIENCE: Duration = Duration::from_millis(200);

static FROZEN: AtomicBool = AtomicBool::new(false);

/// Once, by PID 1.
pub fn prepare() -> io::Result<()> {
    sys::mount_at("cgroup", MOUNT, "cgroup2", sys::MS_NOSUID | sys::MS_NODEV | sys::MS_NOEXEC, "")?;
    fs::create_dir(GROUP)?;
    // The guest agent, outside the group, then gets as much of the processor as all of the room together, so that it answers however
    // much runs there. A kernel without this controller does it less well, and that is all.
    let _ = fs::write(format!("{}/cgroup.subtree_control", MOUNT), "+cpu");
    door::prepare(GROUP);
    Ok(())
}

/// Returns when no process of the room runs. Only root in the room, who may leave the group, can evade it.
pub fn freeze() -> io::Result<()> {
    FROZEN.store(true, Ordering::SeqCst);
    fs::write(format!("{}/cgroup.freeze", GROUP), "1")?;
    let begun = Instant::now();
    while !is_frozen()? && begun.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Lets the room's processes run on; does nothing when they run.
pub fn thaw() -> io::Result<()> {
    if FROZEN.swap(false, Ordering::SeqCst) {
        fs::write(format!("{}/cgroup.freeze", GROUP), "0")?;
    }
    Ok(())
}

fn is_frozen() -> io::Result<bool> {
    let events = fs::read_to_string(format!("{}/cgroup.events", GROUP))?;
    Ok(events.lines().any(|line| line == "frozen 1"))
}
