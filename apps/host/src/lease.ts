import type { Clock } from '@alcove/base';
import { expiryOf, type LeaseRecord } from './warden/lease-file';

export type { LeaseRecord };

/**
 * The host's right to run rooms, counted from the moment a beat was *sent*: the control plane counts from when it received it, which is later, so the host
 * always gives up first. Without a beat that was answered there is no lease.
 */
export class Lease {
  #expiresAt: number;
  constructor(
    private readonly clock: Clock,
    /** Ceiling on what is granted, milliseconds. */
    private readonly leaseMsMax: number,
    earlier: { record: LeaseRecord | null; machineBootId: string },
  ) {
    const { record, machineBootId } = earlier;
    this.#expiresAt = expiryOf(record, { machineBootId, now: clock.monotonic(), leaseMsMax }) ?? Number.NEGATIVE_INFINITY;
  }
  get expiresAt(): number {
    return this.#expiresAt;
  }
  get expired(): boolean {
    return this.clock.monotonic() >= this.#expiresAt;
  }
  /** A beat sent at `sentAt` was answered with `leaseMs`. */
  renew(sentAt: number, leaseMs: number): void {
    this.#expiresAt = Math.max(this.#expiresAt, sentAt + Math.min(leaseMs, this.leaseMsMax));
  }
}
