import { limits } from '@alcove/base';
import { Problem, type Principal, type Room } from '@alcove/contracts';
import { expiredRooms } from './reconcilers';
import { until } from '../db/database';
import { type Platform, type Process, withTwoProcesses } from './platform';

let platform: Platform;
let one: Process;
let two: Process;
let me: Principal;
withTwoProcesses((found) => ({ platform, one, two, me } = found));

const sandbox = (lifecycle: Partial<Room['lifecycle']> = {}, userId = 'ada') => one.rooms.service.create(me, { userId, kind: 'sandbox', lifecycle }, { wait: true });
const stateOf = async (id: string): Promise<string> => (await one.rooms.service.get(me, id).catch(() => null))?.state ?? 'gone';
const endOf = (room: Room): number => Date.parse(room.endsAt ?? '');
const farMs = 3_600_000;

describe('a room that ends by itself', () => {
  it('is what its maker, else its tenant, else the platform says', async () => {
    const { service } = one.rooms;
    const own = await service.create(me, { userId: 'p' });
    expect(own.lifecycle).toEqual({ timeoutMs: null, onTimeout: 'pause', keepMemory: true, autoResume: true });
    // A user's own room opens its ports to nobody who cannot show its token; a sandbox does, as E2B's do.
    expect(own.network.allowPublicTraffic).toBe(false);
    expect((await service.accessTokens(me, own.id)).traffic).not.toBeNull();
    expect((await service.create(me, { userId: 'p', kind: 'sandbox' })).network.allowPublicTraffic).toBe(true);
    expect(await service.create(me, { userId: 'ada', lifecycle: { timeoutMs: 7_000 } })).toMatchObject({ kind: 'sandbox', lifecycle: { timeoutMs: 7_000, onTimeout: 'kill', keepMemory: true, autoResume: false } });
    await platform.db.asSystem('test', (tx) => tx.tenant.update({ where: { id: me.tenantId ?? '' }, data: { lifecycles: { sandbox: { timeoutMs: null, onTimeout: 'pause' } } } }));
    expect(await sandbox({ autoResume: true })).toMatchObject({ kind: 'sandbox', endsAt: null, lifecycle: { timeoutMs: null, onTimeout: 'pause', autoResume: true } });
    await expect(sandbox({ keepMemory: false, autoResume: true })).rejects.toMatchObject({ code: 'request.invalid' });
    // A default gives way to what was said against it: E2B's clients leave out what they do not want to decide.
    expect((await service.create(await platform.newTenant(), { userId: 'p', lifecycle: { keepMemory: false } })).lifecycle).toMatchObject({ keepMemory: false, autoResume: false });
    await platform.db.asSystem('test', (tx) => tx.tenant.update({ where: { id: me.tenantId ?? '' }, data: { lifecycles: { sandbox: { keepMemory: false } } } }));
    expect(await sandbox({ autoResume: true })).toMatchObject({ lifecycle: { keepMemory: true, autoResume: true } });
    expect(await sandbox({})).toMatchObject({ lifecycle: { keepMemory: false, autoResume: false } });
  });

  it('is killed, and says why long after', async () => {
    const { service } = one.rooms;
    const room = await sandbox({ timeoutMs: 1 });
    expect(await service.ending(me, room.id)).toBeNull();
    await until(async () => (await expiredRooms(two).run(), (await stateOf(room.id)) === 'gone'));
    await until(async () => (await service.ending(me, room.id)) !== null);
    expect(await service.ending(me, room.id)).toMatchObject({ reason: 'timeout' });
    expect((await service.events(me, room.id)).find((event) => event.to === 'destroying')).toMatchObject({ reason: 'timeout' });
    expect(await service.edgeRoute(room.id)).toMatchObject({ reason: 'timeout', target: null, surfaceToken: null });
    const asked = await sandbox({ timeoutMs: farMs });
    await service.destroy(me, asked.id, 'evicted');
    await service.destroy(me, asked.id).catch(() => undefined);
    expect(await service.ending(me, asked.id)).toMatchObject({ reason: 'evicted' });
  });

  it('sleeps as if it had been asked to, and keeps its policy through every resume', async () => {
    const { service } = one.rooms;
    let room = await sandbox({ timeoutMs: 60_000, onTimeout: 'pause' });
    for (let turn = 0; turn < 3; turn++) {
      expect(endOf(room)).toBeGreaterThan(Date.now() + 50_000);
      await service.setTimeout(me, room.id, 0);
      await until(async () => (await expiredRooms(two).run(), (await stateOf(room.id)) === 'hibernated'));
      expect(await service.get(me, room.id)).toMatchObject({ endsAt: null, wanted: 'available', lifecycle: { timeoutMs: 60_000, onTimeout: 'pause' } });
      const woken = await service.wake(me, room.id);
      expect(woken.resumedFrom).toBe('memory');
      ({ room } = woken);
    }
    expect((await service.events(me, room.id)).filter((event) => event.to === 'hibernating').map((event) => event.reason)).toEqual(['timeout', 'timeout', 'timeout']);
  });

  it('goes on when it cannot be put to sleep, and is tried again', async () => {
    const room = await sandbox({ timeoutMs: farMs, onTimeout: 'pause' });
    platform.host.failures.set('sealed', new Problem('engine.missing'));
    await one.rooms.service.setTimeout(me, room.id, 0);
    await until(async () => (await expiredRooms(one).run(), (await one.rooms.service.get(me, room.id)).failure !== null));
    await until(async () => (await stateOf(room.id)) === 'running');
    platform.host.failures.clear();
    await until(async () => (await expiredRooms(two).run(), (await stateOf(room.id)) === 'hibernated'));
  });

  it('lives at least as long as whoever wakes it wants, never shorter; a timeout may shorten', async () => {
    const { service } = one.rooms;
    const room = await sandbox({ timeoutMs: 600_000 });
    expect(endOf((await service.wake(me, room.id, undefined, { timeoutMs: 1_000 })).room)).toBe(endOf(room));
    const longer = (await service.wake(me, room.id, undefined, { timeoutMs: farMs })).room;
    expect(endOf(longer)).toBeGreaterThan(Date.now() + farMs - 60_000);
    expect(endOf(await service.setTimeout(me, room.id, 30_000))).toBeLessThan(Date.now() + 31_000);
    await service.hibernate(me, room.id);
    await expect(service.setTimeout(me, room.id, 1_000)).rejects.toMatchObject({ code: 'room.not_running' });
    for (const timeoutMs of [-1, 0.5, NaN, 1e15]) await expect(service.setTimeout(me, room.id, timeoutMs)).rejects.toMatchObject({ code: 'request.invalid' });
    const woken = (await service.wake(me, room.id, undefined, { timeoutMs: farMs })).room;
    expect(endOf(woken)).toBeGreaterThan(Date.now() + farMs - 60_000);
    const mine = await service.create(me, { userId: 'p' }, { wait: true });
    expect((await service.wake(me, mine.id, undefined, { timeoutMs: 5 })).room.endsAt).toBeNull();
    expect(endOf(await service.setLifecycle(me, mine.id, { timeoutMs: 60_000 }))).toBeGreaterThan(Date.now());
    expect((await service.setLifecycle(me, mine.id, { timeoutMs: null })).endsAt).toBeNull();
  });

  it('starts from its disk when only that was kept, or when asked to, and tells no fallback', async () => {
    const { service } = one.rooms;
    const room = await sandbox({ timeoutMs: farMs });
    await service.hibernate(me, room.id, undefined, { keepMemory: false });
    expect(await service.edgeRoute(room.id)).toMatchObject({ state: 'hibernated', autoResume: false });
    expect(await service.wake(me, room.id)).toMatchObject({ resumedFrom: 'disk' });
    await service.hibernate(me, room.id);
    expect(await service.wake(me, room.id, undefined, { memory: false })).toMatchObject({ resumedFrom: 'disk' });
    await service.hibernate(me, room.id);
    expect(await service.wake(me, room.id)).toMatchObject({ resumedFrom: 'memory' });
    expect((await service.events(me, room.id)).filter((event) => event.type === 'fallback')).toEqual([]);
    const starts = platform.host.orders.filter((order) => 'hasDisk' in order && order.hasDisk);
    // The image that is not used stays to fall back on.
    expect(starts.map((order) => 'image' in order && [order.image !== null, order.previous !== null])).toEqual([[false, true], [false, true], [true, true]]);
  });

  it('counts sandboxes apart from a user\'s own room', async () => {
    me = await platform.newTenant(1);
    const { service } = one.rooms;
    await service.create(me, { userId: 'ada' });
    await expect(service.create(me, { userId: 'ada' })).rejects.toMatchObject({ code: 'room.limit' });
    for (let i = 0; i < 3; i++) await service.create(me, { userId: 'ada', kind: 'sandbox' });
    await platform.db.asSystem('test', (tx) => tx.tenant.update({ where: { id: me.tenantId ?? '' }, data: { sandboxesPerUser: 3 } }));
    await expect(service.create(me, { userId: 'ada', kind: 'sandbox' })).rejects.toMatchObject({ code: 'room.limit' });
  });
});

