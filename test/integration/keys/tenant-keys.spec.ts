/** A key of the tenant's own above its keys: brought, asked, revoked, gone back from; and rotations, which anybody may bring to their end. */
import { ManualClock, VaultEmulator } from '@alcove/testing';
import { silentLog, systemClock } from '@alcove/base';
import { Audit } from '@alcove/audit';
import type { Principal, SetKeyProvider } from '@alcove/contracts';
import type { Db } from '@alcove/db';
import { KekRotation, KeysService, KeyTree, Rotations, TenantKeys, TenantProviders } from '@alcove/keys';
import type { HttpFetch } from '@alcove/vault';
import { newTenant, openDb } from '../db/database';
import { keysRig, type KeysRig, problemCode } from './rig';

const operator: Principal = { kind: 'platform', keyId: 'platform', tenantId: null, scopes: ['platform'], ratePerSecond: 1, concurrent: 1 };
const cacheMs = 60_000;
let db: Db;
let rig: KeysRig;
let vault: VaultEmulator;
let clock: ManualClock;
let tenantId: string;
let here: Process;
beforeAll(async () => {
  [db, rig] = [openDb(), await keysRig()];
});
afterAll(async () => {
  await db.close();
  await rig.close();
});
beforeEach(async () => {
  vault = await VaultEmulator.start();
  clock = new ManualClock();
  tenantId = await newTenant(db);
  here = process_();
  await asVault('POST', 'transit/keys/k', { type: 'aes256-gcm96' });
});
afterEach(async () => {
  await vault.http.close();
  // Whoever watches, watches all.
  await rig.asOwner('delete from tenant_provider');
});

interface Process {
  readonly keys: KeysService;
  readonly tenantKeys: TenantKeys;
  readonly rotations: Rotations;
}
/** Another process of the platform: it shares the databases and nothing else. `public`: it asks providers as in production. */
function process_(how: 'public' | 'emulated' = 'emulated'): Process {
  // Requests that are tried again wait for the real clock.
  const providers = new TenantProviders(rig.db, rig.root, how === 'public' ? { clock: systemClock } : { clock: systemClock, fetch: toVault });
  const tree = new KeyTree(rig.db, providers, { clock, cacheMs, cacheSize: 500 });
  const kek = new KekRotation(rig.db, tree, clock);
  const rotations = new Rotations({ wraps: rig.db, tree, kek, providers, clock, log: silentLog });
  const tenantKeys = new TenantKeys({ db, wraps: rig.db, tree, providers, rotations, audit: new Audit(clock), clock, log: silentLog, closesWithinMs: cacheMs });
  return { keys: new KeysService(tree), tenantKeys, rotations };
}
const toVault: HttpFetch = (url, init) => fetch(url.replace('https://vault.example', vault.http.url), init as RequestInit);
async function asVault(method: string, path: string, body: object): Promise<{ auth?: { client_token: string } }> {
  const answer = await fetch(`${vault.http.url}/v1/${path}`, { method, headers: { 'x-vault-token': VaultEmulator.rootToken, 'x-vault-request': 'true' }, body: JSON.stringify(body) });
  return answer.status === 204 ? {} : ((await answer.json()) as { auth?: { client_token: string } });
}
async function settings(with_: Partial<SetKeyProvider & { key: string; url: string }> = {}): Promise<SetKeyProvider & { credentials: { token: string } }> {
  const token = (await asVault('POST', 'auth/token/create', { policies: [] })).auth?.client_token ?? '';
  return { kind: 'vault_transit', url: 'https://vault.example', key: 'k', credentials: { token }, ...with_ } as SetKeyProvider & { credentials: { token: string } };
}
const revoke = (token: string) => asVault('POST', 'auth/token/revoke', { token });
/** What the user's key is, by what is derived from it. */
const keyOf = (userId: string, of: Process = here): Promise<string> => of.keys.withUserKeys({ tenantId, userId }, undefined, (keys) => keys.subkey('memory.content').expose().toString('hex'));
async function users(count: number): Promise<string[]> {
  const keys: string[] = [];
  for (let n = 0; n < count; n++) keys.push(await keyOf(`user-${n}`));
  return keys;
}
const keks = () => rig.asOwner<{ version: number; state: string; holder: string }>('select version, state, holder from tenant_kek where tenant_id = $1 order by version', [tenantId]);
const rotated = async (of: Process = here): Promise<void> => {
  while ((await of.rotations.advance(1000)).ended === 0) if ((await of.rotations.newest(tenantId))?.state !== 'running') return;
};

