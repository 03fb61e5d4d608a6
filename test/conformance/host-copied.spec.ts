import { seededRandom } from '@alcove/base';
import { CopiedReport, type EnsureCopied, type ImageRef, isProblem, type ProblemCode, SealedReport } from '@alcove/contracts';
import type { Fault } from '@alcove/runtime';
import { type Journal, MemoryJournal, type RoomRecord } from '../../apps/host/src/journal';
import { HostProcess, roomKeys, roomName, runningOrder, sealedOrder, templateId } from './host-harness';
import { TestMachine } from './host-in-process';
import { settle, VirtualClock } from './host-virtual-clock';

const origin = roomName();
const copy = roomName(seededRandom(2));
const third = roomName(seededRandom(3));
const goneOrder = { operationId: 'op-gone', reason: 'destroyed', discard: true };

function copiedOrder(image: ImageRef, change: Partial<EnsureCopied> = {}): EnsureCopied {
  return { operationId: 'op-copy', templateId, generation: 1, source: { image, keys: roomKeys }, keys: roomKeys, ...change };
}
async function codeOf(promise: Promise<unknown>): Promise<ProblemCode | 'resolved'> {
  return promise.then(
    () => 'resolved' as const,
    (error: unknown) => {
      if (isProblem(error)) return error.code;
      throw error;
    },
  );
}
/** A machine with a room that sleeps. */
async function asleep(room = origin, machine = new TestMachine({ clock: new VirtualClock() })): Promise<{ machine: TestMachine; image: ImageRef; nonce: string | undefined }> {
  if (!machine.host) await machine.start();
  await machine.runner(room).ensureRunning(1, runningOrder());
  const nonce = machine.ram(room)?.nonce;
  const { image } = await machine.runner(room).ensureSealed(1, sealedOrder({ generation: 1 }));
  return { machine, image, nonce };
}
const copied = (machine: TestMachine, image: ImageRef, incarnation = 1, change: Partial<EnsureCopied> = {}, room = copy) =>
  machine.runner(room).ensureCopied(incarnation, copiedOrder(image, change), machine.runner(image.roomId));

