import { Problem, type Principal, type Room } from '@alcove/contracts';
import { staleHolds } from './reconcilers';
import { until } from '../db/database';
import { type hostBeat, type Platform, type Process, withTwoProcesses } from './platform';

let platform: Platform;
let one: Process;
let two: Process;
let me: Principal;
let nextBeat: () => ReturnType<typeof hostBeat>;
withTwoProcesses((found) => ({ platform, one, two, me, nextBeat } = found));

const running = (input: { userId?: string; env?: Record<string, string>; metadata?: Record<string, string> } = {}): Promise<Room> =>
  one.rooms.service.create(me, { userId: 'ada', kind: 'sandbox', lifecycle: { timeoutMs: 600_000 }, ...input }, { wait: true });
const rowOf = async (id: string) => (await platform.store.find(me.tenantId ?? '', id))?.room;
const allRows = async () => platform.db.withTenant(me.tenantId ?? '', (tx) => tx.room.findMany({ orderBy: { createdAt: 'asc' } }));

describe('snapshots', () => {
  it('copy a room that runs and let it go on with its timeout', async () => {
    const { service } = one.rooms;
    const room = await running({ metadata: { team: 'red' } });
    const taken = await service.snapshot(me, room.id, { name: 'before' });
    expect(taken).toMatchObject({ userId: 'ada', roomId: room.id, name: 'before', template: 'default', metadata: { team: 'red' } });
    expect(taken.id).toMatch(/^snap_[0-9a-f]{20}$/);
    const after = await service.get(me, room.id);
    expect(after).toMatchObject({ state: 'running', resumedFrom: 'memory', endsAt: room.endsAt });
    expect((await rowOf(room.id))?.holders).toEqual([]);
    expect((await service.events(me, room.id)).filter((event) => event.to === 'hibernating').map((event) => event.reason)).toEqual(['snapshot']);
  });

  it('leave a room asleep that slept', async () => {
    const { service } = one.rooms;
    const room = await running();
    await service.hibernate(me, room.id);
    await service.snapshot(me, room.id);
    expect(await service.get(me, room.id)).toMatchObject({ state: 'hibernated', incarnation: 1 });
  });

  it('are no rooms: never listed as such, never woken, not counted as rooms', async () => {
    const { service } = one.rooms;
    const room = await running();
    const { id } = await service.snapshot(me, room.id);
    const frozen = id.replace('snap_', 'room_');
    expect((await service.list(me, {})).rooms.map((one) => one.id)).toEqual([room.id]);
    for (const call of [() => service.get(me, frozen), () => service.wake(me, frozen), () => service.hibernate(me, frozen), () => service.destroy(me, frozen), () => service.setEnv(me, frozen, { A: '1' }), () => service.setTimeout(me, frozen, 5), () => service.route(me, frozen, { wake: true }), () => service.fork(me, frozen), () => service.edgeWake(frozen), () => service.ending(me, frozen), () => service.accessTokens(me, frozen)]) {
      await expect(call()).rejects.toMatchObject({ code: 'room.not_found' });
    }
    expect(await service.edgeRoute(frozen)).toMatchObject({ state: 'unknown' });
    expect((await one.rooms.mover.apply({ tenantId: me.tenantId ?? '', roomId: frozen }, { kind: 'wake', reason: 'asked' }, { actor: 'test' })).verdict).toEqual({ kind: 'deny', code: 'room.frozen' });
    const stranger = await platform.newTenant();
    await expect(service.getSnapshot(stranger, id)).rejects.toMatchObject({ code: 'snapshot.not_found' });
    await expect(service.removeSnapshot(stranger, id)).rejects.toMatchObject({ code: 'snapshot.not_found' });
    await expect(service.getSnapshot(me, room.id.replace('room_', 'snap_'))).rejects.toMatchObject({ code: 'snapshot.not_found' });
  });

  it('are listed by room and name, newest first, and removed', async () => {
    const { service } = one.rooms;
    const [a, b] = [await running(), await running()];
    const taken = [await service.snapshot(me, a.id, { name: 'x' }), await service.snapshot(me, b.id, { name: 'y' }), await service.snapshot(me, a.id)];
    const ids = async (query: Parameters<typeof service.snapshots>[1]) => (await service.snapshots(me, query)).snapshots.map((one) => taken.findIndex(({ id }) => id === one.id));
    expect(await ids({})).toEqual([2, 1, 0]);
    expect(await ids({ roomId: a.id })).toEqual([2, 0]);
    expect(await ids({ name: 'y' })).toEqual([1]);
    const first = await service.snapshots(me, { limit: 2 });
    expect((await service.snapshots(me, { limit: 2, ...(first.nextCursor && { cursor: first.nextCursor }) })).snapshots.map((one) => one.id)).toEqual([taken[0]?.id]);
    await service.destroy(me, a.id);
    await until(async () => (await rowOf(a.id))?.state === 'destroyed');
    expect(await ids({ roomId: a.id })).toEqual([2, 0]);
    await service.removeSnapshot(me, taken[0]?.id ?? '');
    await expect(service.removeSnapshot(me, taken[0]?.id ?? '')).rejects.toMatchObject({ code: 'snapshot.not_found' });
    expect(await ids({})).toEqual([2, 1]);
  });

  it('become rooms of the same user, with an identity of their own at their first start only', async () => {
    const { service } = one.rooms;
    const { id } = await service.snapshot(me, (await running({ env: { A: '1', B: '2' } })).id);
    platform.host.orders.length = 0;
    const born = await service.create(me, { userId: 'ada', snapshot: id, env: { B: '3' } }, { wait: true });
    expect(born).toMatchObject({ state: 'running', resumedFrom: 'memory', kind: 'room', env: ['A', 'B'] });
    await service.hibernate(me, born.id);
    await service.wake(me, born.id);
    const starts = platform.host.orders.filter((order) => 'newIdentity' in order);
    expect(starts.map((order) => 'env' in order && [order.newIdentity, order.env])).toEqual([[true, { A: '1', B: '3' }], [false, { A: '1', B: '3' }]]);
    await expect(service.create(me, { userId: 'bob', snapshot: id })).rejects.toMatchObject({ code: 'auth.scope' });
    await expect(service.create(me, { userId: 'ada', snapshot: id, template: 'other' })).rejects.toMatchObject({ code: 'request.invalid' });
    await expect(service.create(me, { userId: 'ada', snapshot: `snap_${'0'.repeat(20)}` })).rejects.toMatchObject({ code: 'snapshot.not_found' });
    const again = await service.create(me, { userId: 'ada', snapshot: id }, { idempotencyKey: 'k' });
    expect((await two.rooms.service.create(me, { userId: 'ada', snapshot: id }, { idempotencyKey: 'k' })).id).toBe(again.id);
    await expect(service.create(me, { userId: 'ada' }, { idempotencyKey: 'k' })).rejects.toMatchObject({ code: 'request.idempotency_reused' });
  });

  it('go with their user', async () => {
    const { service, users } = one.rooms;
    await service.snapshot(me, (await running({ userId: 'eve' })).id);
    await service.destroyUser(me, 'eve');
    await until(async () => (await users.finishDestroying(), (await service.destroyUser(me, 'eve')).state === 'destroyed'));
    expect((await allRows()).map((row) => row.state)).toEqual(['destroyed', 'destroyed']);
  });
});

