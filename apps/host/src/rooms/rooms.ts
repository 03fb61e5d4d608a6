import { type Clock, limits, type Log } from '@alcove/base';
import { type IncarnationState, Problem } from '@alcove/contracts';
import type { Driver } from '@alcove/runtime';
import type { ControlPlane } from '../control-plane';
import { DoorServer } from '../doors/door-server';
import { type Journal, livePhases } from '../journal';
import { decideReclaim, type ReclaimPlan } from '../reclaim';
import type { Templates } from '../templates';
import type { RoomStream } from './live-guest';
import { stateOf } from './room-page';
import { RoomRunner, type RunnerWorld } from './room-runner';

export interface RoomsParts {
  driver: Driver;
  journal: Journal;
  templates: Templates;
  clock: Clock;
  log: Log;
  /** Where what programs in rooms ask for is asked for. */
  controlPlane: Pick<ControlPlane, 'door'>;
}

/** All rooms of this host: a runner for each that the journal or a request names. Does not know why the host is fenced, only that it is. */
export class Rooms {
  readonly #runners = new Map<string, RoomRunner>();
  readonly #world: RunnerWorld;
  /** Rooms that were let in and are not in the journal yet. */
  readonly #admitted = new Set<string>();
  #sequence: number;
  #orphans: ReadonlyMap<string, number> = new Map();
  /** True refuses every start. */
  fenced = true;
  /** Called when something happened that the control plane did not ask for. */
  onChange: () => void = () => undefined;

  constructor(
    private readonly parts: RoomsParts,
    private readonly options: { roomsMax: number; orphanGraceMs: number },
  ) {
    this.#sequence = Math.max(0, ...[...parts.journal.records().values()].map((record) => record.sequence));
    const doors = new DoorServer({ ask: (room, call, signal) => parts.controlPlane.door(room, call, signal), clock: parts.clock, log: parts.log });
    this.#world = { ...parts, doors, nextSequence: () => (this.#sequence += 1), admit: (roomId) => this.#admit(roomId), refuseFenced: () => this.#refuseFenced(), changed: () => this.onChange() };
    parts.driver.onExit((room, reason) => {
      this.#runners.get(room.roomId)?.exited(room.incarnation, reason).catch((err: unknown) => parts.log.error({ err, ...room }, 'an exit could not be dealt with'));
    });
  }