describe('a copy of a room', () => {
  it('sleeps, takes no place, and wakes with what its source knew', async () => {
    const { machine, image, nonce } = await asleep();
    const report = await copied(machine, image);
    expect(CopiedReport.parse(report)).toMatchObject({ roomId: copy, incarnation: 1, image: { roomId: copy, incarnation: 1, generation: 1 } });
    expect(machine.runner(copy).state()).toMatchObject({ phase: 'sealed', image: report.image });
    expect(machine.host.rooms.used()).toBe(0);
    const woken = await machine.runner(copy).ensureRunning(2, runningOrder({ image: report.image, hasDisk: true, newIdentity: true }));
    expect(woken).toMatchObject({ resumedFrom: 'memory', fallbacks: [] });
    expect(machine.ram(copy)?.nonce).toBe(nonce);
    expect(machine.world.vmsOf(copy)).toMatchObject([{ mode: 'fresh' }]);
    await machine.runner(origin).ensureRunning(2, runningOrder({ image, hasDisk: true }));
    expect(machine.ram(origin)?.nonce).toBe(nonce);
    const named = (room: string) => machine.world.vmsOf(room).map(({ ram }) => [ram.bootNonce, ram.bootId]);
    expect(named(origin)).not.toEqual(named(copy));
    expect(machine.world.vmsOf(origin)).toMatchObject([{ mode: 'resumed' }]);
  });

  it('is one for one order, also when two race, and after a restart', async () => {
    const { machine, image } = await asleep();
    const [one, two] = await Promise.all([copied(machine, image), copied(machine, image)]);
    expect(two).toEqual(one);
    await machine.crash();
    await machine.start();
    expect(await copied(machine, image)).toEqual(one);
    expect(machine.world.imagesOf(copy)).toHaveLength(1);
  });

  it('is made anew by another order, of what the source is by then, as long as it has not run', async () => {
    const { machine, image } = await asleep();
    const first = await copied(machine, image);
    await machine.runner(origin).ensureRunning(2, runningOrder({ image, hasDisk: true }));
    const later = await machine.runner(origin).ensureSealed(2, sealedOrder({ generation: 2 }));
    const second = await copied(machine, later.image, 1, { operationId: 'another' });
    expect(second.image.id).not.toBe(first.image.id);
    const next = await copied(machine, later.image, 2, { operationId: 'a third', generation: 4 });
    expect(machine.world.imagesOf(copy).map(({ ref }) => ref.id)).toEqual([next.image.id]);
    await machine.runner(copy).ensureRunning(3, runningOrder({ image: next.image, hasDisk: true, newIdentity: true }));
    expect(await codeOf(copied(machine, later.image, 4))).toBe('room.busy');
    const sealed = await machine.runner(copy).ensureSealed(3, sealedOrder({ generation: 5 }));
    expect(await codeOf(copied(machine, later.image, 3))).toBe('incarnation.stale');
    expect(await codeOf(copied(machine, later.image, 4))).toBe('incarnation.stale');
    expect(await machine.runner(copy).ensureRunning(5, runningOrder({ image: sealed.image, hasDisk: true }))).toMatchObject({ resumedFrom: 'memory' });
  });

  it('is never started under the incarnation that made it', async () => {
    const { machine, image } = await asleep();
    const report = await copied(machine, image);
    expect(await codeOf(machine.runner(copy).ensureRunning(1, runningOrder({ image: report.image, hasDisk: true })))).toBe('incarnation.stale');
  });

  it('is refused while its source or itself runs, on a fenced host, of itself, with a lower incarnation, and once its end was ordered', async () => {
    const { machine, image } = await asleep();
    expect(await codeOf(copied(machine, image, 2, {}, origin))).toBe('request.invalid');
    machine.host.rooms.fenced = true;
    expect(await codeOf(copied(machine, image))).toBe('host.fenced');
    machine.host.rooms.fenced = false;
    expect(machine.runner(copy).state()).toBeUndefined();
    expect(await machine.runner(copy).ensureGone(3, goneOrder)).toMatchObject({ wasRunning: false });
    expect(await codeOf(copied(machine, image, 2))).toBe('incarnation.stale');
    expect(await codeOf(copied(machine, image, 3))).toBe('incarnation.stale');
    await machine.runner(origin).ensureRunning(2, runningOrder({ image, hasDisk: true }));
    expect(await codeOf(copied(machine, image, 4))).toBe('room.busy');
    expect(machine.world.disks.get(copy)).toBeUndefined();
  });

  it('is told of when it is over, not before', async () => {
    const { machine, image } = await asleep();
    await machine.host.rooms.acknowledge(machine.host.rooms.states().ended);
    machine.driver.script({ verb: 'copy', kind: 'hang', place: 'middle' });
    const making = codeOf(copied(machine, image));
    await settle();
    expect(machine.runner(copy).record).toMatchObject({ phase: 'copying' });
    expect(machine.host.rooms.states()).toEqual({ incarnations: [], ended: [] });
    await machine.runner(copy).ensureGone(1, goneOrder);
    expect(await making).toBe('incarnation.stale');
    expect(machine.world.imagesOf(copy)).toEqual([]);
    expect(machine.host.rooms.states().ended).toMatchObject([{ roomId: copy, phase: 'gone' }]);
  });

  it('is given up when the host is fenced in the middle, and can be ordered again', async () => {
    const { machine, image } = await asleep();
    machine.driver.script({ verb: 'copy', kind: 'hang', place: 'middle' });
    const making = codeOf(copied(machine, image));
    await settle();
    await machine.host.rooms.killAll('fenced');
    expect(await making).toBe('host.fenced');
    expect(machine.world.imagesOf(copy)).toEqual([]);
    expect(await copied(machine, image)).toMatchObject({ incarnation: 1 });
  });

  it('lets copies that cross, and wakes in between, all come to an end', async () => {
    const { machine, image } = await asleep();
    const other = await asleep(copy, machine);
    const outcomes = await Promise.all([
      codeOf(copied(machine, image, 2, {}, copy)),
      codeOf(copied(machine, other.image, 2, {}, origin)),
      codeOf(copied(machine, image, 1, {}, third)),
      codeOf(machine.runner(origin).ensureRunning(3, runningOrder({ image, hasDisk: true }))),
      codeOf(machine.runner(copy).ensureRunning(3, runningOrder({ image: other.image, hasDisk: true }))),
    ]);
    // Both have lived: nothing is copied over them. Whether a wake comes before a copy is chance.
    for (const outcome of outcomes.slice(0, 2)) expect(['incarnation.stale', 'room.busy']).toContain(outcome);
    expect(['resolved', 'room.busy']).toContain(outcomes[2]);
    expect(outcomes.slice(3)).toEqual(['resolved', 'resolved']);
  });
});

