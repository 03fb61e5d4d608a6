import { simPrincipal, SimWorld } from './sim-world';

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
