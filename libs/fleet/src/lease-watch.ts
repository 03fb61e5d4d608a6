import { type Clock, limits } from '@alcove/base';
import type { HostRecord } from './host';

/**
 * Judges leases by the monotonic clock of this process alone: a host is silent when its count of beats has not changed for lease + margin while this process
 * looked on. A wall clock that jumps, or two machines whose clocks differ, can so never give a living host's rooms away; the price is that a process that has
 * just started waits as long once more. The host itself counts from the moment it sent the beat, which is earlier, so it has stopped before we say so.
 */
export class LeaseWatch {
  readonly #clock: Clock;
  readonly #seen = new Map<string, { beats: number; since: number }>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** The hosts among these that have been silent for too long. */
  silent(hosts: readonly HostRecord[]): HostRecord[] {
    const now = this.#clock.monotonic();
    for (const { id, beats } of hosts) {
      if (this.#seen.get(id)?.beats !== beats) this.#seen.set(id, { beats, since: now });
    }
    return hosts.filter((host) => now - (this.#seen.get(host.id)?.since ?? now) > limits.host.leaseMs + limits.host.leaseMarginMs);
  }
}
