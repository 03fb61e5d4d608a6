import { type Clock, type Log } from '@alcove/base';
import type { Capacity, Heartbeat, HeartbeatAnswer, HostDescription } from '@alcove/contracts';
import type { ControlPlane } from './control-plane';
import type { Lease } from './lease';
import type { Rooms } from './rooms/rooms';

export interface ReporterTimes {
  heartbeatMs: number;
  /** After the lease is over, VMs may still be ended for this long. The control plane waits at least that. */
  leaseMarginMs: number;
}

export interface ReporterParts {
  clock: Clock;
  log: Log;
  controlPlane: ControlPlane;
  rooms: Rooms;
  lease: Lease;
  describe: () => Promise<{ description: HostDescription; capacity: Capacity }>;
  /** Writes each change of the lease down, for the warden and for the next agent. May reject. */
  keepLease: (expiresAt: number) => Promise<void> | void;
  observed: { beat(outcome: 'answered' | 'failed'): void; fence(): void };
}

/** Of the margin, this part is for sealing; the rest is for ending what is left. */
const sealingShare = 0.6;
/** A beat asked for by a change waits this long for more changes. */
const gatherMs = 20;

/**
 * Tells the control plane what runs here, and holds the host to its lease. Two loops: beats, and the watch over the lease. When the lease is lost the host is
 * *fenced*: no start is accepted, rooms whose keys are held are sealed, then every VM is ended, all before lease + margin. A beat that is answered ends it,
 * after what the control plane wants ended has been ended.
 */
export class Reporter {
  #sequence = 0;
  #wake = new AbortController();
  #fencing: Promise<void> | null = null;
  /** Settled when the first beat was answered or not: rooms that outlived an earlier agent are given that long. */
  readonly #firstBeat: Promise<void>;
  #firstBeatDone: () => void = () => undefined;
  constructor(
    private readonly bootId: string,
    private readonly parts: ReporterParts,
    private readonly times: ReporterTimes,
  ) {
    this.#firstBeat = new Promise((resolve) => (this.#firstBeatDone = resolve));
  }

  /** Runs until the signal is aborted. */
  async run(signal: AbortSignal): Promise<void> {
    await Promise.all([this.#beats(signal), this.#watchLease(signal)]);
  }
  /** Beats soon instead of at the next turn. */
  nudge(): void {
    this.#wake.abort();
  }

  async #beats(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      this.#wake = new AbortController();
      await this.#beat(signal).then(
        () => this.parts.observed.beat('answered'),
        (err: unknown) => {
          this.parts.observed.beat('failed');
          if (!signal.aborted) this.parts.log.warn({ err }, 'a beat was not answered');
        },
      );
      this.#firstBeatDone();
      await this.parts.clock.sleep(this.times.heartbeatMs, AbortSignal.any([signal, this.#wake.signal])).catch(() => undefined);
      if (this.#wake.signal.aborted) await this.parts.clock.sleep(gatherMs, signal).catch(() => undefined);
    }
  }
  async #beat(signal: AbortSignal): Promise<void> {
    const { clock, rooms } = this.parts;
    const about = await this.parts.describe();
    const { incarnations, ended } = rooms.states();
    const beat: Heartbeat = { bootId: this.bootId, sequence: this.#sequence++, ...about, incarnations, ended };
    const sentAt = clock.monotonic();
    const overdue = new AbortController();
    const answered = new AbortController();
    clock.sleep(2 * this.times.heartbeatMs, answered.signal).then(() => overdue.abort(new Error('no answer in time')), () => undefined);
    const answer = await this.parts.controlPlane.beat(beat, AbortSignal.any([signal, overdue.signal])).finally(() => answered.abort());
    if (answer.acknowledged === beat.sequence) await rooms.acknowledge(ended);
    await this.#obey(answer);
    await this.#fencing;
    this.parts.lease.renew(sentAt, answer.leaseMs);
    const kept = this.parts.keepLease(this.parts.lease.expiresAt);
    if (rooms.fenced) await this.#unfence(kept);
    // A later record does as well; whoever writes it says what failed.
    else kept?.catch(() => undefined);
  }
  /** Only a lease that is written down lets rooms start: the warden ends what runs without one. */
  async #unfence(kept: Promise<void> | void): Promise<void> {
    await kept;
    if (this.parts.lease.expired) return;
    this.parts.rooms.fenced = false;
    this.parts.log.info('this host has a lease');
  }
  /** Ends what is not live any more. Not waited for: a VM that is slow to end must not cost the lease of the others. */
  async #obey(answer: HeartbeatAnswer): Promise<void> {
    for (const { roomId, incarnation, reason } of answer.end) {
      const runner = this.parts.rooms.runner(roomId);
      if (runner.record?.incarnation !== incarnation || !runner.live) continue;
      runner.ensureGone(incarnation, { operationId: `beat-${this.bootId}`, reason, discard: false }).catch((err: unknown) => this.parts.log.error({ err, roomId }, 'an incarnation could not be ended'));
    }
  }

  async #watchLease(signal: AbortSignal): Promise<void> {
    await this.#firstBeat;
    while (!signal.aborted) {
      const left = this.parts.lease.expiresAt - this.parts.clock.monotonic();
      if (left <= 0 && !this.#fencing && (!this.parts.rooms.fenced || this.parts.rooms.used() > 0)) {
        this.#fencing = this.#fence(signal).finally(() => (this.#fencing = null));
        await this.#fencing;
      }
      const pause = left > 0 ? Math.min(left, this.times.heartbeatMs) : this.times.heartbeatMs;
      await this.parts.clock.sleep(Math.max(1, pause), signal).catch(() => undefined);
    }
  }
  async #fence(signal: AbortSignal): Promise<void> {
    const { clock, log, rooms, lease } = this.parts;
    rooms.fenced = true;
    this.parts.observed.fence();
    log.error({ rooms: rooms.used() }, 'the lease is lost: this host fences itself');
    const sealUntil = lease.expiresAt + this.times.leaseMarginMs * sealingShare;
    const left = sealUntil - clock.monotonic();
    const sealed = new AbortController();
    if (left > 0) {
      const timeUp = clock.sleep(left, AbortSignal.any([signal, sealed.signal])).catch(() => undefined);
      await Promise.race([rooms.sealAll(), timeUp]);
      sealed.abort();
    }
    await rooms.killAll('fenced');
  }
}