describe('the edge', () => {
  it('learns where a room is, what opens it, and wakes it only if it may', async () => {
    const { service } = one.rooms;
    const shut = await sandbox({ timeoutMs: 60_000 });
    await service.setNetwork(me, shut.id, { allowPublicTraffic: false, maskRequestHost: 'app.test:${PORT}' });
    const tokens = await service.accessTokens(me, shut.id);
    const route = await two.rooms.service.edgeRoute(shut.id);
    expect(route).toMatchObject({ state: 'running', reason: null, surfaceToken: tokens.surface, trafficToken: tokens.traffic, maskRequestHost: 'app.test:${PORT}', autoResume: false, target: { hostId: 'host-a', incarnation: 1 } });
    expect(tokens.surface).not.toBe(tokens.traffic);
    await service.hibernate(me, shut.id);
    expect(await service.edgeRoute(shut.id)).toMatchObject({ state: 'hibernated', target: null, surfaceToken: tokens.surface });
    await expect(service.edgeWake(shut.id)).rejects.toMatchObject({ code: 'room.not_running' });
    await service.setLifecycle(me, shut.id, { autoResume: true });
    expect(await service.edgeWake(shut.id)).toMatchObject({ state: 'running', surfaceToken: tokens.surface, target: { incarnation: 2 } });
    expect(endOf(await service.get(me, shut.id))).toBeGreaterThan(Date.now() + limits.room.autoResumeMs - 30_000);
    // What slept without its memory is started by who asks for it, not by a request that knows nothing of that.
    await service.hibernate(me, shut.id, undefined, { keepMemory: false });
    expect(await service.edgeRoute(shut.id)).toMatchObject({ state: 'hibernated', autoResume: false });
    await expect(service.edgeWake(shut.id)).rejects.toMatchObject({ code: 'room.not_running' });
    // Strangers are let in only where somebody says so.
    expect((await service.setNetwork(me, shut.id, { denyOut: ['10.0.0.0/8'] })).network.allowPublicTraffic).toBe(false);
    expect((await service.setNetwork(me, shut.id, { allowPublicTraffic: true })).network.allowPublicTraffic).toBe(true);
    expect((await service.accessTokens(me, shut.id)).traffic).toBeNull();
    expect(await service.edgeRoute(`room_${'0'.repeat(20)}`)).toMatchObject({ state: 'unknown', target: null, surfaceToken: null });
    await expect(service.edgeWake(`room_${'0'.repeat(20)}`)).rejects.toMatchObject({ code: 'room.not_found' });
  });
});

