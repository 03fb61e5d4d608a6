import { type Clock, limits, type Log } from '@alcove/base';
import {
  type CopiedReport, type EnsureCopied, type EnsureGone, type EnsureRunning, type EnsureSealed, type GoneReport, type ImageRef, type IncarnationState, isProblem, Problem, type RunningReport, type SealedReport,
} from '@alcove/contracts';
import type { Driver, FoundVm, GuestSession, RoomSpec, Started } from '@alcove/runtime';
import type { DoorServer } from '../doors/door-server';
import { RoomDoors } from '../doors/room-doors';
import type { Journal, RoomRecord } from '../journal';
import type { Templates } from '../templates';
import { copyRoom, refuseLive } from './copy-room';
import { withDeadline } from './deadline';
import { leftHalfStarted, levelsOf } from './levels';
import { LiveGuest, type RoomStream } from './live-guest';
import { secretKeys } from './room-keys';
import { RoomPage } from './room-page';
import { startRoom, type StartedAt } from './start-room';
import { takeBoth, Turns } from './turns';

/** What every runner of a host needs of it. */
export interface RunnerWorld {
  readonly driver: Driver;
  readonly journal: Journal;
  readonly templates: Templates;
  readonly clock: Clock;
  readonly log: Log;
  readonly doors: DoorServer;
  nextSequence(): number;
  /** Takes a place for this room until the result is called or the journal has it. Throws `host.fenced` or `host.capacity`. */
  admit(roomId: string): () => void;
  /** Throws `host.fenced`. */
  refuseFenced(): void;
  /** Something happened that nobody asked for: the control plane should hear of it soon. */
  changed(): void;
}

/**
 * One room on this host: one queue, one thing at a time. Each verb first compares its incarnation with the journal's (lower: `incarnation.stale`), then
 * writes its intent, then acts, then writes what came of it.
 *
 *     (none) ─ensureRunning─▶ starting ─▶ running ─ensureSealed─▶ sealing ─▶ sealed
 *                                │ failed    │ ▲─────failed, guest alive───┘
 *                                ▼           ▼ vmm_exited, guest_dead, ensureGone
 *                               gone ◀──── ending        a higher incarnation starts over from any phase
 *
 *     (none) ─ensureCopied─▶ copying ─▶ sealed            of a room that is made asleep; failed, or cut off: gone
 */
export class RoomRunner {
  #live: LiveGuest | null = null;
  #recoveries = 0;
  /** Why the VM was ended past the queue: what then fails in the queue fails because of that. */
  #killedFor: string | null = null;

  readonly turns = new Turns();
  readonly page: RoomPage;

  constructor(
    readonly roomId: string,
    private readonly world: RunnerWorld,
  ) {
    this.page = new RoomPage(roomId, world);
  }

  get record(): RoomRecord | undefined {
    return this.page.record;
  }
  get busy(): boolean {
    return this.turns.busy;
  }
  /** A VM of this room runs or may run. */
  get live(): boolean {
    return this.page.live;
  }
  get held(): boolean {
    return this.#live !== null;
  }
  get streamCount(): number {
    return this.#live?.streamCount ?? 0;
  }

