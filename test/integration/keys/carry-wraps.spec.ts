import { newId, newUuid, Secret } from '@alcove/base';
import type { Db } from '@alcove/db';
import { carryWraps, WrapsDiffer } from '@alcove/keys';
import { wrapKey } from '@alcove/vault';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { withRoomKey } from '../../../libs/keys/src/derivation';
import { asOwner, newTenant, openDb } from '../db/database';
import { keysRig, type KeysRig, problemCode } from './rig';

/** A home from before wraps had a database of their own: what KeysService wrote into the main one. */
let main: Db;
let rig: KeysRig;
let tenantId: string;
const at = new Date('2026-01-02T03:04:05.678Z');
const userKey = new Secret(Buffer.alloc(32, 7));
const tenantKey = new Secret(Buffer.alloc(32, 9));

beforeAll(async () => {
  rig = await keysRig();
  main = openDb();
});
afterAll(async () => {
  await asOwner('delete from user_key');
  await asOwner('delete from tenant_key');
  await main.close();
  await rig.close();
});
beforeEach(async () => {
  tenantId = await newTenant(main);
});

async function before(users: Record<string, Buffer | null>): Promise<void> {
  const root = new Secret(await readFile(join(rig.folder, 'root.key')));
  await asOwner('insert into tenant_key values ($1, $2, $3, $4)', [tenantId, wrapKey(root, tenantKey, ['tenant-key', tenantId]), rig.root.keyId, at]);
  for (const [userId, wrapped] of Object.entries(users)) await asOwner('insert into user_key values ($1, $2, $3, $4, $5)', [tenantId, userId, wrapped, at, wrapped ? null : at]);
}

const wrapOf = (userId: string): Buffer => wrapKey(tenantKey, userKey, ['user-key', tenantId, userId]);
const left = (): Promise<object[]> => asOwner('select 1 from user_key where tenant_id = $1 union all select 1 from tenant_key where tenant_id = $1', [tenantId]);

it('carries keys over byte by byte and leaves nothing behind; a room has the keys that it had', async () => {
  const [ann, roomId] = [wrapOf('ann'), newId('room')];
  await before({ ann, gone: null });
  expect(await carryWraps(main, rig.db)).toEqual({ tenants: 1, users: 2 });
  expect(await left()).toEqual([]);
  expect(await rig.asOwner(`select wrapped from user_dek where tenant_id = $1 and user_id = 'ann'`, [tenantId])).toEqual([{ wrapped: ann }]);
  const { image } = await rig.service().roomKeys(tenantId, 'ann', roomId);
  expect(image).toBe(withRoomKey(userKey, roomId, 'image', (key) => key.expose().toString('base64')));
  expect(await problemCode(rig.service().roomKeys(tenantId, 'gone', roomId))).toBe('vault.key_unavailable');
  expect(await carryWraps(main, rig.db)).toEqual({ tenants: 0, users: 0 });
});

it('goes on where it died, and several may do it at once', async () => {
  const users = Object.fromEntries(Array.from({ length: 20 }, (_, n) => [`user${n}`, wrapOf(`user${n}`)]));
  await before(users);
  // Copied and not yet deleted.
  await rig.asOwner(`insert into tenant_kek select $1, 1, 'active', 'platform', $2, $3, $4`, [tenantId, (await asOwner<{ wrapped: Buffer }>('select wrapped from tenant_key where tenant_id = $1', [tenantId]))[0]?.wrapped, rig.root.keyId, at]);
  await rig.asOwner(`insert into user_dek (tenant_id, user_id, version, state, kek_version, wrapped, created_at) values ($1, 'user3', 1, 'active', 1, $2, $3)`, [tenantId, users['user3'], at]);
  await Promise.all([carryWraps(main, rig.db), carryWraps(main, rig.db)]);
  expect(await left()).toEqual([]);
  expect(await rig.asOwner('select 1 from user_dek where tenant_id = $1', [tenantId])).toHaveLength(20);
});

it('refuses when another key lies there, and removes nothing', async () => {
  await rig.service().roomKeys(tenantId, 'ann', newId('room'));
  await before({ ann: wrapOf('ann') });
  await expect(carryWraps(main, rig.db)).rejects.toBeInstanceOf(WrapsDiffer);
  expect(await left()).toHaveLength(2);
  await asOwner('delete from user_key where tenant_id = $1', [tenantId]);
  await asOwner('delete from tenant_key where tenant_id = $1', [tenantId]);
});

it('does not bring back a key that was destroyed after it was carried over, when an old copy of the main database is put back', async () => {
  const ann = wrapOf('ann');
  await before({ ann });
  await carryWraps(main, rig.db);
  await rig.service().destroyUserKeys({ tenantId, userId: 'ann' });
  await before({ ann });
  await carryWraps(main, rig.db);
  expect(await left()).toEqual([]);
  expect(await problemCode(rig.service().roomKeys(tenantId, 'ann', newId('room')))).toBe('vault.key_unavailable');
});

it('takes the tombstone over when the key was destroyed here and lives there', async () => {
  await before({ ann: wrapOf('ann') });
  await carryWraps(main, rig.db);
  await before({ ann: null });
  await carryWraps(main, rig.db);
  expect(await problemCode(rig.service().roomKeys(tenantId, 'ann', newId('room')))).toBe('vault.key_unavailable');
  expect(await problemCode(rig.service().roomKeys(newUuid(), 'ann', newId('room')))).toBe('no problem');
});
