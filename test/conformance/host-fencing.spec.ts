import { seededRandom } from '@alcove/base';
import { isProblem } from '@alcove/contracts';
import fc from 'fast-check';
import { roomName, runningOrder, sealedOrder } from './host-harness';
import { TestMachine } from './host-in-process';
import { settle, VirtualClock } from './host-virtual-clock';

const rooms = [11, 12, 13].map((seed) => roomName(seededRandom(seed)));
const [room = '', second = ''] = rooms;
const leaseMs = 15_000;
const marginMs = 5000;

async function running(): Promise<{ machine: TestMachine; clock: VirtualClock }> {
  const clock = new VirtualClock();
  const machine = new TestMachine({ clock });
  const host = await machine.start({ unfenced: false });
  host.run();
  await clock.pass(100);
  return { machine, clock };
}
async function refusal(promise: Promise<unknown>): Promise<string> {
  return promise.then(() => 'resolved', (error: unknown) => (isProblem(error) ? error.code : String(error)));
}

it('takes no start before its first beat was answered', async () => {
  const clock = new VirtualClock();
  const machine = new TestMachine({ clock });
  machine.control.silent = true;
  (await machine.start({ unfenced: false })).run();
  await clock.pass(1000);
  expect(await refusal(machine.runner(room).ensureRunning(1, runningOrder()))).toBe('host.fenced');
  machine.control.silent = false;
  await clock.pass(10_000);
  expect(await refusal(machine.runner(room).ensureRunning(1, runningOrder()))).toBe('resolved');
});

it('seals what it can and ends the rest before lease and margin are over, then comes back', async () => {
  const { machine, clock } = await running();
  await machine.runner(room).ensureRunning(1, runningOrder());
  await machine.runner(second).ensureRunning(1, runningOrder());
  machine.driver.script({ verb: 'seal', kind: 'deaf', roomId: second, place: 'middle' });
  const lastSent = clock.monotonic();
  machine.control.silent = true;
  await clock.pass(leaseMs - 2000);
  expect(machine.world.vms.all()).toHaveLength(2);
  await clock.pass(lastSent + leaseMs + marginMs - clock.monotonic());
  expect(machine.world.vms.all()).toEqual([]);
  expect(await refusal(machine.runner(room).ensureRunning(2, runningOrder({ hasDisk: true })))).toBe('host.fenced');
  expect(machine.world.imagesOf(room)).toHaveLength(1);
  machine.control.silent = false;
  await clock.pass(20_000);
  const told = machine.control.beats.flatMap((beat) => beat.ended);
  expect(told).toEqual(
    expect.arrayContaining([
      expect.objectContaining({ roomId: room, phase: 'sealed', reason: 'fenced', image: machine.world.imagesOf(room)[0]?.ref }),
      expect.objectContaining({ roomId: second, phase: 'gone' }),
    ]),
  );
  expect(await refusal(machine.runner(room).ensureRunning(2, runningOrder({ hasDisk: true })))).toBe('resolved');
});

it('ends rooms whose keys it does not have without an image', async () => {
  const { machine, clock } = await running();
  await machine.runner(room).ensureRunning(1, runningOrder());
  await machine.crash();
  await machine.start({ unfenced: false });
  machine.host.run();
  await clock.pass(3000);
  expect(machine.runner(room).state()).toMatchObject({ phase: 'running' });
  machine.control.silent = true;
  await clock.pass(leaseMs + marginMs);
  expect(machine.world.vms.all()).toEqual([]);
  expect(machine.world.imagesOf(room)).toEqual([]);
  expect(machine.runner(room).state()).toMatchObject({ phase: 'gone', reason: 'fenced' });
});

it('gives up a start that is under way', async () => {
  const { machine, clock } = await running();
  machine.driver.script({ verb: 'restore', kind: 'slow', ms: 18_000, place: 'middle' });
  machine.control.silent = true;
  const start = refusal(machine.runner(room).ensureRunning(1, runningOrder()));
  await clock.pass(leaseMs + marginMs);
  expect(machine.world.vms.all()).toEqual([]);
  expect(await start).toBe('host.fenced');
});

it('counts the lease on over a restart: a new agent has no more time than the one before', async () => {
  const { machine, clock } = await running();
  await machine.runner(room).ensureRunning(1, runningOrder());
  machine.control.silent = true;
  await clock.pass(leaseMs - 3000);
  await machine.crash();
  await machine.start({ unfenced: false });
  machine.host.run();
  await clock.pass(3000 + marginMs);
  expect(machine.world.vms.all()).toEqual([]);
});

it('keeps the rooms of an agent that was away for longer than its lease, when the control plane still wants them', async () => {
  const { machine, clock } = await running();
  await machine.runner(room).ensureRunning(1, runningOrder());
  await machine.crash();
  await clock.pass(60_000);
  await machine.start({ unfenced: false });
  machine.host.run();
  await clock.pass(60_000);
  expect(machine.world.vmsOf(room)).toHaveLength(1);
  expect(machine.control.beats.at(-1)?.incarnations).toMatchObject([{ roomId: room, phase: 'running' }]);
});

it('is never seen with a VM once the control plane may give its rooms away', async () => {
  const anyEvent = fc.oneof(
    { weight: 3, arbitrary: fc.record({ kind: fc.constant('pass' as const), ms: fc.integer({ min: 100, max: 9000 }) }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('silence' as const), ms: fc.integer({ min: 1000, max: 40_000 }) }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('start' as const), room: fc.nat(2) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('seal' as const), room: fc.nat(2) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('hang' as const), room: fc.nat(2) }) },
    { weight: 1, arbitrary: fc.constant({ kind: 'restart' as const }) },
  );
  await fc.assert(
    fc.asyncProperty(fc.array(anyEvent, { minLength: 3, maxLength: 12 }), async (events) => {
      const { machine, clock } = await running();
      const incarnations = [0, 0, 0];
      let heardAt = clock.monotonic();
      let beats = machine.control.beats.length;
      const pass = async (ms: number) => {
        for (let left = ms; left > 0; left -= 500) {
          await clock.pass(Math.min(500, left));
          // The control plane's view is the earliest possible: it may count from the moment the beat left the host.
          if (machine.control.beats.length > beats) heardAt = clock.monotonic();
          beats = machine.control.beats.length;
          if (clock.monotonic() >= heardAt + leaseMs + marginMs + 500) expect(machine.world.vms.all()).toEqual([]);
          for (const name of rooms) expect(machine.world.vmsOf(name).length).toBeLessThanOrEqual(1);
        }
      };
      for (const event of events) {
        const name = 'room' in event ? (rooms[event.room] ?? room) : room;
        if (event.kind === 'pass') await pass(event.ms);
        if (event.kind === 'silence') {
          machine.control.silent = true;
          await pass(event.ms);
          machine.control.silent = false;
        }
        if (event.kind === 'start') void machine.runner(name).ensureRunning((incarnations[event.room] = (incarnations[event.room] ?? 0) + 1), runningOrder()).catch(() => undefined);
        if (event.kind === 'seal') void machine.runner(name).ensureSealed(Math.max(1, incarnations[event.room] ?? 0), sealedOrder({ generation: 1 + (incarnations[event.room] ?? 0) * 10 })).catch(() => undefined);
        if (event.kind === 'hang') machine.driver.script({ verb: 'seal', kind: 'deaf', roomId: name, place: 'middle' });
        if (event.kind === 'restart') {
          await machine.crash();
          await machine.start({ unfenced: false });
          machine.host.run();
        }
        await settle();
      }
      await pass(3000);
    }),
    { seed: 20_261_122, numRuns: 40 },
  );
}, 120_000);
