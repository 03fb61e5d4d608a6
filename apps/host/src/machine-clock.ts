import { type Clock, systemClock } from '@alcove/base';
import { bootTime } from './warden/boot-time';

/** The machine's own time: monotonic milliseconds since its boot, which mean the same to the next process of the same boot and to the warden. */
export function machineClock(): Clock {
  return { ...systemClock, monotonic: bootTime() };
}
