import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { newId, newUuid, Secret } from '@alcove/base';
import { Audit } from '@alcove/audit';
import { type ProblemCode, RoomKeys } from '@alcove/contracts';
import type { Db } from '@alcove/db';
import { KeyCache, KeysService } from '@alcove/keys';
import { createRootKeyFile, FileKeyProvider, type KeyProvider } from '@alcove/vault';
import { asOwner, newTenant, openDb } from '../db/database';

let folder: string;
let db: Db;
let provider: KeyProvider;
let keys: KeysService;
let tenantId: string;
let roomId: string;

const service = (cacheSize?: number, root: KeyProvider = provider): KeysService => new KeysService(db, root, new Audit(), cacheSize === undefined ? {} : { cacheSize });
const code = (run: Promise<unknown>): Promise<ProblemCode | 'no problem'> => run.then(() => 'no problem' as const, (error: { code: ProblemCode }) => error.code);
const destroy = (userId: string, by = keys): Promise<boolean> => db.withTenant(tenantId, (tx) => by.destroyUserKeys(tx, { tenantId, userId, actor: 'system' }));

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'alcove-keys-'));
  await createRootKeyFile(join(folder, 'root.key'));
  provider = await FileKeyProvider.open(join(folder, 'root.key'));
  db = openDb();
});
beforeEach(async () => {
  tenantId = await newTenant(db);
  roomId = newId('room');
  keys = service();
});
afterAll(async () => {
  await db.close();
  await rm(folder, { recursive: true });
});

it('gives a room the same keys always, in every process', async () => {
  const first = RoomKeys.parse(await keys.roomKeys(tenantId, 'ann', roomId));
  expect(Buffer.from(first.image, 'base64')).toHaveLength(32);
  expect(first.image).not.toBe(first.disk);
  expect(await keys.roomKeys(tenantId, 'ann', roomId)).toEqual(first);
  expect(await service().roomKeys(tenantId, 'ann', roomId)).toEqual(first);
});

it('gives every room, user and tenant keys of its own', async () => {
  const otherTenant = await newTenant(db);
  const all = await Promise.all([
    keys.roomKeys(tenantId, 'ann', roomId),
    keys.roomKeys(tenantId, 'ann', newId('room')),
    keys.roomKeys(tenantId, 'bob', roomId),
    keys.roomKeys(otherTenant, 'ann', roomId),
  ]);
  expect(new Set(all.flatMap(({ image, disk }) => [image, disk])).size).toBe(8);
});

it('gives a room the same tokens always, and no other room, purpose, user or tenant the same', async () => {
  const first = await keys.roomTokens(tenantId, 'ann', roomId);
  expect(first).toEqual({ surface: expect.stringMatching(/^[0-9a-f]{64}$/), traffic: expect.stringMatching(/^[0-9a-f]{64}$/) });
  expect(await service().roomTokens(tenantId, 'ann', roomId)).toEqual(first);
  const otherTenant = await newTenant(db);
  const all = [first, await keys.roomTokens(tenantId, 'ann', newId('room')), await keys.roomTokens(tenantId, 'bob', roomId), await keys.roomTokens(otherTenant, 'ann', roomId)];
  expect(new Set(all.flatMap(({ surface, traffic }) => [surface, traffic])).size).toBe(8);
  const { image, disk } = await keys.roomKeys(tenantId, 'ann', roomId);
  for (const key of [image, disk]) expect(Object.values(first)).not.toContain(Buffer.from(key, 'base64').toString('hex'));
});

it('has no tokens any more once the key is destroyed', async () => {
  await keys.roomTokens(tenantId, 'ann', roomId);
  await destroy('ann');
  expect(await code(keys.roomTokens(tenantId, 'ann', roomId))).toBe('vault.key_unavailable');
});

it('makes one key when many ask first', async () => {
  const made = await Promise.all(Array.from({ length: 12 }, () => service().roomKeys(tenantId, 'ann', roomId)));
  expect(new Set(made.map(({ image }) => image)).size).toBe(1);
  expect(await asOwner('select 1 from user_key where tenant_id = $1', [tenantId])).toHaveLength(1);
  expect(await asOwner('select 1 from tenant_key where tenant_id = $1', [tenantId])).toHaveLength(1);
});

it('works inside the transaction of the caller, and goes with it', async () => {
  const run = db.withTenant(tenantId, async (tx) => {
    await keys.roomKeys(tenantId, 'ann', roomId, tx);
    throw new Error('on purpose');
  });
  await expect(run).rejects.toThrow('on purpose');
  expect(await asOwner('select 1 from user_key where tenant_id = $1', [tenantId])).toEqual([]);
  const made = await db.withTenant(tenantId, (tx) => keys.roomKeys(tenantId, 'ann', roomId, tx));
  expect(await service().roomKeys(tenantId, 'ann', roomId)).toEqual(made);
});

it('puts no key into a table in the clear', async () => {
  const { image, disk } = await keys.roomKeys(tenantId, 'ann', roomId);
  const rows = await asOwner<{ wrapped: Buffer }>('select wrapped from user_key where tenant_id = $1 union all select wrapped from tenant_key where tenant_id = $1', [tenantId]);
  const stored = Buffer.concat(rows.map(({ wrapped }) => wrapped));
  for (const key of [image, disk]) expect(stored.includes(Buffer.from(key, 'base64'))).toBe(false);
});

