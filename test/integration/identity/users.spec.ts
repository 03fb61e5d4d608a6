import { UserPage, type Principal, type ProblemCode } from '@alcove/contracts';
import type { Db } from '@alcove/db';
import type { IdentityService, Users } from '@alcove/identity';
import { openDb, testClock, type TestClock } from '../db/database';
import { makeTenant, newProcess, operator } from './identity';

let db: Db;
let clock: TestClock;
let identity: IdentityService;
let users: Users;
let tenantId: string;
let me: Principal;

const code = (run: Promise<unknown>): Promise<ProblemCode | 'no problem'> => run.then(() => 'no problem' as const, (error: { code: ProblemCode }) => error.code);
const ensure = (userId: string) => db.withTenant(tenantId, (tx) => users.ensureUser(tx, tenantId, userId));

beforeAll(() => {
  db = openDb();
});
beforeEach(async () => {
  clock = testClock();
  ({ identity, users } = newProcess(db, clock, async (_tx, _tenantId, ids) => new Map(ids.filter((id) => id.startsWith('r')).map((id) => [id, 2]))));
  const root = await operator(identity);
  tenantId = (await identity.createTenant(root, { name: (await makeTenant(identity)).id, roomsPerUser: 3 })).id;
  me = await identity.authenticate((await identity.createKey(root, tenantId, { name: 'key' })).key);
});
afterAll(() => db.close());

it('come to be once, however many ask', async () => {
  const made = await Promise.all(Array.from({ length: 10 }, () => ensure('ann')));
  expect(made.filter(({ created }) => created)).toHaveLength(1);
  expect(made[0]).toMatchObject({ roomsPerUser: 3 });
  expect(await identity.getUser(me, 'ann')).toEqual({ id: 'ann', rooms: 0, createdAt: new Date(clock.now()).toISOString(), state: 'active' });
});

it('get what the operator makes of their tenant', async () => {
  const root = await operator(identity);
  const lifecycles = { sandbox: { timeoutMs: null, onTimeout: 'pause' as const } };
  expect(await identity.getTenant(root, tenantId)).toMatchObject({ roomsPerUser: 3, sandboxesPerUser: 100, lifecycles: {} });
  expect(await identity.changeTenant(root, tenantId, { sandboxesPerUser: 7, lifecycles })).toMatchObject({ roomsPerUser: 3, sandboxesPerUser: 7, lifecycles });
  expect(await identity.changeTenant(root, tenantId, { roomsPerUser: 2 })).toMatchObject({ roomsPerUser: 2, sandboxesPerUser: 7, lifecycles });
  expect(await ensure('ann')).toMatchObject({ roomsPerUser: 2, sandboxesPerUser: 7 });
  expect(await db.withTenant(tenantId, (tx) => users.lifecycles(tx, tenantId))).toEqual(lifecycles);
  expect(await code(identity.changeTenant(me, tenantId, { roomsPerUser: 9 }))).toBe('auth.scope');
  expect(await code(identity.changeTenant(root, '00000000-0000-4000-8000-00000000dead', { roomsPerUser: 9 }))).toBe('tenant.not_found');
});

it('keep others out until the transaction ends', async () => {
  const order: string[] = [];
  let inside: () => void = () => undefined;
  const entered = new Promise<void>((resolve) => (inside = resolve));
  let release: () => void = () => undefined;
  const gate = new Promise<void>((resolve) => (release = resolve));
  await ensure('ann');
  const first = db.withTenant(tenantId, async (tx) => {
    await users.ensureUser(tx, tenantId, 'ann');
    inside();
    await gate;
    order.push('first');
  });
  await entered;
  const second = ensure('ann').then(() => order.push('second'));
  release();
  await Promise.all([first, second]);
  expect(order).toEqual(['first', 'second']);
});

it('are listed by name, page by page, with their rooms', async () => {
  for (const id of ['bo', 'r1', 'al', 'r2', 'cy']) await ensure(id);
  const first = UserPage.parse(await identity.listUsers(me, { limit: 3 }));
  expect(first.users.map(({ id, rooms }) => [id, rooms])).toEqual([['al', 0], ['bo', 0], ['cy', 0]]);
  const second = await identity.listUsers(me, { limit: 3, cursor: first.nextCursor ?? '' });
  expect(second).toMatchObject({ users: [{ id: 'r1', rooms: 2 }, { id: 'r2', rooms: 2 }], nextCursor: null });
  expect(await code(identity.listUsers(me, { limit: 3, cursor: 'x' }))).toBe('request.invalid');
});

it("are the tenant's own", async () => {
  await ensure('ann');
  const root = await operator(identity);
  const other = await makeTenant(identity);
  const stranger = await identity.authenticate((await identity.createKey(root, other.id, { name: 'key' })).key);
  expect(await code(identity.getUser(stranger, 'ann'))).toBe('user.not_found');
  expect((await identity.listUsers(stranger, { limit: 10 })).users).toEqual([]);
  expect(await code(identity.listUsers(root, { limit: 10 }))).toBe('auth.scope');
});

it('go by way of destroying, each step once, and never come back', async () => {
  await ensure('ann');
  const step = (name: 'markDestroying' | 'markDestroyed') => db.withTenant(tenantId, (tx) => users[name](tx, tenantId, 'ann'));
  expect([await step('markDestroying'), await step('markDestroying')]).toEqual([true, false]);
  expect(await code(ensure('ann'))).toBe('user.gone');
  const mine = async (olderThanMs: number) => (await users.destroying(db, olderThanMs, 1000)).filter((row) => row.tenantId === tenantId);
  expect(await mine(1_000)).toEqual([]);
  clock.advance(1_000);
  expect(await mine(1_000)).toEqual([{ tenantId, userId: 'ann' }]);
  expect([await step('markDestroyed'), await step('markDestroyed')]).toEqual([true, false]);
  expect(await mine(0)).toEqual([]);
  expect(await identity.getUser(me, 'ann')).toMatchObject({ state: 'destroyed' });
  expect(await code(ensure('ann'))).toBe('user.gone');
  expect(await code(db.withTenant(tenantId, (tx) => users.markDestroying(tx, tenantId, 'nobody')))).toBe('user.not_found');
});
