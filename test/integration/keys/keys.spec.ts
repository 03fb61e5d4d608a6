import { newId, newUuid } from '@alcove/base';
import { RoomKeys } from '@alcove/contracts';
import { keyPurposes, KeysService } from '@alcove/keys';
import { createRootKeyFile, FileKeyProvider } from '@alcove/vault';
import { join } from 'node:path';
import { keysRig, type KeysRig, problemCode as code } from './rig';

let rig: KeysRig;
let keys: KeysService;
let tenantId: string;
let roomId: string;

const service: KeysRig['service'] = (options) => rig.service(options);
const destroy = (userId: string, by = keys): Promise<boolean> => by.destroyUserKeys({ tenantId, userId });

beforeAll(async () => {
  rig = await keysRig();
});
beforeEach(() => {
  tenantId = newUuid();
  roomId = newId('room');
  keys = service();
});
afterAll(() => rig.close());

it('gives a room the same keys always, in every process', async () => {
  const first = RoomKeys.parse(await keys.roomKeys(tenantId, 'ann', roomId));
  expect(Buffer.from(first.image, 'base64')).toHaveLength(32);
  expect(first.image).not.toBe(first.disk);
  expect(await keys.roomKeys(tenantId, 'ann', roomId)).toEqual(first);
  expect(await service().roomKeys(tenantId, 'ann', roomId)).toEqual(first);
});

it('gives every room, user and tenant keys of its own', async () => {
  const otherTenant = newUuid();
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
  const otherTenant = newUuid();
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
  expect(await rig.asOwner('select 1 from user_dek where tenant_id = $1', [tenantId])).toHaveLength(1);
  expect(await rig.asOwner('select 1 from tenant_kek where tenant_id = $1', [tenantId])).toHaveLength(1);
});

it('puts no key into a table in the clear', async () => {
  const { image, disk } = await keys.roomKeys(tenantId, 'ann', roomId);
  const rows = await rig.asOwner<{ wrapped: Buffer }>('select wrapped from user_dek where tenant_id = $1 union all select wrapped from tenant_kek where tenant_id = $1', [tenantId]);
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
  expect(await rig.asOwner('select wrapped from user_dek where tenant_id = $1 and user_id = $2', [tenantId, 'ann'])).toEqual([{ wrapped: null }]);
});

it('leaves a tombstone for a user who never had a key', async () => {
  expect(await destroy('eve')).toBe(true);
  expect(await code(keys.roomKeys(tenantId, 'eve', roomId))).toBe('vault.key_unavailable');
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

it('lends a key for each purpose of a user, the same in every process, and overwrites it afterwards', async () => {
  const owner = { tenantId, userId: 'ann' };
  const text = (by: KeysService, of = owner): Promise<string[]> => by.withUserKeys(of, undefined, ({ subkey }) => keyPurposes.map((purpose) => subkey(purpose).expose().toString('hex')));
  const first = await text(keys);
  expect(await text(service())).toEqual(first);
  expect(new Set([...first, ...(await text(keys, { tenantId, userId: 'bob' }))]).size).toBe(2 * keyPurposes.length);
  const kept = await keys.withUserKeys(owner, undefined, ({ current, subkey }) => subkey('export', current));
  expect(kept.expose()).toEqual(Buffer.alloc(32));
});

it('lends no key of a version that the user never had, nor one that is destroyed', async () => {
  const owner = { tenantId, userId: 'ann' };
  expect(await code(keys.withUserKeys(owner, undefined, ({ subkey }) => subkey('export', 2)))).toBe('vault.corrupt');
  await destroy('ann');
  expect(await code(keys.withUserKeys(owner, undefined, ({ subkey }) => subkey('export')))).toBe('vault.key_unavailable');
});

it('says so when the root key is another one', async () => {
  await keys.roomKeys(tenantId, 'ann', roomId);
  const path = join(rig.folder, `${newId('other')}.key`);
  await createRootKeyFile(path);
  expect(await code(service({ root: await FileKeyProvider.open(path) }).roomKeys(tenantId, 'ann', roomId))).toBe('vault.key_unavailable');
});

it('does not open a wrapped key that was moved to another user', async () => {
  await keys.roomKeys(tenantId, 'ann', roomId);
  await keys.roomKeys(tenantId, 'bob', roomId);
  await rig.asOwner(`update user_dek set wrapped = (select wrapped from user_dek where tenant_id = $1 and user_id = 'ann') where tenant_id = $1 and user_id = 'bob'`, [tenantId]);
  expect(await code(service().roomKeys(tenantId, 'bob', roomId))).toBe('vault.corrupt');
});

it('is right also when hardly any key fits into memory', async () => {
  const small = service({ cacheSize: 1 });
  const rooms = Array.from({ length: 6 }, (_, n) => `user${n}`);
  const once = await Promise.all(rooms.map((userId) => small.roomKeys(tenantId, userId, roomId)));
  const again = await Promise.all(rooms.map((userId) => small.roomKeys(tenantId, userId, roomId)));
  expect(again).toEqual(once);
  expect(await Promise.all(rooms.map((userId) => service().roomKeys(tenantId, userId, roomId)))).toEqual(once);
});