describe('forks', () => {
  it('go on from where the room is, each as a room of its own, and the room goes on too', async () => {
    const { service } = one.rooms;
    const room = await running({ metadata: { team: 'red' } });
    const forks = await service.fork(me, room.id, { count: 3, timeoutMs: 60_000 });
    const made = forks.map((fork) => ('room' in fork ? fork.room : null));
    expect(made).toMatchObject(Array(3).fill({ state: 'running', resumedFrom: 'memory', userId: 'ada', kind: 'sandbox', metadata: { team: 'red' }, lifecycle: { timeoutMs: 60_000 } }));
    expect(new Set([room.id, ...made.map((one) => one?.id)]).size).toBe(4);
    expect(await service.get(me, room.id)).toMatchObject({ state: 'running', resumedFrom: 'memory', lifecycle: { timeoutMs: 600_000 } });
    expect(platform.host.orders.filter((order) => 'newIdentity' in order && order.newIdentity)).toHaveLength(3);
  });

  it('tell each what became of it', async () => {
    const { service } = one.rooms;
    await platform.db.asSystem('test', (tx) => tx.tenant.update({ where: { id: me.tenantId ?? '' }, data: { sandboxesPerUser: 2 } }));
    const room = await running();
    const forks = await service.fork(me, room.id, { count: 2 });
    expect(forks).toMatchObject([{ room: { state: 'running' } }, { problem: { code: 'room.limit' } }]);
  });

  it('that fail are never blank rooms: nothing is left of them, and the room goes on', async () => {
    const { service } = one.rooms;
    const room = await running();
    platform.host.failures.set('copied', new Problem('host.disk_full'));
    platform.host.orders.length = 0;
    expect(await service.fork(me, room.id)).toMatchObject([{ problem: { code: 'room.not_copied', detail: expect.stringContaining('host.disk_full') } }]);
    expect(await service.get(me, room.id)).toMatchObject({ state: 'running', resumedFrom: 'memory' });
    await until(async () => (await allRows()).at(-1)?.state === 'destroyed');
    expect(platform.host.orders.filter((order) => 'hasDisk' in order && !order.hasDisk)).toEqual([]);
    const doomed = (await allRows()).at(-1)?.id ?? '';
    expect(await service.ending(me, doomed)).toMatchObject({ reason: 'room.not_copied' });
    await expect(service.wake(me, doomed)).rejects.toMatchObject({ code: 'room.gone' });
  });

  it('of a room without memory are refused', async () => {
    const { service } = one.rooms;
    const room = await running();
    platform.host.running.delete(`${room.id}/1`);
    await service.reportLost(await service.route(me, room.id, { wake: true }), 'guest.closed');
    await expect(service.snapshot(me, room.id)).rejects.toMatchObject({ code: 'room.not_copied' });
    expect(await service.get(me, room.id)).toMatchObject({ state: 'failed' });
  });

  it('keep a wake and a destroy that come meanwhile until they are made', async () => {
    const { service } = one.rooms;
    const room = await running();
    await service.hibernate(me, room.id);
    const copying = platform.host.pause('copied');
    const taking = service.snapshot(me, room.id);
    await copying.reached;
    const waking = two.rooms.service.wake(me, room.id);
    await until(async () => (await rowOf(room.id))?.wakePending === true);
    expect((await rowOf(room.id))?.state).toBe('hibernated');
    copying.go();
    await taking;
    expect(await waking).toMatchObject({ resumedFrom: 'memory', room: { state: 'running' } });
    await service.hibernate(me, room.id);
    const again = platform.host.pause('copied');
    const last = service.snapshot(me, room.id);
    await again.reached;
    expect((await service.destroy(me, room.id)).state).toBe('hibernated');
    again.go();
    expect(await last).toMatchObject({ roomId: room.id });
    await until(async () => (await rowOf(room.id))?.state === 'destroyed');
  });

  it('whose maker died hold nobody for ever', async () => {
    const { service, mover } = one.rooms;
    const room = await running();
    await mover.edit({ tenantId: me.tenantId ?? '', roomId: room.id }, 'test', 'room.hold', async () => ({ holders: [`room_${'9'.repeat(20)}`] }));
    await until(async () => (await rowOf(room.id))?.state === 'hibernated');
    await until(async () => (await staleHolds(two).run(), (await rowOf(room.id))?.state === 'running'));
    expect((await service.get(me, room.id)).resumedFrom).toBe('memory');
  });
});

it('warn where the template is not known to be safe to copy, and only there', async () => {
  const { service } = one.rooms;
  const beat = nextBeat();
  const [safe] = beat.description.templates;
  if (!safe) throw new Error('the host has no template');
  const templates = [safe, { ...safe, id: `tpl_${'e'.repeat(20)}`, name: 'unsafe', cloneSafe: false }];
  await one.fleet.heartbeat('host-a', { ...beat, description: { ...beat.description, templates }, incarnations: platform.host.beatOf() });
  // What is known of hosts may be a moment old.
  await until(async () => (await one.fleet.templates()).some(({ name }) => name === 'unsafe'));
  for (const [template, warnings] of [['default', []], ['unsafe', [expect.stringContaining('not known to be safe to copy')]]] as const) {
    const room = await service.create(me, { userId: 'ada', kind: 'sandbox', template }, { wait: true });
    expect(await service.snapshot(me, room.id)).toMatchObject({ template, warnings });
    expect(await service.fork(me, room.id)).toMatchObject([{ room: { template }, warnings }]);
  }
});