it('is unavailable once destroyed, at once in every process, and is not made again', async () => {
  const other = service();
  await keys.roomKeys(tenantId, 'ann', roomId);
  await other.roomKeys(tenantId, 'ann', roomId);
  const bob = await keys.roomKeys(tenantId, 'bob', roomId);
  expect([await destroy('ann'), await destroy('ann')]).toEqual([true, false]);
  expect(await code(keys.roomKeys(tenantId, 'ann', roomId))).toBe('vault.key_unavailable');
  expect(await code(other.roomKeys(tenantId, 'ann', newId('room')))).toBe('vault.key_unavailable');
  expect(await other.roomKeys(tenantId, 'bob', roomId)).toEqual(bob);
  expect(await asOwner('select wrapped from user_key where tenant_id = $1 and user_id = $2', [tenantId, 'ann'])).toEqual([{ wrapped: null }]);
});

it('leaves a tombstone for a user who never had a key, and a trail', async () => {
  expect(await destroy('eve')).toBe(true);
  expect(await code(keys.roomKeys(tenantId, 'eve', roomId))).toBe('vault.key_unavailable');
  const records = await db.withTenant(tenantId, (tx) => new Audit().list(tx, tenantId, 0n, 10));
  expect(records.map(({ action, resource }) => `${action} ${resource}`)).toEqual(['user.destroy_keys user:eve']);
});

it('seals environment variables for one room', async () => {
  const env = { TOKEN: 'hunter2', EMPTY: '', UMLAUT: 'ü' };
  const sealed = await keys.sealEnv(tenantId, 'ann', roomId, env);
  expect(sealed.includes('hunter2')).toBe(false);
  expect(await service().openEnv(tenantId, 'ann', roomId, sealed)).toEqual(env);
  expect(await code(keys.openEnv(tenantId, 'ann', newId('room'), sealed))).toBe('vault.corrupt');
  expect(await code(keys.openEnv(tenantId, 'bob', roomId, sealed))).toBe('vault.corrupt');
  const bent = Buffer.from(sealed);
  bent[bent.length - 1] = (bent.at(-1) ?? 0) ^ 1;
  expect(await code(keys.openEnv(tenantId, 'ann', roomId, bent))).toBe('vault.corrupt');
  await destroy('ann');
  expect(await code(keys.openEnv(tenantId, 'ann', roomId, sealed))).toBe('vault.key_unavailable');
});

it('says so when the root key is another one', async () => {
  await keys.roomKeys(tenantId, 'ann', roomId);
  const path = join(folder, `${newId('other')}.key`);
  await createRootKeyFile(path);
  expect(await code(service(10, await FileKeyProvider.open(path)).roomKeys(tenantId, 'ann', roomId))).toBe('vault.key_unavailable');
});

it('does not open a wrapped key that was moved to another user', async () => {
  await keys.roomKeys(tenantId, 'ann', roomId);
  await keys.roomKeys(tenantId, 'bob', roomId);
  await asOwner(`update user_key set wrapped = (select wrapped from user_key where tenant_id = $1 and user_id = 'ann') where tenant_id = $1 and user_id = 'bob'`, [tenantId]);
  expect(await code(service().roomKeys(tenantId, 'bob', roomId))).toBe('vault.corrupt');
});

it('is right also when hardly any key fits into memory', async () => {
  const small = service(1);
  const rooms = Array.from({ length: 6 }, (_, n) => `user${n}`);
  const once = await Promise.all(rooms.map((userId) => small.roomKeys(tenantId, userId, roomId)));
  const again = await Promise.all(rooms.map((userId) => small.roomKeys(tenantId, userId, roomId)));
  expect(again).toEqual(once);
  expect(await Promise.all(rooms.map((userId) => service().roomKeys(tenantId, userId, roomId)))).toEqual(once);
});

describe('the memory of unwrapped keys', () => {
  const key = (byte: number): Secret<Buffer> => new Secret(Buffer.alloc(32, byte));

  it('overwrites a key that leaves, the one that was used longest ago', () => {
    const cache = new KeyCache(2);
    const [a, b, c] = [key(1), key(2), key(3)];
    cache.put('a', a);
    cache.put('b', b);
    expect(cache.get('a')).toBe(a);
    cache.put('c', c);
    expect(cache.get('b')).toBeUndefined();
    expect(b.expose()).toEqual(Buffer.alloc(32));
    expect([cache.get('a'), cache.get('c')]).toEqual([a, c]);
  });

  it('keeps the first of two under one name, and overwrites the second', () => {
    const cache = new KeyCache(2);
    const [first, second] = [key(1), key(1)];
    expect(cache.put('a', first)).toBe(first);
    expect(cache.put('a', second)).toBe(first);
    expect(first.expose()).toEqual(Buffer.alloc(32, 1));
    expect(second.expose()).toEqual(Buffer.alloc(32));
  });

  it('forgets by the beginning of the name', () => {
    const cache = new KeyCache(9);
    const [ann, anna] = [key(1), key(2)];
    cache.put('user/t/ann/1', ann);
    cache.put('user/t/anna/1', anna);
    cache.forget('user/t/ann/');
    expect([cache.get('user/t/ann/1'), cache.get('user/t/anna/1')]).toEqual([undefined, anna]);
    expect(ann.expose()).toEqual(Buffer.alloc(32));
  });
});

it('refuses a tenant that does not exist', async () => {
  await expect(keys.roomKeys(newUuid(), 'ann', roomId)).rejects.toThrow();
});
