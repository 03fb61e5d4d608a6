import { silentLog } from '@alcove/base';
import type { Room } from '@alcove/contracts';
import { roomSagas, type SagaKind } from '@alcove/rooms';
import { everythingTwice, happenAt, RoomChecker, type SagaTwist, TwistedRunner, twistAll } from '@alcove/testing';
import { simPrincipal, SimWorld } from './sim-world';

/** Every saga of the rooms, every step of it: done twice, failed, undone twice, and left by a crash. No step may be missing: the kinds come from the code. */
const sagas = roomSagas({} as never);
const kinds = Object.keys(sagas) as SagaKind[];
const places = ['before', 'after'] as const;
const steps = kinds.flatMap((kind) => sagas[kind].steps.flatMap(({ name }, step) => places.map((place) => ({ kind, step, name, place }))));

const never = new Promise<never>(() => undefined);

interface Loss {
  readonly what: string;
  /** Done in the step; a process that is killed never comes back from it. */
  readonly lose: (world: SimWorld) => Promise<void>;
  /** Whether a room that slept, or was falling asleep, must wake with its memory. */
  readonly memoryKept: boolean;
}

/** What is killed, with SIGKILL, at each step. A VM that dies takes with it what was not sealed yet. */
const losses: readonly Loss[] = [
  { what: 'its process', memoryKept: true, lose: async (world) => (world.restartApi(), never) },
  { what: 'the worker', memoryKept: true, lose: (world) => world.restartWorker() },
  { what: 'every VM', memoryKept: false, lose: async (world) => world.store.all().forEach(({ room }) => world.machines.some((machine) => machine.killVm(room.id))) },
  { what: 'every host agent', memoryKept: true, lose: async (world) => world.machines.forEach((machine) => away(world, () => machine.killAgent(), () => machine.startAgent())) },
  { what: 'the database', memoryKept: true, lose: async (world) => away(world, () => (world.database.down = true), async () => void (world.database.down = false)) },
];

/** Gone now, and back after a while: shorter than a lease. */
const awayMs = 6_000;

function away(world: SimWorld, harm: () => unknown, mend: () => Promise<void>): void {
  harm();
  void world.time.node('mender').sleep(awayMs).then(mend);
}

class Trial {
  readonly world: SimWorld;
  readonly checker = new RoomChecker();
  readonly broken: Error[] = [];

  constructor(twist: (world: () => SimWorld) => SagaTwist) {
    const twisted = twist(() => this.world);
    this.world = new SimWorld({ seed: 11, groups: [2], makeRunner: (store, node, random) => new TwistedRunner(store, { clock: node, log: silentLog, random }, twisted) });
    this.world.onSaved = (room) => this.guard(() => this.checker.saved(room));
  }

  /** Lets time pass under the eyes of the checker. */
  async run(ms: number): Promise<void> {
    await this.world.run(ms, () => this.guard(() => this.checker.always(this.world.snapshot())));
    if (this.broken[0]) throw this.broken[0];
  }

  /** Asks for something and gives it some time; a caller whose process dies hears nothing. */
  async ask<T>(work: Promise<T>, ms: number): Promise<T | Error | 'no answer'> {
    let outcome: T | Error | 'no answer' = 'no answer';
    work.then((value) => (outcome = value), (error: Error) => (outcome = error));
    for (let waited = 0; outcome === 'no answer' && waited < ms; waited += 100) await this.run(100);
    return outcome;
  }

  /** A room in the state from which the saga starts, by a world that still works as it should. */
  async roomFor(kind: SagaKind): Promise<string> {
    await this.world.start();
    if (kind === 'provision') return '';
    const made = (await this.ask(this.world.api.rooms.service.create(simPrincipal, { userId: 'ada' }, { wait: true }), 5_000)) as Room;
    if (kind === 'resume') await this.ask(this.world.api.rooms.service.hibernate(simPrincipal, made.id), 5_000);
    return made.id;
  }

