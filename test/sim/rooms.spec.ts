import { newId, silentLog } from '@alcove/base';
import type { IncarnationState } from '@alcove/contracts';
import { RoomsLedger } from '@alcove/rooms';
import { contractHost } from '@alcove/testing';
import { simPrincipal, simTenant, SimWorld } from './sim-world';

async function settled<T>(world: SimWorld, work: Promise<T>, ms = 30_000): Promise<T> {
  let done = false;
  work.then(() => (done = true), () => (done = true));
  for (let waited = 0; !done && waited < ms; waited += 50) await world.run(50);
  if (!done) throw new Error('it did not end in time');
  return work;
}

describe('a calm platform', () => {
  it('makes a room, puts it to sleep, wakes it with its memory, destroys it', async () => {
    const world = new SimWorld({ seed: 1, groups: [2] });
    await world.start();
    const { service } = world.api.rooms;
    const room = await settled(world, service.create(simPrincipal, { userId: 'ada' }, { wait: true }));
    expect(room).toMatchObject({ state: 'running', resumedFrom: 'new' });
    const asleep = await settled(world, service.hibernate(simPrincipal, room.id));
    expect(asleep).toMatchObject({ state: 'hibernated', wanted: 'asleep' });
    const woken = await settled(world, service.wake(simPrincipal, room.id));
    expect(woken.resumedFrom).toBe('memory');
    await settled(world, service.destroy(simPrincipal, room.id));
    await world.run(5_000);
    const events = await settled(world, service.events(simPrincipal, room.id));
    expect(events.filter((event) => event.type === 'state').map((event) => event.to)).toEqual([
      'provisioning', 'running', 'hibernating', 'hibernated', 'resuming', 'running', 'destroying', 'destroyed',
    ]);
    await expect(settled(world, service.get(simPrincipal, room.id))).rejects.toMatchObject({ code: 'room.gone' });
    expect(world.machines.flatMap((machine) => machine.vms.all())).toEqual([]);
  });
});

describe('a room that never keeps its memory', () => {
  it('leaves no images behind, however often it sleeps', async () => {
    const world = new SimWorld({ seed: 3, groups: [1] });
    await world.start();
    const { service } = world.api.rooms;
    const room = await settled(world, service.create(simPrincipal, { userId: 'ada' }, { wait: true }));
    for (let turn = 0; turn < 5; turn++) {
      await settled(world, service.hibernate(simPrincipal, room.id, undefined, { keepMemory: false }));
      expect((await settled(world, service.wake(simPrincipal, room.id))).resumedFrom).toBe('disk');
      await world.run(1_000);
    }
    expect(world.machines.flatMap(({ group }) => group.images.all())).toHaveLength(1);
  });
});

describe('the ledger', () => {
  it('believes a host about the incarnations that it was given only', async () => {
    const world = new SimWorld({ seed: 2, groups: [2] });
    await world.start();
    const { service, mover } = world.api.rooms;
    const room = await settled(world, service.create(simPrincipal, { userId: 'ada' }, { wait: true }));
    const stored = async () => (await world.store.find(simTenant, room.id))?.room;
    const own = (await stored())?.hostId ?? '';
    const other = world.machines.find(({ id }) => id !== own)?.id ?? '';
    const ledger = new RoomsLedger({ store: world.store, mover, clock: world.api.node, log: silentLog });
    const image = { id: newId('img'), roomId: room.id, incarnation: 1, generation: room.generation, templateId: 't', compatibility: 'c', diskState: 'd', bytes: 5, pages: 1, sha256: 'f'.repeat(64) };
    const word: IncarnationState = { roomId: room.id, incarnation: 1, phase: 'gone', sequence: 1_000, reason: 'vmm_exited' };
    const before = await stored();
    for (const state of [word, { ...word, phase: 'sealed' as const, image }, { ...word, phase: 'running' as const }]) await settled(world, ledger.report(contractHost(other), [state]));
    expect(await stored()).toEqual(before);
    expect((await world.store.locate(room.id))?.newest).toMatchObject({ hostId: own, closedAt: null });
    await settled(world, ledger.report(contractHost(own), [word]));
    expect(await stored()).toMatchObject({ state: 'failed', failure: { code: 'vmm_exited' } });
    await settled(world, ledger.report(contractHost(other), [{ ...word, phase: 'sealed', image }]));
    expect(await stored()).toMatchObject({ image: null });
  });
});
