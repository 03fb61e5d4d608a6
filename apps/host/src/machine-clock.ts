import { readFileSync } from 'node:fs';
import { type Clock, systemClock } from '@alcove/base';

const lookEveryMs = 500;
/** /proc/uptime has two decimals and is read a moment later: less than this is no sleep. */
const noiseMs = 200;

/**
 * The machine's own time since its boot, the time it was suspended or paused included (CLOCK_BOOTTIME, which proc(5) shows as uptime). A lease must count that: the
 * control plane's clock went on. Means the same to the next process of the same boot.
 */
export function machineClock(): Clock {
  let suspendedMs = 0;
  let lookAgainAt = 0;
  const look = (awakeMs: number): void => {
    lookAgainAt = awakeMs + lookEveryMs;
    const uptimeMs = Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0]) * 1000;
    const missing = uptimeMs - awakeMs;
    if (Math.abs(missing - suspendedMs) > noiseMs) suspendedMs = Math.max(suspendedMs, missing);
  };
  const monotonic = (): number => {
    const awakeMs = Number(process.hrtime.bigint()) / 1e6;
    if (awakeMs >= lookAgainAt) look(awakeMs);
    return awakeMs + suspendedMs;
  };
  return { ...systemClock, monotonic };
}