it("puts the tenant's key above its users' keys, which stay what they are, and goes back", async () => {
  const before = await users(3);
  const brought = await here.tenantKeys.set(operator, tenantId, await settings());
  expect(brought).toMatchObject({ holder: 'tenant', kind: 'vault_transit', state: 'available', closesWithinMs: cacheMs, rotation: { state: 'running', total: 3, done: 0 } });
  await rotated();
  expect(await here.tenantKeys.get(operator, tenantId)).toMatchObject({ rotation: { state: 'done', total: 3, done: 3, error: null } });
  expect(await keks()).toEqual([{ version: 1, state: 'retired', holder: 'platform' }, { version: 2, state: 'active', holder: 'tenant' }]);
  const other = process_();
  for (const [n, key] of before.entries()) expect(await keyOf(`user-${n}`, other)).toBe(key);
  expect(await here.tenantKeys.remove(operator, tenantId)).toMatchObject({ holder: 'platform', kind: 'vault_transit', rotation: { state: 'running' } });
  await rotated(other);
  expect(await here.tenantKeys.get(operator, tenantId)).toMatchObject({ holder: 'platform', kind: null, state: null, rotation: { state: 'done', done: 3 } });
  await vault.http.close();
  vault = await VaultEmulator.start();
  for (const [n, key] of before.entries()) expect(await keyOf(`user-${n}`, process_())).toBe(key);
});

it('closes everything when the key is revoked: at once where that is known, and within the time of the cache everywhere', async () => {
  const given = await settings();
  await here.tenantKeys.set(operator, tenantId, given);
  const [other, unaware] = [process_(), process_()];
  const key = await keyOf('ann');
  for (const one of [other, unaware]) expect(await keyOf('ann', one)).toBe(key);
  await revoke(given.credentials.token);
  // Nobody has asked since: the cache still holds the key, and no longer than it may.
  expect(await keyOf('ann', unaware)).toBe(key);
  clock.advance(cacheMs);
  expect(await problemCode(keyOf('ann', unaware))).toBe('vault.key_unavailable');
  expect(await here.tenantKeys.watch(100)).toMatchObject({ revoked: 1, back: 0 });
  expect(await here.tenantKeys.revoked()).toContain(tenantId);
  for (const one of [here, other]) expect(await problemCode(keyOf('ann', one))).toBe('vault.key_unavailable');
  expect(await problemCode(keyOf('somebody new', other))).toBe('vault.key_unavailable');
  // Going back to the platform's root would need what the tenant has taken away.
  expect(await problemCode(here.tenantKeys.remove(operator, tenantId))).toBe('vault.key_unavailable');
  expect((await keks()).at(-1)).toEqual({ version: 2, state: 'active', holder: 'tenant' });
  // With a token that works, all is as it was.
  await here.tenantKeys.set(operator, tenantId, await settings());
  expect(await keyOf('ann', other)).toBe(key);
  expect(await here.tenantKeys.revoked()).not.toContain(tenantId);
});

it('a revocation heeded by one is heeded by all, without waiting for their caches, and its end as well', async () => {
  const given = await settings();
  await here.tenantKeys.set(operator, tenantId, given);
  const other = process_();
  const key = await keyOf('ann', other);
  vault.http.answerNext({ status: 403, body: '{"errors":["permission denied"]}' });
  await here.tenantKeys.watch(100);
  expect(await problemCode(keyOf('ann', other))).toBe('vault.key_unavailable');
  expect(await here.tenantKeys.watch(100)).toMatchObject({ back: 1 });
  expect(await keyOf('ann', other)).toBe(key);
});

it('tells a provider that does not answer from one that refuses', async () => {
  await here.tenantKeys.set(operator, tenantId, await settings());
  const key = await keyOf('ann');
  const other = process_();
  await keyOf('ann', other);
  for (let n = 0; n < 10; n++) vault.http.answerNext({ status: 503 });
  expect(await here.tenantKeys.watch(100)).toMatchObject({ unreachable: 1, revoked: 0 });
  expect(await here.tenantKeys.revoked()).not.toContain(tenantId);
  // What was unwrapped serves for as long as it may.
  expect(await keyOf('ann', other)).toBe(key);
  clock.advance(cacheMs);
  for (let n = 0; n < 10; n++) vault.http.answerNext({ status: 503 });
  expect(await problemCode(keyOf('ann', other))).toBe('vault.key_unavailable');
});

it('is tried before it is taken, and takes nobody into this network', async () => {
  await keyOf('ann');
  const refused = async (given: object, of: Process = here) => problemCode(of.tenantKeys.set(operator, tenantId, given as SetKeyProvider));
  expect(await refused(await settings({ key: 'missing' }))).toBe('key.provider_refused');
  expect(await refused({ ...(await settings()), credentials: { token: 'hvs.wrong' } })).toBe('key.provider_refused');
  expect(await refused({ ...(await settings()), url: 'http://vault.example' })).toBe('request.invalid');
  expect(await refused({ ...(await settings()), mount: '../sys' })).toBe('request.invalid');
  expect(await refused({ kind: 'file', path: '/etc/passwd' })).toBe('request.invalid');
  for (const url of ['https://169.254.169.254', 'https://[::1]:8200', 'https://localhost:8200']) expect(await refused({ ...(await settings()), url }, process_('public'))).toBe('key.provider_refused');
  expect(await here.tenantKeys.get(operator, tenantId)).toMatchObject({ holder: 'platform', kind: null, rotation: null });
  expect(await keks()).toEqual([{ version: 1, state: 'active', holder: 'platform' }]);
});

