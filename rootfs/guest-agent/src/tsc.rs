//! Measures the host's time stamp counter. An emulated guest (QEMU's TCG) sees the host's counter and measures it against the
//! emulated PIT while it boots; on a busy machine that fails, and the boot hangs. The boot parameter `tsc_early_khz` tells it.

use std::time::{Duration, Instant};

const SAMPLES: usize = 5;
const SAMPLE: Duration = Duration::from_millis(20);

/// Thousands of ticks a second, the median of a few measurements; 0 where there is no such counter.
pub fn kilohertz() -> u64 {
    let mut measured: Vec<u64> = (0..SAMPLES).map(|_| measure()).collect();
    measured.sort_unstable();
    measured[SAMPLES / 2]
}

fn measure() -> u64 {
    let since = Instant::now();
    let first = ticks();
    std::thread::sleep(SAMPLE);
    let elapsed = since.elapsed();
    let counted = ticks().wrapping_sub(first);
    (counted as f64 / elapsed.as_secs_f64() / 1000.0) as u64
}

#[cfg(target_arch = "x86_64")]
fn ticks() -> u64 {
    unsafe { std::arch::x86_64::_rdtsc() }
}

#[cfg(not(target_arch = "x86_64"))]
fn ticks() -> u64 {
    0
}
