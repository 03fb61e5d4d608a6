import { newId } from '@alcove/base';
import { Problem, type Principal } from '@alcove/contracts';
import { until } from '../db/database';
import { type hostBeat, type Platform, type Process, withTwoProcesses } from './platform';

let platform: Platform;
let one: Process;
let two: Process;
let me: Principal;
let nextBeat: () => ReturnType<typeof hostBeat>;
withTwoProcesses((found) => ({ platform, one, two, me, nextBeat } = found));

const running = (userId = 'ada') => one.rooms.service.create(me, { userId }, { wait: true });

describe('RoomsService', () => {
  it('lets many wakes join one start', async () => {
    const room = await running();
    await one.rooms.service.hibernate(me, room.id);
    const before = platform.host.calls.length;
    const answers = await Promise.all([one, two, one, two, one, two].map(({ rooms }) => rooms.service.wake(me, room.id)));
    expect(answers.map((answer) => [answer.room.state, answer.resumedFrom, answer.room.incarnation])).toEqual(Array(6).fill(['running', 'memory', 2]));
    expect(platform.host.calls.slice(before).filter((call) => call === `running ${room.id}/2`)).toHaveLength(1);
  });

  it('tells another process at once what happened', async () => {
    const room = await running();
    let rings = 0;
    const unsubscribe = two.rooms.service.subscribe(room.id, () => rings++);
    await one.rooms.service.hibernate(me, room.id);
    await until(() => rings >= 2);
    unsubscribe();
    const events = await two.rooms.service.events(me, room.id, { after: '2' });
    expect(events.map((event) => event.to)).toEqual(['hibernating', 'hibernated', 'hibernated']);
    for (const after of ['5', '2147483648', '9007199254740992', '9999999999999999999']) expect(await two.rooms.service.events(me, room.id, { after })).toEqual([]);
  });

  it('makes one room of a request that is repeated after its answer was lost', async () => {
    const ask = (idempotencyKey: string) => one.rooms.service.create(me, { userId: 'ada' }, { idempotencyKey });
    const [first, other] = [await ask('order-1'), await ask('order-2')];
    expect((await two.rooms.service.create(me, { userId: 'ada' }, { idempotencyKey: 'order-1' })).id).toBe(first.id);
    expect(other.id).not.toBe(first.id);
    for (const changed of [{ userId: 'bob' }, { userId: 'ada', metadata: { team: 'red' } }, { userId: 'ada', template: 'other' }]) {
      await expect(one.rooms.service.create(me, changed, { idempotencyKey: 'order-1' })).rejects.toMatchObject({ code: 'request.idempotency_reused' });
    }
    expect((await one.rooms.service.list(me, {})).rooms).toHaveLength(2);
    const stranger = { ...me, keyId: 'another' };
    expect((await one.rooms.service.create(stranger, { userId: 'bob' }, { idempotencyKey: 'order-1' })).id).not.toBe(first.id);
  });

  it('wakes a room whose VM died, from its disk', async () => {
    const room = await running();
    const route = await one.rooms.service.route(me, room.id, { wake: true });
    expect(route).toMatchObject({ roomId: room.id, incarnation: 1, wokenMs: 0, host: { id: 'host-a' } });
    expect(await one.rooms.service.reportLost(route, 'guest.closed')).toBe(false);
    expect((await one.rooms.service.get(me, room.id)).state).toBe('running');
    platform.host.running.delete(`${room.id}/1`);
    expect(await one.rooms.service.reportLost(route, 'guest.closed')).toBe(true);
    expect(await one.rooms.service.get(me, room.id)).toMatchObject({ state: 'failed', failure: { code: 'vmm_exited' } });
    await expect(one.rooms.service.route(me, room.id, { wake: false })).rejects.toMatchObject({ code: 'room.not_running' });
    const again = await one.rooms.service.route(me, room.id, { wake: true });
    expect(again).toMatchObject({ incarnation: 2, resumedFrom: 'disk' });
    expect(await one.rooms.service.reportLost(route, 'guest.closed')).toBe(true);
  });

  it('counts nothing as lost that sleeps, or woke with its memory', async () => {
    const room = await running();
    const route = await one.rooms.service.route(me, room.id, { wake: true });
    await one.rooms.service.hibernate(me, room.id);
    expect(await one.rooms.service.reportLost(route, 'guest.closed')).toBe(false);
    await one.rooms.service.wake(me, room.id);
    expect(await one.rooms.service.reportLost(route, 'guest.closed')).toBe(false);
    expect(await one.rooms.service.get(me, room.id)).toMatchObject({ state: 'running', incarnation: 2 });
  });

  it("takes no host's word on an incarnation that another was given", async () => {
    const room = await running();
    const image = { id: newId('img'), roomId: room.id, incarnation: 1, generation: room.generation, templateId: 't', compatibility: 'c', diskState: 'd', bytes: 5, pages: 1, sha256: 'f'.repeat(64) };
    const said = { roomId: room.id, incarnation: 1, sequence: 1_000 };
    const ended = [{ ...said, phase: 'sealed' as const, image }, { ...said, phase: 'gone' as const, reason: 'vmm_exited' }];
    // Full, so that nothing of the other tests is placed there.
    await one.fleet.heartbeat('host-b', { ...nextBeat(), capacity: { roomsMax: 0, roomsUsed: 0, memoryMiBTotal: 0, memoryMiBFree: 0, diskMiBFree: 0 }, ended });
    expect(await one.rooms.service.get(me, room.id)).toMatchObject({ state: 'running', image: null, generation: room.generation });
    const beat = nextBeat();
    const own = await one.fleet.heartbeat('host-a', { ...beat, ended: [{ ...said, phase: 'gone', reason: 'vmm_exited' }] });
    expect(own.acknowledged).toBe(beat.sequence);
    expect(await one.rooms.service.get(me, room.id)).toMatchObject({ state: 'failed', failure: { code: 'vmm_exited' } });
    // It is over, and its row closed: still no other host's.
    await one.fleet.heartbeat('host-b', { ...nextBeat(), ended: [{ ...said, phase: 'sealed', image }] });
    expect(await one.rooms.service.get(me, room.id)).toMatchObject({ state: 'failed', image: null });
    await one.fleet.heartbeat('host-a', { ...nextBeat(), ended: [{ ...said, sequence: 1_001, phase: 'sealed', image }] });
    expect(await one.rooms.service.get(me, room.id)).toMatchObject({ state: 'hibernated', image: { bytes: 5 } });
  });

  it('honours a wake that comes while the room falls asleep', async () => {
    const room = await running();
    const [asleep, woken] = await Promise.all([one.rooms.service.hibernate(me, room.id), one.rooms.service.wake(me, room.id).catch((error: unknown) => error)]);
    expect(asleep.id).toBe(room.id);
    // Whichever came first, the room ends awake or the wake was answered by the room as it ran.
    expect(woken).toMatchObject({ room: { state: 'running' } });
  });

  it('says why a room does not start, and starts it the next time', async () => {
    const room = await running();
    await one.rooms.service.hibernate(me, room.id);
    platform.host.failures.set('running', new Problem('engine.missing', { detail: 'no qemu' }));
    await expect(one.rooms.service.wake(me, room.id)).rejects.toMatchObject({ code: 'engine.missing' });
    expect(await one.rooms.service.get(me, room.id)).toMatchObject({ state: 'failed', failure: { code: 'engine.missing' } });
    platform.host.failures.clear();
    expect(await one.rooms.service.wake(me, room.id)).toMatchObject({ resumedFrom: 'memory', room: { incarnation: 3, failure: null } });
  });

  it('stops waiting when its caller does, and goes on with the move', async () => {
    const room = await running();
    await one.rooms.service.hibernate(me, room.id);
    const caller = new AbortController();
    const waiting = one.rooms.service.wake(me, room.id, caller.signal);
    caller.abort(new Error('gone away'));
    await expect(waiting).rejects.toThrow('gone away');
    // Whether it began before the caller left or not, the next wake ends well.
    expect((await one.rooms.service.wake(me, room.id)).room.state).toBe('running');
  });

  it("answers for nobody else's rooms", async () => {
    const room = await running();
    const other = await platform.newTenant();
    const { service } = one.rooms;
    const tries: (() => Promise<unknown>)[] = [
      () => service.get(other, room.id),
      () => service.wake(other, room.id),
      () => service.hibernate(other, room.id),
      () => service.destroy(other, room.id),
      () => service.setEnv(other, room.id, { A: '1' }),
      () => service.removeEnv(other, room.id, 'A'),
      () => service.route(other, room.id, { wake: true }),
      () => service.events(other, room.id),
    ];
    for (const attempt of tries) await expect(attempt()).rejects.toMatchObject({ code: 'room.not_found' });
    expect((await service.list(other, {})).rooms).toEqual([]);
    const reader: Principal = { ...me, kind: 'key', scopes: ['rooms:read'] };
    await expect(service.wake(reader, room.id)).rejects.toMatchObject({ code: 'auth.scope' });
  });

  it('counts rooms, refuses sizes that the template has not, and pages', async () => {
    me = await platform.newTenant(2);
    const { service } = one.rooms;
    const made = [await service.create(me, { userId: 'ada', metadata: { n: '1' } }), await service.create(me, { userId: 'ada', metadata: { n: '2' } })];
    await expect(service.create(me, { userId: 'ada' })).rejects.toMatchObject({ code: 'room.limit' });
    await expect(service.create(me, { userId: 'bob', size: { memoryMiB: 1024 } })).rejects.toMatchObject({ code: 'request.invalid' });
    await expect(service.create(me, { userId: 'bob', template: 'nobody-has-it' })).rejects.toMatchObject({ code: 'template.not_found' });
    const first = await service.list(me, { limit: 1 });
    const second = await service.list(me, { limit: 1, ...(first.nextCursor && { cursor: first.nextCursor }) });
    expect([...first.rooms, ...second.rooms].map((room) => room.id)).toEqual(made.map((room) => room.id));
    expect(second.nextCursor).toBeNull();
    await expect(service.list(me, { cursor: 'nonsense' })).rejects.toMatchObject({ code: 'request.invalid' });
  });

  it('seals the environment and shows its names only', async () => {
    const { service } = one.rooms;
    const room = await service.create(me, { userId: 'ada', env: { B: '2', A: '1' } }, { wait: true });
    expect(room.env).toEqual(['A', 'B']);
    expect((await service.setEnv(me, room.id, { C: '3', A: '9' })).env).toEqual(['A', 'B', 'C']);
    expect((await service.removeEnv(me, room.id, 'B')).env).toEqual(['A', 'C']);
    await expect(service.setEnv(me, room.id, { BIG: 'x'.repeat(50_000) })).rejects.toMatchObject({ code: 'request.invalid' });
  });

  it('destroys a user with all its rooms', async () => {
    const { service } = one.rooms;
    const rooms = [await running('eve'), await running('eve')];
    await service.hibernate(me, rooms[0]?.id ?? '');
    expect(await service.destroyUser(me, 'eve')).toMatchObject({ id: 'eve', state: 'destroying' });
    await expect(service.create(me, { userId: 'eve' })).rejects.toMatchObject({ code: 'user.gone' });
    await until(async () => (await service.list(me, { userId: 'eve' })).rooms.length === 0);
    await one.rooms.users.finishDestroying();
    expect(await service.destroyUser(me, 'eve')).toMatchObject({ state: 'destroyed' });
    for (const { id } of rooms) await expect(service.get(me, id)).rejects.toMatchObject({ code: 'room.gone' });
    expect([...platform.host.running].filter((name) => rooms.some(({ id }) => name.startsWith(id)))).toEqual([]);
  });

  it('destroys the keys of a user first, whatever its rooms do and whatever is left on a host', async () => {
    const { service, users } = one.rooms;
    await running('mallory');
    platform.host.failures.set('gone', new Problem('host.unavailable'));
    await service.destroyUser(me, 'mallory');
    expect(platform.keysDestroyed.has('mallory')).toBe(true);
    for (let round = 0; round < 3; round++) expect((await users.finishDestroying()).waiting).toBeGreaterThan(0);
    expect(await service.destroyUser(me, 'mallory')).toMatchObject({ state: 'destroying' });
    platform.host.failures.clear();
  });

  it('writes an audit record with every change', async () => {
    const room = await running();
    await one.rooms.service.hibernate(me, room.id);
    const records = await platform.db.withTenant(me.tenantId ?? '', (tx) => tx.auditRecord.findMany({ where: { resource: `room:${room.id}` }, orderBy: { seq: 'asc' } }));
    expect(records.map((record) => record.action)).toEqual(['room.wake', 'room.up', 'room.sleep', 'room.sealed']);
  });
});