it('is not changed for another key while something is under the first', async () => {
  await asVault('POST', 'transit/keys/k2', { type: 'aes256-gcm96' });
  await keyOf('ann');
  await here.tenantKeys.set(operator, tenantId, await settings());
  expect(await problemCode(here.tenantKeys.set(operator, tenantId, await settings({ key: 'k2' })))).toBe('key.provider_in_use');
  expect(await here.tenantKeys.set(operator, tenantId, await settings())).toMatchObject({ holder: 'tenant' });
});

it("is the operator's to settle, and keeps its credentials to itself", async () => {
  const admin: Principal = { ...operator, kind: 'tenant', tenantId, scopes: ['rooms:write'] } as unknown as Principal;
  const given = await settings();
  for (const call of [() => here.tenantKeys.get(admin, tenantId), () => here.tenantKeys.set(admin, tenantId, given), () => here.tenantKeys.remove(admin, tenantId), () => here.tenantKeys.rotate(admin, tenantId)]) {
    expect(await problemCode(Promise.resolve().then<unknown>(call))).toBe('auth.scope');
  }
  await here.tenantKeys.set(operator, tenantId, given);
  const [row] = await rig.asOwner<{ row: string }>('select row_to_json(p)::text as row from tenant_provider p where tenant_id = $1', [tenantId]);
  for (const needle of [given.credentials.token, Buffer.from(given.credentials.token).toString('hex')]) expect(row?.row).not.toContain(needle);
  // Settings of one tenant open nothing in another's row.
  const stranger = await newTenant(db);
  await here.keys.withUserKeys({ tenantId: stranger, userId: 'eve' }, undefined, () => undefined);
  await rig.asOwner(
    'insert into tenant_provider select $1, kind, key_id, settings_key, settings_root_id, settings, state, state_since, asked_at, created_at from tenant_provider where tenant_id = $2', [stranger, tenantId]);
  expect(await problemCode(here.tenantKeys.set(operator, stranger, { ...given, key: 'missing' } as SetKeyProvider))).toBe('key.provider_refused');
  expect(await problemCode(here.rotations.start(stranger, 'tenant'))).toBe('vault.corrupt');
});

describe('a rotation', () => {
  it('gives every user a wrap under the new key, counts them, and shuts the old one', async () => {
    const before = await users(5);
    const started = await here.tenantKeys.rotate(operator, tenantId);
    expect(started).toMatchObject({ state: 'running', total: 5, done: 0 });
    expect((await here.tenantKeys.rotate(operator, tenantId)).id).toBe(started.id);
    // Two at once, as when a lock was lost.
    const other = process_();
    await Promise.all([here.rotations.advance(1000), other.rotations.advance(1000)]);
    await rotated();
    expect(await here.tenantKeys.rotation(operator, tenantId, started.id)).toMatchObject({ state: 'done', total: 5, done: 5 });
    expect(await keks()).toEqual([{ version: 1, state: 'retired', holder: 'platform' }, { version: 2, state: 'active', holder: 'platform' }]);
    for (const [n, key] of before.entries()) expect(await keyOf(`user-${n}`, process_())).toBe(key);
  });

  it('waits, and says why, while the provider does not answer; and ends when it does', async () => {
    const before = await users(2);
    const given = await settings();
    await here.tenantKeys.set(operator, tenantId, given);
    await revoke(given.credentials.token);
    clock.advance(cacheMs);
    const later = process_();
    await later.rotations.advance(1000);
    expect(await later.rotations.newest(tenantId)).toMatchObject({ state: 'running', done: 0, error: 'vault.key_unavailable' });
    await here.tenantKeys.set(operator, tenantId, await settings());
    await rotated(later);
    expect(await later.rotations.newest(tenantId)).toMatchObject({ state: 'done', done: 2, error: null });
    for (const [n, key] of before.entries()) expect(await keyOf(`user-${n}`, process_())).toBe(key);
  });

  it('leaves a damaged wrap where it is, and says so', async () => {
    await users(2);
    await rig.asOwner("update user_dek set wrapped = overlay(wrapped placing '\\x00' from 60) where tenant_id = $1 and user_id = 'user-0'", [tenantId]);
    const { id } = await here.tenantKeys.rotate(operator, tenantId);
    await rotated();
    expect(await here.rotations.get(tenantId, id)).toMatchObject({ state: 'failed', done: 1, error: '1 wraps are damaged and stay under older versions' });
    expect((await keks()).map(({ state }) => state)).toEqual(['decrypt_only', 'active']);
  });

  it('of another tenant is not to be seen', async () => {
    await users(1);
    const { id } = await here.tenantKeys.rotate(operator, tenantId);
    const stranger = await newTenant(db);
    await expect(here.rotations.get(stranger, id)).rejects.toMatchObject({ code: 'key.rotation_not_found' });
  });
});