  async ensureRunning(incarnation: number, order: EnsureRunning): Promise<RunningReport> {
    this.page.refuseStale(incarnation);
    if (this.record?.phase === 'starting' && incarnation > this.record.incarnation) this.turns.abort(new Problem('incarnation.stale', { detail: 'superseded' }));
    const keys = secretKeys(order.keys);
    return this.turns.take(() => this.#run(incarnation, order, keys));
  }
  async ensureSealed(incarnation: number, order: EnsureSealed): Promise<SealedReport> {
    this.page.refuseStale(incarnation);
    return this.turns.take(() => this.#seal(incarnation, order, secretKeys(order.keys)));
  }
  /** Makes this room, which has never run, out of the source's image and disk. Throws `room.busy` at once while a VM of either runs. */
  async ensureCopied(incarnation: number, order: EnsureCopied, source: RoomRunner): Promise<CopiedReport> {
    this.page.refuseStale(incarnation);
    if (source === this) throw new Problem('request.invalid', { detail: 'a room is not copied over itself' });
    refuseLive(this.page, source.page);
    return takeBoth(this, source, () => copyRoom(this.world, this.page, source.page, incarnation, order, this.turns.signal));
  }
  async ensureGone(incarnation: number, order: EnsureGone): Promise<GoneReport> {
    this.page.refuseStale(incarnation);
    if (this.record?.phase === 'starting' || this.record?.phase === 'copying') this.turns.abort(new Problem('incarnation.stale', { detail: order.reason }));
    return this.turns.take(() => this.#gone(incarnation, order));
  }
  /** Opens a stream into the running guest. Throws `incarnation.stale`, `room.not_running` or `guest.limit`. Waits for nothing. */
  stream(incarnation: number): RoomStream {
    this.page.refuseStale(incarnation);
    if (!this.#live || this.record?.incarnation !== incarnation || this.record.phase !== 'running') throw new Problem('room.not_running');
    return this.#live.open();
  }
  /** Resolves when it is known whether a room whose channel has just broken still stands; for every other room at once. */
  async decided(): Promise<void> {
    if (this.#live?.broken) await Promise.race([this.turns.idle(), this.world.clock.sleep(limits.hostAgent.decideMs)]);
  }
  /** Takes over a VM that outlived the agent before. Ends it when it cannot be talked to. */
  adopt(vm: FoundVm): Promise<void> {
    return this.turns.take(() => this.#adopt(vm));
  }
  /** Ends a VM that was found and may not run. */
  endStray(vm: FoundVm, reason: string): Promise<void> {
    return this.turns.take(async () => {
      const known = this.record?.incarnation === vm.incarnation;
      // It may have been found before it became ours.
      if (known && this.#live) return;
      this.world.log.warn({ roomId: vm.roomId, incarnation: vm.incarnation, reason }, 'a VM that may not run is ended');
      await this.world.driver.stop(vm);
      if (known && this.live) await this.page.note({ phase: 'gone', reason });
    });
  }
  /** Writes down that the journalled incarnation has no VM any more. */
  forget(reason: string): Promise<void> {
    return this.turns.take(async () => {
      if ((this.live || this.record?.phase === 'copying') && !this.#live) await this.page.note({ phase: 'gone', reason });
    });
  }
  /** The driver says that the VM ended by itself. */
  exited(incarnation: number, reason: string): Promise<void> {
    return this.turns.take(async () => {
      if (this.record?.incarnation === incarnation && this.record.phase === 'running') await this.#over(reason);
    });
  }
  /** The lease is lost: seals with the keys that are held. The image stays here; whether it counts is for the control plane to say. */
  sealForFence(): Promise<void> {
    return this.turns.take(async () => {
      const record = this.record;
      const keys = this.#live?.keys;
      if (record?.phase !== 'running' || !keys) return;
      await this.#seal(record.incarnation, { operationId: 'fence', generation: record.generation + 1, reason: 'fenced' }, keys);
    });
  }
  /** Ends the VM now, past the queue: the lease is over and whatever is being done must not go on. */
  async kill(reason: string): Promise<void> {
    const record = this.record;
    if (record?.phase === 'copying') this.turns.abort(new Problem('host.fenced'));
    if (!record || !this.live) return;
    this.#killedFor = reason;
    this.turns.abort(new Problem('host.fenced'));
    this.release();
    await this.world.driver.stop(record);
    await this.turns.take(async () => {
      if (this.live && this.record) await this.#gone(this.record.incarnation, { operationId: reason, reason, discard: false });
    });
  }
  state(): IncarnationState | undefined {
    return this.page.state();
  }
  /** Lets go of the guest without ending it: the host agent stops, the room lives on. */
  release(): void {
    this.#live?.end();
    this.#live = null;
  }

  async #run(incarnation: number, order: EnsureRunning, keys: RoomSpec['keys']): Promise<RunningReport> {
    this.page.refuseStale(incarnation);
    const before = this.record;
    if (before?.incarnation === incarnation) {
      if (before.phase === 'running' && before.running && this.#live) {
        this.#giveKeys(keys);
        return before.running;
      }
      if (before.ran || before.final || before.phase === 'sealed') throw new Problem('incarnation.stale', { detail: `this incarnation is over: ${before.reason}` });
    }
    const leave = this.world.admit(this.roomId);
    try {
      const template = await this.world.templates.get(order.templateId);
      // Only an order that can be followed ends what runs.
      if (this.live) await this.#stopVm('superseded');
      return await this.#start({ roomId: this.roomId, incarnation, template, keys, env: order.env, hasDisk: order.hasDisk, newIdentity: order.newIdentity ?? false }, order);
    } finally {
      leave();
    }
  }
  async #start(spec: RoomSpec, order: EnsureRunning): Promise<RunningReport> {
    const { clock, driver, log } = this.world;
    const startedAt = clock.monotonic();
    const levels = levelsOf(order, leftHalfStarted(this.record));
    const generation = Math.max(order.image?.generation ?? 0, order.previous?.generation ?? 0, this.record?.generation ?? 0);
    await this.page.intend({ ...this.page.blank(spec.incarnation), phase: 'starting', operationId: order.operationId, templateId: order.templateId, generation, level: levels[0]?.level ?? 'new' });
    try {
      const result = await withDeadline<StartedAt>(
        clock,
        {
          ms: order.image || order.hasDisk ? limits.move.resumeMs : limits.move.provisionMs,
          reason: () => new Problem('engine.failed', { detail: 'the start took too long' }),
          cancel: this.turns.signal,
          late: ({ started }) => this.#undoLate(spec, started),
        },
        (signal) => startRoom({ driver, clock, log }, spec, levels, (level) => this.page.intend({ ...this.page.need(), level: level.level }), signal),
      );
      const report = this.#runningReport(spec.incarnation, result, clock.monotonic() - startedAt);
      this.#hold(result.started, spec.keys);
      this.#recoveries = 0;
      this.#killedFor = null;
      await this.page.note({ phase: 'running', level: result.level.level, ran: true, running: report, sequence: report.sequence });
      // A boot that was asked for, or after a crash: what is kept to go back to is the newest image.
      const newest = result.level.level === 'memory' ? order.image : result.level.level === 'disk' && !order.image ? order.previous : null;
      if (newest) this.#pruneSoon(newest);
      return report;
    } catch (error) {
      await driver.stop(spec).catch((err: unknown) => log.error({ err, roomId: this.roomId }, 'what a failed start left could not be stopped'));
      await this.page.note({ phase: 'gone', reason: `start_failed:${isProblem(error) ? error.code : 'internal'}` });
      throw error;
    }
  }
  #runningReport(incarnation: number, { started, level, fallbacks }: StartedAt, durationMs: number): RunningReport {
    return {
      roomId: this.roomId,
      incarnation,
      sequence: this.world.nextSequence(),
      resumedFrom: level.level,
      fallbacks,
      isolation: started.isolation,
      accelerator: started.accelerator,
      bootAttempts: started.bootAttempts,
      durationMs,
      steps: started.steps,
    };
  }
  /** The image has been restored once, or nothing but the disk is needed: what is older has no use any more. Queued, so that the answer does not wait for it. */
  #pruneSoon(image: ImageRef): void {
    this.turns.take(() => this.world.driver.prune(this.roomId, [image.id])).catch((err: unknown) => this.world.log.warn({ err, roomId: this.roomId }, 'older images could not be pruned'));
  }
  /** A start that was given up came to something after all. */
  #undoLate(spec: RoomSpec, started: Started): void {
    started.guest.close();
    this.turns.take(async () => {
      if (this.#live === null) await this.world.driver.stop(spec);
    }).catch((err: unknown) => this.world.log.error({ err, roomId: this.roomId }, 'a late start could not be undone'));
  }

  async #seal(incarnation: number, order: { operationId: string; generation: number; reason: string }, keys: RoomSpec['keys']): Promise<SealedReport> {
    const record = this.record;
    if (record?.incarnation !== incarnation) throw new Problem('room.not_running');
    if (record.phase === 'sealed' && record.sealed) return record.sealed;
    if (record.phase !== 'running' && record.phase !== 'sealing') throw new Problem('room.not_running', { detail: record.reason });
    const startedAt = this.world.clock.monotonic();
    const spec: RoomSpec = { roomId: this.roomId, incarnation, template: await this.world.templates.get(record.templateId), keys, env: {}, hasDisk: true };
    await this.page.intend({ ...record, phase: 'sealing', operationId: order.operationId, sealing: order.generation, reason: order.reason });
    try {
      await this.#live?.pause();
      const sealed = await withDeadline(
        this.world.clock,
        { ms: limits.move.hibernateMs, reason: () => new Problem('engine.failed', { detail: 'sealing took too long' }), cancel: this.turns.signal, late: () => undefined },
        () => this.world.driver.seal(spec, { generation: order.generation }),
      );
      this.release();
      const sequence = this.world.nextSequence();
      const durableMs = this.world.clock.monotonic() - startedAt;
      const report: SealedReport = { roomId: this.roomId, incarnation, sequence, image: sealed.image, stallMs: sealed.stallMs, durableMs, steps: sealed.steps };
      await this.page.note({ phase: 'sealed', sealed: report, sealing: null, generation: Math.max(record.generation, sealed.image.generation), sequence }, true);
      return report;
    } catch (error) {
      await this.#afterFailedSeal(error);
      throw error;
    }
  }
  /** The guest goes on when it still answers; otherwise this incarnation is over, and the disk is what is left. */
  async #afterFailedSeal(error: unknown): Promise<void> {
    this.world.log.error({ err: error, roomId: this.roomId }, 'sealing failed');
    const answers = await this.#live?.alive();
    if (answers && !this.turns.signal.aborted) {
      this.#live?.resume();
      await this.page.note({ phase: 'running', reason: '', sealing: null });
      return;
    }
    await this.#over(isProblem(error, 'room.not_running') ? 'vmm_exited' : 'seal_failed');
  }

  async #gone(incarnation: number, order: EnsureGone): Promise<GoneReport> {
    this.page.refuseStale(incarnation);
    const before = this.record;
    let wasRunning = false;
    if (before && this.live) wasRunning = await this.#stopVm(order.reason);
    if (before?.incarnation !== incarnation) {
      const tombstone = { ...this.page.blank(incarnation), final: true, sequence: this.world.nextSequence(), reason: order.reason, operationId: order.operationId, generation: before?.generation ?? 0 };
      await this.world.journal.note(tombstone, true);
    } else if (!before.final) {
      // A start of it that comes late must find it over, also after a crash of this machine.
      await this.page.note({ final: true }, true);
    }
    if (order.discard) {
      await this.world.driver.discard(this.roomId);
      await this.page.note({ phase: 'gone', sealed: null, reason: order.reason });
    }
    return { roomId: this.roomId, incarnation, sequence: this.record?.sequence ?? this.world.nextSequence(), wasRunning };
  }
  /** Ends the VM of the journalled incarnation. Works on a full disk too: this is the way out of everything. */
  async #stopVm(reason: string): Promise<boolean> {
    const record = this.page.need();
    await this.page.note({ phase: 'ending', reason }, true);
    this.release();
    const { wasRunning } = await withDeadline(
      this.world.clock,
      { ms: limits.move.destroyMs, reason: () => new Problem('engine.failed', { detail: 'the VM did not end' }), cancel: new AbortController().signal, late: () => undefined },
      () => this.world.driver.stop(record),
    );
    await this.page.note({ phase: 'gone', reason });
    return wasRunning;
  }
  /** The VM is not to be saved: makes sure that it is gone, and says why. */
  async #over(reason: string): Promise<void> {
    await this.#stopVm(this.#killedFor ?? reason).catch((err: unknown) => this.world.log.error({ err, roomId: this.roomId }, 'a VM that should be over could not be ended'));
    this.world.changed();
  }

  async #adopt(vm: FoundVm): Promise<void> {
    const { clock, driver, log } = this.world;
    const record = this.record;
    if (record?.incarnation !== vm.incarnation || !this.live || this.#live) return;
    try {
      const started = await withDeadline(
        clock,
        { ms: limits.hostAgent.recoverMs, reason: () => new Problem('guest.closed', { detail: 'no answer from a VM that was found' }), cancel: this.turns.signal, late: (late) => late.guest.close() },
        () => driver.recover(vm),
      );
      this.#hold(started, null);
      const running = record.running ?? this.#runningReport(vm.incarnation, { started, level: { level: record.level, via: 'boot', attempts: 1 }, fallbacks: [] }, 0);
      await this.page.note({ phase: 'running', ran: true, running, reason: '', sealing: null });
    } catch (err) {
      log.error({ err, roomId: this.roomId }, 'a VM that was found could not be taken over');
      await this.#over('guest_dead');
    }
  }
  #hold(started: Started, keys: RoomSpec['keys'] | null): void {
    this.release();
    const lost = (why: 'closed' | 'silent') => {
      this.turns.take(() => this.#lost(live, why)).catch((err: unknown) => this.world.log.error({ err, roomId: this.roomId }, 'a lost guest could not be dealt with'));
    };
    const live: LiveGuest = new LiveGuest(started, keys, this.world.clock, lost, this.#doors(started.guest));
    this.#live = live;
  }
  /** What a program of the room asks is asked for the incarnation that this host runs, and only while it may. */
  #doors(guest: GuestSession): RoomDoors {
    const { incarnation } = this.page.need();
    const check = () => {
      this.world.refuseFenced();
      if (this.record?.incarnation !== incarnation || !this.live) throw new Problem('room.not_running');
    };
    return new RoomDoors({ guest, server: this.world.doors, clock: this.world.clock, log: this.world.log }, { key: { roomId: this.roomId, incarnation }, check });
  }
  /** The channel ended or the guest went silent. A VM that still stands gets a new channel, a few times in a row; then it counts as dead. */
  async #lost(live: LiveGuest, why: 'closed' | 'silent'): Promise<void> {
    if (this.#live !== live || this.record?.phase !== 'running') return;
    const { incarnation } = this.record;
    const keys = live.keys;
    const found = (await this.world.driver.inspect()).find((vm) => vm.roomId === this.roomId && vm.incarnation === incarnation);
    if (!found) return this.#over('vmm_exited');
    this.#recoveries = live.steadyMs >= limits.hostAgent.channelSteadyMs ? 1 : this.#recoveries + 1;
    if (why === 'silent' || !found.whole || this.#recoveries > limits.hostAgent.channelRecoveries) return this.#over('guest_dead');
    this.release();
    await this.#adopt(found);
    if (keys) this.#giveKeys(keys);
  }

  #giveKeys(keys: RoomSpec['keys']): void {
    if (this.#live) this.#live.keys ??= keys;
  }
}
