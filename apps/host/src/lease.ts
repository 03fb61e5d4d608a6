import type { Clock } from '@alcove/base';

/** What survives the agent: the monotonic clock counts from the machine's boot, so it means the same to the next process of the same boot. */
export interface LeaseRecord {
  machineBootId: string;
  /** Monotonic milliseconds. */
  expiresAt: number;
}

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
    const usable = record !== null && record.machineBootId === machineBootId && record.expiresAt <= clock.monotonic() + leaseMsMax;
    this.#expiresAt = usable ? record.expiresAt : Number.NEGATIVE_INFINITY;
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
