import { newId, newUuid } from '@alcove/base';
import type { ProblemCode } from '@alcove/contracts';
import type { Db } from '@alcove/db';
import { IdempotencyKeys, requestHash, type FirstRequest, type IdempotentRequest, type Replay } from '@alcove/identity';
import { newTenant, openDb, type OwnDatabase, ownDatabase, testClock, type TestClock } from '../db/database';

const day = 24 * 3600_000;
let database: OwnDatabase;
let db: Db;
let clock: TestClock;
let keys: IdempotencyKeys;
let request: IdempotentRequest;

const first = async (change: Partial<IdempotentRequest> = {}): Promise<FirstRequest> => {
  const answer = await keys.begin({ ...request, ...change });
  if (answer.kind !== 'new') throw new Error('it was not the first');
  return answer;
};
const code = (run: Promise<FirstRequest | Replay>): Promise<ProblemCode | 'new' | 'replay'> => run.then(({ kind }) => kind, (error: { code: ProblemCode }) => error.code);
const hash = (body: string): Buffer => requestHash('POST', '/v1/rooms', { body });

beforeAll(async () => {
  database = await ownDatabase();
  db = openDb({ url: database.url });
});
beforeEach(async () => {
  clock = testClock();
  keys = new IdempotencyKeys(db, clock);
  request = { tenantId: await newTenant(db), keyId: 'key_1', idempotencyKey: newId('idem'), requestHash: hash('a') };
});
afterAll(async () => {
  await db.close();
  await database.remove();
});

it('answers a repeat as it answered the first', async () => {
  const body = { id: 'room_1', list: [1, null, 'ü'] };
  await (await first()).finish(201, body);
  expect(await keys.begin(request)).toEqual({ kind: 'replay', status: 201, body });
});

it('keeps an answer without a body', async () => {
  await (await first()).finish(204, null);
  expect(await keys.begin(request)).toEqual({ kind: 'replay', status: 204, body: null });
});

it('lets one of many at once be the first', async () => {
  const outcomes = await Promise.all(Array.from({ length: 20 }, () => code(keys.begin(request))));
  expect(outcomes.filter((outcome) => outcome === 'new')).toHaveLength(1);
  expect(outcomes.filter((outcome) => outcome === 'request.idempotency_busy')).toHaveLength(19);
});

it('refuses the key for another request, before and after the answer', async () => {
  const running = await first();
  expect(await code(keys.begin({ ...request, requestHash: hash('b') }))).toBe('request.idempotency_reused');
  await running.finish(201, {});
  expect(await code(keys.begin({ ...request, requestHash: hash('b') }))).toBe('request.idempotency_reused');
});

it('keeps tenants, and the keys of one tenant, apart', async () => {
  await (await first()).finish(201, { mine: true });
  expect(await code(keys.begin({ ...request, keyId: 'key_2' }))).toBe('new');
  expect(await code(keys.begin({ ...request, tenantId: newUuid() }))).toBe('new');
  expect(await code(keys.begin({ ...request, tenantId: null, keyId: 'platform' }))).toBe('new');
  expect(await code(keys.begin({ ...request, tenantId: null, keyId: 'platform' }))).toBe('request.idempotency_busy');
});

it('lets a repeat through when the first died, but one, and not for another request', async () => {
  const dead = await first();
  clock.advance(30_001);
  expect(await code(keys.begin({ ...request, requestHash: hash('b') }))).toBe('request.idempotency_reused');
  const outcomes = await Promise.all(Array.from({ length: 5 }, () => keys.begin(request).catch(() => null)));
  const [second] = outcomes.filter((outcome) => outcome?.kind === 'new');
  expect(outcomes.filter(Boolean)).toHaveLength(1);
  await dead.finish(201, { by: 'the first, late' });
  await dead.abandon();
  expect(await code(keys.begin(request))).toBe('request.idempotency_busy');
  if (second?.kind === 'new') await second.finish(201, { by: 'the second' });
  expect(await keys.begin(request)).toMatchObject({ body: { by: 'the second' } });
});

it('forgets an abandoned request at once', async () => {
  await (await first()).abandon();
  await (await first()).finish(200, 'again');
  expect(await keys.begin(request)).toMatchObject({ status: 200, body: 'again' });
});

it('forgets after a day', async () => {
  await (await first()).finish(201, {});
  clock.advance(day);
  expect(await code(keys.begin(request))).toBe('replay');
  clock.advance(1);
  expect(await code(keys.begin({ ...request, requestHash: hash('b') }))).toBe('new');
  clock.advance(2 * day);
  expect(await keys.prune()).toBeGreaterThanOrEqual(1);
  expect(await keys.prune()).toBe(0);
});

it('tells requests apart by method, path and body, not by the order of keys', () => {
  expect(requestHash('POST', '/a', { x: 1, y: 2 })).toEqual(requestHash('POST', '/a', { y: 2, x: 1 }));
  const others = [requestHash('PUT', '/a', { x: 1, y: 2 }), requestHash('POST', '/b', { x: 1, y: 2 }), requestHash('POST', '/a', { x: 1 })];
  for (const other of others) expect(other).not.toEqual(requestHash('POST', '/a', { x: 1, y: 2 }));
});