  runner(roomId: string): RoomRunner {
    let runner = this.#runners.get(roomId);
    if (!runner) {
      this.#forgetIdle();
      runner = new RoomRunner(roomId, this.#world);
      this.#runners.set(roomId, runner);
    }
    return runner;
  }
  /** Rooms that take a place on this host. */
  used(): number {
    let used = 0;
    for (const record of this.parts.journal.records().values()) if (livePhases.has(record.phase)) used += 1;
    return used;
  }
  /** The rooms that run, and how many processors each has. */
  running(): { roomId: string; incarnation: number; cpuCount(): Promise<number> }[] {
    const running = [...this.parts.journal.records().values()].filter((record) => record.phase === 'running');
    return running.map(({ roomId, incarnation, templateId }) => ({ roomId, incarnation, cpuCount: async () => (await this.parts.templates.get(templateId)).manifest.size.vcpus }));
  }
  /** Opens a stream into a running guest, after it is known whether the room still stands. Throws as RoomRunner.stream. */
  async openStream({ roomId, incarnation }: { roomId: string; incarnation: number }): Promise<RoomStream> {
    const runner = this.runner(roomId);
    await runner.decided();
    return runner.stream(incarnation);
  }
  /** Resolves when of every room whose channel has just broken it is known whether it stands. */
  async decided(): Promise<void> {
    await Promise.all([...this.#runners.values()].map((runner) => runner.decided()));
  }
  /** Requests into rooms that are open now. */
  streams(): number {
    let open = 0;
    for (const runner of this.#runners.values()) open += runner.streamCount;
    return open;
  }
  /** The complete set of what runs here, and what ended since the control plane last acknowledged. */
  states(): { incarnations: IncarnationState[]; ended: IncarnationState[] } {
    const incarnations: IncarnationState[] = [];
    const ended: IncarnationState[] = [];
    for (const record of this.parts.journal.records().values()) {
      if (!livePhases.has(record.phase) && record.acknowledged) continue;
      const state = stateOf(record);
      if (!state) continue;
      if (livePhases.has(state.phase)) incarnations.push(state);
      else if (ended.length < limits.page.max) ended.push(state);
    }
    return { incarnations, ended };
  }
  /** A beat with these was acknowledged. What changed since stays to be told. */
  async acknowledge(ended: readonly IncarnationState[]): Promise<void> {
    for (const state of ended) {
      const record = this.parts.journal.records().get(state.roomId);
      if (record?.sequence === state.sequence) await this.parts.journal.note({ ...record, acknowledged: true });
    }
  }

  /** Compares journal and machine, and acts on it: at start, and every now and then. */
  async reclaim(): Promise<ReclaimPlan> {
    const found = await this.parts.driver.inspect();
    const names = (which: (runner: RoomRunner) => boolean) => new Set([...this.#runners.values()].filter(which).map((runner) => runner.roomId));
    const plan = decideReclaim({
      records: this.parts.journal.records(),
      found,
      seen: this.#orphans,
      now: this.parts.clock.monotonic(),
      orphanGraceMs: this.options.orphanGraceMs,
      sealGraceMs: limits.move.hibernateMs,
      busy: names((runner) => runner.busy),
      held: names((runner) => runner.held),
    });
    this.#orphans = plan.watch;
    const work: (() => Promise<unknown>)[] = [
      ...plan.end.map(({ vm, reason }) => () => this.runner(vm.roomId).endStray(vm, reason)),
      ...plan.adopt.map(({ vm }) => () => this.runner(vm.roomId).adopt(vm)),
      ...plan.forget.map(({ record, reason }) => () => this.runner(record.roomId).forget(reason)),
    ];
    await inBatches(work, limits.hostAgent.recoversAtOnce, (err) => this.parts.log.error({ err }, 'a room could not be reclaimed'));
    return plan;
  }

  /** Seals what can be sealed with the keys that are held, a few at a time. */
  async sealAll(): Promise<void> {
    const work = this.#liveRunners().map((runner) => () => runner.sealForFence());
    await inBatches(work, limits.hostAgent.sealsAtOnce, (err) => this.parts.log.warn({ err }, 'a room could not be sealed while fencing'));
  }
  /** Ends every VM and every copy, all at once. */
  async killAll(reason: string): Promise<void> {
    const copying = [...this.#runners.values()].filter(({ record }) => record?.phase === 'copying');
    const work = [...this.#liveRunners(), ...copying].map((runner) => () => runner.kill(reason));
    await inBatches(work, Math.max(1, work.length), (err) => this.parts.log.error({ err }, 'a VM could not be ended while fencing'));
  }
  /** Lets go of every guest; the VMs live on. */
  release(): void {
    for (const runner of this.#runners.values()) runner.release();
  }

  #liveRunners(): RoomRunner[] {
    const live = [...this.parts.journal.records().values()].filter((record) => livePhases.has(record.phase));
    return live.map((record) => this.runner(record.roomId));
  }
  #refuseFenced(): void {
    if (this.fenced) throw new Problem('host.fenced');
  }
  #admit(roomId: string): () => void {
    this.#refuseFenced();
    const others = new Set(this.#admitted);
    for (const record of this.parts.journal.records().values()) if (livePhases.has(record.phase)) others.add(record.roomId);
    others.delete(roomId);
    if (others.size >= this.options.roomsMax) throw new Problem('host.capacity');
    this.#admitted.add(roomId);
    return () => void this.#admitted.delete(roomId);
  }
  /** Runners are cheap but not free: those of rooms that are over go when many have gathered. */
  #forgetIdle(): void {
    if (this.#runners.size < 2 * this.options.roomsMax + 64) return;
    for (const [roomId, runner] of this.#runners) if (!runner.busy && !runner.live) this.#runners.delete(roomId);
  }
}

/** Runs the work, at most `width` at a time; failures go to `failed` and stop nothing. */
async function inBatches(work: (() => Promise<unknown>)[], width: number, failed: (error: unknown) => void): Promise<void> {
  const queue = [...work];
  const lane = async (): Promise<void> => {
    for (let next = queue.shift(); next; next = queue.shift()) await next().catch(failed);
  };
  await Promise.all(Array.from({ length: Math.min(width, queue.length) }, lane));
}