/** Dies at its n-th write, before or after it took effect. */
class DyingJournal implements Journal {
  writes = 0;
  constructor(
    readonly kept: MemoryJournal,
    private readonly at: { write: number; place: 'before' | 'after' } | null,
    private readonly die: () => void,
  ) {}
  records(): ReadonlyMap<string, RoomRecord> {
    return this.kept.records();
  }
  intend(record: RoomRecord): Promise<void> {
    return this.#write(() => this.kept.intend(record));
  }
  note(record: RoomRecord): Promise<void> {
    return this.#write(() => this.kept.note(record));
  }
  async close(): Promise<void> {}
  async #write(apply: () => Promise<void>): Promise<void> {
    this.writes += 1;
    const dies = this.writes === this.at?.write;
    if (!dies || this.at?.place === 'after') await apply();
    if (!dies) return;
    this.die();
    await new Promise(() => undefined);
  }
}

it('is made by the same order again after the host agent died at any write of its journal', async () => {
  const run = async (at: { write: number; place: 'before' | 'after' } | null): Promise<number> => {
    const { machine, image, nonce } = await asleep();
    let died: () => void = () => undefined;
    const death = new Promise<'died'>((resolve) => (died = () => resolve('died')));
    const journal = new DyingJournal(machine.journal as MemoryJournal, at, () => {
      void machine.crash();
      died();
    });
    await machine.crash();
    await machine.start({ unfenced: true }, journal);
    let outcome = await Promise.race([copied(machine, image), death]);
    if (outcome === 'died') {
      await machine.start();
      expect(['gone', 'sealed', undefined]).toContain(machine.runner(copy).record?.phase);
      outcome = await copied(machine, image);
    }
    await machine.runner(copy).ensureRunning(2, runningOrder({ image: outcome.image, hasDisk: true, newIdentity: true }));
    expect(machine.ram(copy)?.nonce).toBe(nonce);
    expect(machine.world.imagesOf(copy)).toHaveLength(1);
    return journal.writes;
  };
  const writes = await run(null);
  expect(writes).toBeGreaterThanOrEqual(2);
  for (let write = 1; write <= 2; write += 1) for (const place of ['before', 'after'] as const) await run({ write, place });
});

describe('over the wire', () => {
  const host = new HostProcess();
  beforeAll(() => host.start().then(() => host.ready()));
  afterAll(() => host.stop());

  it.each(['before', 'middle', 'after'] as const)('is made although the agent is killed %s the copying', async (place) => {
    const names = [`${place}-a`, `${place}-b`].map((name) => roomName({ bytes: (n) => Buffer.from(name.padEnd(n, '.').slice(0, n)), below: () => 0 }));
    const [from = '', to = ''] = names;
    const path = (room: string, incarnation: number, rest: string) => `/rooms/${room}/incarnations/${incarnation}/${rest}`;
    const nonceOf = async (room: string, incarnation: number) => ((await host.call('POST', path(room, incarnation, 'invocations'), { prompt: 'nonce' })).json as { nonce: string }).nonce;
    await host.call('PUT', path(from, 1, 'running'), runningOrder());
    const nonce = await nonceOf(from, 1);
    const { image } = SealedReport.parse((await host.call('PUT', path(from, 1, 'sealed'), sealedOrder())).json);
    const fault: Fault = { verb: 'copy', kind: 'crash', place, roomId: to };
    host.faults([fault]);
    expect(await host.call('PUT', path(to, 1, 'copied'), copiedOrder(image)).catch(() => null)).toBeNull();
    await host.ended();
    host.faults([]);
    await host.start();
    await host.ready();
    const answer = await host.call('PUT', path(to, 1, 'copied'), copiedOrder(image));
    expect(answer.status).toBe(200);
    const report = CopiedReport.parse(answer.json);
    expect(await host.call('PUT', path(to, 2, 'running'), runningOrder({ image: report.image, hasDisk: true, newIdentity: true }))).toMatchObject({ status: 200, json: { resumedFrom: 'memory' } });
    expect(await nonceOf(to, 2)).toBe(nonce);
  }, 30_000);

  it('refuses what is not an order', async () => {
    expect(await host.call('PUT', `/rooms/${copy}/incarnations/1/copied`, { operationId: 'x' })).toMatchObject({ status: 400, json: { code: 'request.invalid' } });
  });
});
