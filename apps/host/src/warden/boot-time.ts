import { readFileSync } from 'node:fs';

const lookEveryMs = 500;
/** /proc/uptime has two decimals and is read a moment later: less than this is no sleep. */
const noiseMs = 200;

/**
 * Milliseconds since the machine's boot, the time it was suspended or paused included (CLOCK_BOOTTIME, which proc(5) shows as uptime). A lease must count that: the
 * control plane's clock went on. Means the same to every process of the same boot. Node has no name for that clock, so it is CLOCK_MONOTONIC and a correction.
 */
export function bootTime(): () => number {
  let suspendedMs = 0;
  let lookAgainAt = 0;
  const look = (awakeMs: number): void => {
    lookAgainAt = awakeMs + lookEveryMs;
    const uptimeMs = Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0]) * 1000;
    const missing = uptimeMs - awakeMs;
    if (Math.abs(missing - suspendedMs) > noiseMs) suspendedMs = Math.max(suspendedMs, missing);
  };
  return () => {
    const awakeMs = Number(process.hrtime.bigint()) / 1e6;
    if (awakeMs >= lookAgainAt) look(awakeMs);
    return awakeMs + suspendedMs;
  };
}