  async begin(kind: SagaKind, id: string): Promise<string> {
    const { service } = this.world.api.rooms;
    if (kind === 'provision') await this.ask(service.create(simPrincipal, { userId: 'ada' }), 1_000);
    if (kind === 'resume') void service.wake(simPrincipal, id).catch(() => undefined);
    if (kind === 'hibernate') void service.hibernate(simPrincipal, id).catch(() => undefined);
    if (kind === 'copy') void service.fork(simPrincipal, id).catch(() => undefined);
    if (kind === 'destroy') void service.destroy(simPrincipal, id).catch(() => undefined);
    await this.run(180_000);
    return id === '' ? (this.world.store.all()[0]?.room.id ?? '') : id;
  }

  /** At rest, wishes honoured, nothing left over; and the room still does what a room does. */
  async check(kind: SagaKind, id: string, memoryKept: boolean): Promise<void> {
    this.guard(() => this.checker.finally(this.world.snapshot(), this.world.worker.node.now()));
    if (this.broken[0]) throw this.broken[0];
    const room = this.world.store.all().find((held) => held.room.id === id)?.room;
    if (kind === 'destroy') {
      expect(room?.state).toBe('destroyed');
      return;
    }
    // Whatever was copied runs, or nothing is left of it.
    for (const held of this.world.store.all()) if (held.room.id !== id) expect(['running', 'destroyed']).toContain(held.room.state);
    const woken = await this.ask(this.world.api.rooms.service.wake(simPrincipal, id), 60_000);
    // What was to be copied, and was not put to sleep for it, still runs for the first time.
    const kept: Partial<Record<SagaKind, RegExp>> = { resume: /^memory$/, hibernate: /^memory$/, copy: /^(memory|new)$/ };
    expect(woken).toMatchObject({ room: { state: 'running' }, ...(memoryKept && kept[kind] ? { resumedFrom: expect.stringMatching(kept[kind]) as string } : {}) });
  }

  guard(check: () => void): void {
    try {
      check();
    } catch (error) {
      this.broken.push(error as Error);
    }
  }
}

/** Armed once the room is where the saga begins. */
function armed(twist: SagaTwist): { twist: SagaTwist; arm: () => void } {
  let on = false;
  const maybe: SagaTwist = (saga, step, index) => {
    const twisted = twist(saga, step, index);
    return { ...step, do: (context) => (on ? twisted : step).do(context), ...(step.undo && { undo: async (context) => (on ? twisted : step).undo?.(context) }) };
  };
  return { twist: maybe, arm: () => (on = true) };
}

describe.each(kinds)('the saga %s', (kind) => {
  it('ends the same when every step is done twice', async () => {
    const trial = new Trial(() => everythingTwice);
    const id = await trial.begin(kind, await trial.roomFor(kind));
    const state = trial.world.store.all()[0]?.room.state;
    expect(state).toBe({ provision: 'running', copy: 'running', resume: 'running', hibernate: 'hibernated', destroy: 'destroyed' }[kind]);
    expect(trial.world.store.all().map((held) => held.room.state)).toEqual(kind === 'copy' ? ['running', 'running'] : [state]);
    await trial.check(kind, id, true);
  });
});

describe.each(steps)('$kind, $place the step $name', ({ kind, step, place }) => {
  const saga = sagas[kind].name;

  it('fails: everything is undone, twice, and the room can go on', async () => {
    const fault = armed(twistAll(happenAt({ saga, step, place, times: 1 }, () => Promise.reject(new Error('scripted'))), undoneTwice));
    const trial = new Trial(() => fault.twist);
    const before = await trial.roomFor(kind);
    fault.arm();
    await trial.check(kind, await trial.begin(kind, before), place === 'before' || kind !== 'resume');
  });

  it.each(losses)('loses $what, and the room goes on', async ({ lose, memoryKept }) => {
    let world = (): SimWorld => {
      throw new Error('not yet');
    };
    const fault = armed(happenAt({ saga, step, place, times: 1 }, () => lose(world())));
    const trial = new Trial((of) => {
      world = of;
      return fault.twist;
    });
    const before = await trial.roomFor(kind);
    fault.arm();
    await trial.check(kind, await trial.begin(kind, before), memoryKept);
  });
});

const undoneTwice: SagaTwist = (saga, step, index) => {
  const { undo } = everythingTwice(saga, step, index);
  return { ...step, ...(undo && { undo }) };
};