describe('lists', () => {
  it('filter by state, kind, template and time, in both orders, page by page', async () => {
    const { service } = one.rooms;
    const made = [await sandbox(), await sandbox({}, 'bob'), await service.create(me, { userId: 'p' }, { wait: true })];
    await service.hibernate(me, made[0]?.id ?? '');
    const ids = async (query: Parameters<typeof service.list>[1]) => (await service.list(me, query)).rooms.map((room) => made.findIndex(({ id }) => id === room.id));
    expect(await ids({ order: 'newest' })).toEqual([2, 1, 0]);
    expect(await ids({ states: ['running'] })).toEqual([1, 2]);
    expect(await ids({ states: ['running', 'hibernated'], kind: 'sandbox' })).toEqual([0, 1]);
    expect(await ids({ template: made[0]?.templateId })).toEqual([0, 1, 2]);
    expect(await ids({ template: 'default' })).toEqual([0, 1, 2]);
    expect(await ids({ template: 'other' })).toEqual([]);
    expect(await ids({ createdAfter: made[1]?.createdAt })).toEqual([1, 2]);
    const first = await service.list(me, { order: 'newest', limit: 2 });
    expect(first.rooms.map((room) => room.id)).toEqual([made[2]?.id, made[1]?.id]);
    expect((await service.list(me, { order: 'newest', limit: 2, ...(first.nextCursor && { cursor: first.nextCursor }) })).rooms.map((room) => room.id)).toEqual([made[0]?.id]);
  });
});
