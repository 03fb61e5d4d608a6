//! `stats` and `quiesce`: what the room uses, and the moment before it sleeps.

use crate::channel::Channel;
use crate::failure::Outcome;
use crate::fields::Fields;
use crate::freezer;
use crate::stream::Stream;
use crate::sys;
use std::fs;

pub fn stats(stream: &Stream, fields: &Fields) -> Outcome<()> {
    fields.only(&["svc"])?;
    let memory = fs::read_to_string("/proc/meminfo")?;
    let uptime = fs::read_to_string("/proc/uptime")?;
    let (busy, total) = processor_ms(&fs::read_to_string("/proc/stat")?);
    let load = fs::read_to_string("/proc/loadavg")?;
    let (disk_total, disk_free) = sys::disk_figures("/")?;
    let answer = [
        ("memTotal", memory_bytes(&memory, "MemTotal:").to_string()),
        ("memAvailable", memory_bytes(&memory, "MemAvailable:").to_string()),
        ("memCached", memory_bytes(&memory, "Cached:").to_string()),
        ("processes", count_processes()?.to_string()),
        ("load1", load.split(' ').next().unwrap_or("0").to_string()),
        ("diskTotal", disk_total.to_string()),
        ("diskFree", disk_free.to_string()),
        ("uptimeMs", milliseconds(&uptime).to_string()),
        ("cpuBusyMs", busy.to_string()),
        ("cpuTotalMs", total.to_string()),
    ];
    let entries: Vec<(&str, &[u8])> = answer.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
    stream.message(&entries)
}

/// After this, nothing of the room runs, nothing of it is only in a buffer, and the channel waits for a new sync.
pub fn quiesce(stream: &Stream, fields: &Fields, channel: &Channel) -> Outcome<()> {
    fields.only(&["svc", "dropCaches"])?;
    freezer::freeze()?;
    sys::sync();
    if fields.flag("dropCaches")? {
        fs::write("/proc/sys/vm/drop_caches", "1")?;
    }
    let processes = count_processes()?.to_string();
    // Whatever the host sends once it has the answer belongs to a session that is over.
    channel.scan_from_now();
    stream.message(&[("processes", processes.as_bytes())])?;
    stream.end()?;
    stream.flush()
}

/// proc(5): a line of /proc/meminfo, in bytes.
pub fn memory_bytes(text: &str, key: &str) -> u64 {
    let line = text.lines().find(|line| line.starts_with(key)).unwrap_or("");
    let kibibytes: u64 = line.split_whitespace().nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    kibibytes * 1024
}

/// proc(5): the first word of /proc/uptime is seconds with two decimals.
pub fn milliseconds(uptime: &str) -> u64 {
    let seconds: f64 = uptime.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0.0);
    (seconds * 1000.0) as u64
}

/// proc(5): the first line of /proc/stat, of all processors: user nice system idle iowait irq softirq steal, in hundredths of a
/// second. What they worked for the room, and all of it.
pub fn processor_ms(text: &str) -> (u64, u64) {
    let line = text.lines().find(|line| line.starts_with("cpu ")).unwrap_or("");
    let spent: Vec<u64> = line.split_whitespace().skip(1).take(8).map(|word| word.parse().unwrap_or(0)).collect();
    let total: u64 = spent.iter().sum();
    // Idle, waiting for the disk, and what the host took away.
    let idle: u64 = [3, 4, 7].iter().filter_map(|at| spent.get(*at)).sum();
    ((total - idle) * 10, total * 10)
}

/// Processes that are not the kernel's own threads (those have no command line, and neither have zombies).
fn count_processes() -> Outcome<usize> {
    let mut count = 0;
    for entry in fs::read_dir("/proc")?.flatten() {
        let is_process = entry.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit());
        if is_process && fs::read(entry.path().join("cmdline")).map_or(false, |line| !line.is_empty()) {
            count += 1;
        }
    }
    Ok(count)
}
