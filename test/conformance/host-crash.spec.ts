import { type ImageRef, Problem, type ProblemCode, SealedReport } from '@alcove/contracts';
import type { Fault, FoundVm } from '@alcove/runtime';
import { type Journal, MemoryJournal, type RoomRecord } from '../../apps/host/src/journal';
import { HostProcess, roomName, runningOrder, sealedOrder } from './host-harness';
import { TestMachine } from './host-in-process';

/** What a control plane needs of a host; it calls again when the host died on it. */
interface HostSeenFromAbove {
  running(incarnation: number, order: { image: ImageRef | null; previous: ImageRef | null; hasDisk: boolean }): Promise<void>;
  sealed(incarnation: number, generation: number): Promise<ImageRef>;
  gone(incarnation: number, discard: boolean): Promise<void>;
  nonce(incarnation: number): Promise<string>;
}

const room = roomName();

/**
 * The life of one room: born, sealed, woken, sealed, woken, destroyed. Every verb is called until it is answered. An incarnation that the host calls over is followed by the
 * next one, as the control plane does. Because VMs and images outlive the agent, nothing may be lost on the way.
 */
async function live(host: HostSeenFromAbove): Promise<{ nonces: string[]; incarnations: number }> {
  const nonces: string[] = [];
  let incarnation = 1;
  let generation = 0;
  let image: ImageRef | null = null;
  let previous: ImageRef | null = null;
  for (let turn = 0; turn < 3; turn += 1) {
    await host.running(incarnation, { image, previous, hasDisk: turn > 0 });
    nonces.push(await host.nonce(incarnation));
    generation += 1;
    if (turn === 2) break;
    [previous, image] = [image, await host.sealed(incarnation, generation)];
    await host.gone(incarnation, false);
    incarnation += 1;
  }
  await host.gone(incarnation, true);
  return { nonces, incarnations: incarnation };
}

/** Dies at its n-th write, before or after it took effect. */
class DyingJournal implements Journal {
  #writes = 0;
  constructor(
    readonly kept: MemoryJournal,
    private readonly at: { write: number; place: 'before' | 'after' } | null,
    private readonly die: () => void,
  ) {}
  get writes(): number {
    return this.#writes;
  }
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
    this.#writes += 1;
    const dies = this.#writes === this.at?.write;
    if (!dies || this.at?.place === 'after') await apply();
    if (!dies) return;
    this.die();
    await new Promise(() => undefined);
  }
}

describe('the host agent dies at a write of its journal', () => {
  const kept = () => new MemoryJournal();

  /** Runs the story on a machine whose agent dies at that write, and is started again. */
  async function run(at: { write: number; place: 'before' | 'after' } | null): Promise<{ writes: number; nonces: string[]; machine: TestMachine }> {
    const machine = new TestMachine({ journal: kept() });
    let died: () => void = () => undefined;
    const death = new Promise<'died'>((resolve) => (died = () => resolve('died')));
    const journal = new DyingJournal(machine.journal as MemoryJournal, at, () => {
      void machine.crash();
      died();
    });
    await machine.start({ unfenced: true }, journal);
    let restarted = false;
    const call = async <T>(verb: () => Promise<T>): Promise<T> => {
      const outcome = restarted ? await verb() : await Promise.race([verb(), death]);
      if (outcome !== 'died') return outcome;
      restarted = true;
      await machine.start();
      checkMachine(machine);
      return verb();
    };
    const { nonces } = await live({
      running: async (incarnation, order) => void (await call(() => machine.runner(room).ensureRunning(incarnation, runningOrder(order)))),
      sealed: async (incarnation, generation) => (await call(() => machine.runner(room).ensureSealed(incarnation, sealedOrder({ generation })))).image,
      gone: async (incarnation, discard) => void (await call(() => machine.runner(room).ensureGone(incarnation, { operationId: 'op', reason: 'test', discard }))),
      nonce: async () => machine.ram(room)?.nonce ?? '',
    });
    return { writes: journal.writes, nonces, machine };
  }
  /** After a start, every VM is held by a runner under the journalled incarnation. */
  function checkMachine(machine: TestMachine): void {
    const vms = machine.world.vmsOf(room);
    expect(vms.length).toBeLessThanOrEqual(1);
    for (const vm of vms) expect(machine.runner(room).state()).toMatchObject({ phase: 'running', incarnation: vm.incarnation });
  }

  it('and nothing is lost, whichever write it is', async () => {
    const { writes } = await run(null);
    expect(writes).toBeGreaterThan(10);
    for (let write = 1; write <= writes; write += 1) {
      for (const place of ['before', 'after'] as const) {
        const { nonces, machine } = await run({ write, place });
        expect({ write, place, kinds: new Set(nonces).size }).toEqual({ write, place, kinds: 1 });
        expect(machine.world.vms.all()).toEqual([]);
        expect(machine.world.images.all()).toEqual([]);
        expect(machine.world.disks.all()).toEqual([]);
      }
    }
  });
});

describe('the host agent is killed inside a verb of the driver', () => {
  const host = new HostProcess();
  afterAll(() => host.stop());
  const path = (incarnation: number, rest: string) => `/rooms/${room}/incarnations/${incarnation}/${rest}`;

  /** Calls until the process answers; a process that was killed is started again without the fault. */
  async function insist(method: string, where: string, body: unknown): Promise<unknown> {
    for (;;) {
      const answer = await host.call(method, where, body).catch(() => null);
      if (answer?.status === 200) return answer.json;
      if (answer) throw new Problem((answer.json as { code: ProblemCode }).code);
      await host.ended();
      host.faults([]);
      await host.start();
      await host.ready();
    }
  }

  const faults: Fault[] = (['restore', 'seal', 'stop', 'prune', 'discard'] as const).flatMap((verb) =>
    (['before', 'middle', 'after'] as const)
      .filter((place) => place !== 'middle' || verb === 'restore' || verb === 'seal')
      .map((place): Fault => ({ verb, kind: 'crash', place })),
  );

  it.each(faults.map((fault) => [fault.place, fault.verb, fault] as const))('%s %s, and nothing is lost', async (_place, _verb, fault) => {
    if (!host.child || host.child.exitCode !== null || host.child.signalCode !== null) await host.start();
    await host.ready();
    const name = roomName({ bytes: (n) => Buffer.from(`${fault.verb}${fault.place}`.padEnd(n, '.').slice(0, n)), below: () => 0 });
    const where = (incarnation: number, rest: string) => path(incarnation, rest).replace(room, name);
    host.faults([{ ...fault, roomId: name }]);
    const { nonces } = await live({
      running: async (incarnation, order) => void (await insist('PUT', where(incarnation, 'running'), runningOrder(order))),
      sealed: async (incarnation, generation) => SealedReport.parse(await insist('PUT', where(incarnation, 'sealed'), sealedOrder({ generation }))).image,
      gone: async (incarnation, discard) => void (await insist('PUT', where(incarnation, 'gone'), { operationId: 'op', reason: 'test', discard })),
      nonce: async (incarnation) => ((await insist('POST', where(incarnation, 'invocations'), { prompt: 'nonce' })) as { nonce: string }).nonce,
    });
    host.faults([]);
    expect(new Set(nonces).size).toBe(1);
    const { incarnations } = (await host.call('GET', '/state')).json as { incarnations: FoundVm[] };
    expect(incarnations.filter((state) => state.roomId === name)).toEqual([]);
  }, 30_000);
});
