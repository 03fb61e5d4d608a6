import type { Principal } from '@alcove/contracts';
import { until } from '../db/database';
import { type Platform, type Process, withTwoProcesses } from './platform';
import { keyHolds } from './reconcilers';

let platform: Platform;
let one: Process;
let two: Process;
let me: Principal;
withTwoProcesses((found) => ({ platform, one, two, me } = found));
afterEach(() => platform.revoked.clear());

const revoke = () => platform.revoked.add(me.tenantId ?? '');
const stateOf = async (id: string): Promise<string> => (await one.rooms.service.get(me, id)).state;
const codeOf = (run: Promise<unknown>): Promise<string> => run.then(() => 'ok', (error: { code: string }) => error.code);

it('puts rooms to sleep whose tenant has taken its key away, refuses their wakes, and lets them come back', async () => {
  const { service } = one.rooms;
  const awake = await service.create(me, { userId: 'ada' }, { wait: true });
  const asleep = await service.create(me, { userId: 'bob' }, { wait: true });
  await service.hibernate(me, asleep.id);
  const stranger = await platform.newTenant();
  const theirs = await service.create(stranger, { userId: 'eve' }, { wait: true });
  revoke();
  expect(await keyHolds(two).run()).toEqual({ held: 2, released: 0 });
  await until(async () => (await stateOf(awake.id)) === 'hibernated');
  expect(await service.get(me, awake.id)).toMatchObject({ hold: 'key_unavailable', wanted: 'available' });
  for (const id of [awake.id, asleep.id]) expect(await codeOf(one.rooms.service.wake(me, id))).toBe('vault.key_unavailable');
  expect(await codeOf(two.rooms.service.wake(me, awake.id))).toBe('vault.key_unavailable');
  expect((await service.get(stranger, theirs.id)).state).toBe('running');
  expect(await keyHolds(one).run()).toEqual({ held: 0, released: 0 });
  platform.revoked.clear();
  expect(await keyHolds(one).run()).toEqual({ held: 0, released: 2 });
  await until(async () => (await stateOf(awake.id)) === 'running');
  expect(await service.get(me, awake.id)).toMatchObject({ hold: null });
  expect(await stateOf(asleep.id)).toBe('hibernated');
  await service.wake(me, asleep.id);
  await until(async () => (await stateOf(asleep.id)) === 'running');
});

it('holds a room that is made meanwhile, and lets one on hold be destroyed', async () => {
  const { service } = one.rooms;
  revoke();
  const room = await service.create(me, { userId: 'ada' }, { wait: true });
  expect((await keyHolds(two).run())['held']).toBe(1);
  await until(async () => (await stateOf(room.id)) === 'hibernated');
  await service.destroy(me, room.id);
  await until(async () => (await codeOf(service.get(me, room.id))) === 'room.gone');
  expect(await keyHolds(two).run()).toEqual({ held: 0, released: 0 });
});
