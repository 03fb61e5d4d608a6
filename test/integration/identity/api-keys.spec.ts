import { newUuid } from '@alcove/base';
import { Audit } from '@alcove/audit';
import { type NewApiKey, NewApiKey as NewApiKeySchema, type Principal, type ProblemCode, type Tenant, Tenant as TenantSchema } from '@alcove/contracts';
import type { Db } from '@alcove/db';
import { cacheMs, type IdentityService } from '@alcove/identity';
import { asOwner, openDb, testClock, type TestClock } from '../db/database';
import { makeTenant, newProcess, operator, platformKey } from './identity';

let db: Db;
let clock: TestClock;
/** Two processes on one database: the second one's memory is not told of what the first does. */
let identity: IdentityService;
let other: IdentityService;
let root: Principal;
let tenant: Tenant;

const create = (input: Partial<Parameters<IdentityService['createKey']>[2]> = {}): Promise<NewApiKey> => identity.createKey(root, tenant.id, { name: 'key', ...input });
const code = (run: Promise<unknown>): Promise<ProblemCode | 'no problem'> => run.then(() => 'no problem' as const, (error: { code: ProblemCode }) => error.code);
const isoIn = (ms: number): string => new Date(clock.now() + ms).toISOString();

beforeAll(() => {
  db = openDb();
});
beforeEach(async () => {
  clock = testClock();
  identity = newProcess(db, clock).identity;
  other = newProcess(db, clock).identity;
  root = await operator(identity);
  tenant = await makeTenant(identity);
});
afterAll(() => db.close());

describe('tenants', () => {
  it('are made, found and listed by the operator', async () => {
    expect(TenantSchema.parse(tenant)).toMatchObject({ roomsPerUser: 1 });
    expect(await identity.getTenant(root, tenant.id)).toEqual(tenant);
    const more = [await makeTenant(identity), await makeTenant(identity), await makeTenant(identity)];
    const seen: string[] = [];
    let cursor: string | undefined;
    do {
      const page = await identity.listTenants(root, { limit: 2, ...(cursor && { cursor }) });
      seen.push(...page.tenants.map(({ id }) => id));
      cursor = page.nextCursor ?? undefined;
    } while (cursor);
    expect(new Set(seen).size).toBe(seen.length);
    expect(seen).toEqual(expect.arrayContaining([tenant, ...more].map(({ id }) => id)));
  });

  it('have names of their own', async () => {
    expect(await code(identity.createTenant(root, { name: tenant.name }))).toBe('tenant.exists');
    expect(await code(identity.getTenant(root, newUuid()))).toBe('tenant.not_found');
  });

  it('are not to be seen with an API key', async () => {
    const mine = await identity.authenticate((await create()).key);
    expect(await code(identity.listTenants(mine, { limit: 10 }))).toBe('auth.scope');
    expect(await code(identity.getTenant(mine, tenant.id))).toBe('auth.scope');
    expect(await code(identity.createTenant(mine, { name: 'x' }))).toBe('auth.scope');
  });

  it.each(['', 'x', '!!', Buffer.from('[1]').toString('base64url'), Buffer.from('["a","b"]').toString('base64url'), Buffer.from('["2030-01-01T00:00:00.000Z","b"]').toString('base64url')])(
    'refuse the cursor %j',
    async (cursor) => {
      expect(await code(identity.listTenants(root, { limit: 10, cursor }))).toBe('request.invalid');
    },
  );
});

describe('an API key', () => {
  it('tells who its tenant is and what it may do', async () => {
    const made = NewApiKeySchema.parse(await create({ scopes: ['rooms:read'], ratePerSecond: 7, concurrent: 3 }));
    expect(made.key.startsWith(`${made.prefix}_`)).toBe(true);
    expect(await identity.authenticate(made.key)).toEqual({ kind: 'key', keyId: made.id, tenantId: tenant.id, scopes: ['rooms:read'], ratePerSecond: 7, concurrent: 3 });
  });

  it('may do everything but the work of the operator when nothing is said', async () => {
    expect((await create()).scopes).toEqual(['rooms:read', 'rooms:write', 'rooms:exec', 'users:write', 'keys:write', 'memory:read', 'memory:write']);
  });

  it('is kept as a hash only', async () => {
    const made = await create();
    const [row] = await asOwner<Record<string, unknown>>('select * from api_key where id = $1', [made.id]);
    const secret = made.key.slice(made.prefix.length + 1);
    expect(JSON.stringify(row)).not.toContain(secret);
    expect(JSON.stringify(row)).not.toContain(Buffer.from(secret, 'hex').toString('base64'));
  });

  it.each(['', 'ak_', 'nonsense', `ak_${'0'.repeat(20)}_${'0'.repeat(64)}`, `ak_${'0'.repeat(20)}_${'0'.repeat(63)}`, `x${platformKey}`])('is not %j', async (bearer) => {
    expect(await code(identity.authenticate(bearer))).toBe('auth.invalid');
  });

  it('is not another secret under a known id', async () => {
    const { key } = await create();
    const last = key.at(-1) === '0' ? '1' : '0';
    expect(await code(identity.authenticate(key.slice(0, -1) + last))).toBe('auth.invalid');
  });

  it('expires at its time, also out of memory', async () => {
    const { key } = await create({ expiresAt: isoIn(3_000) });
    await identity.authenticate(key);
    clock.advance(2_999);
    await identity.authenticate(key);
    clock.advance(1);
    expect(await code(identity.authenticate(key))).toBe('auth.expired');
    expect(await code(create({ expiresAt: isoIn(0) }))).toBe('request.invalid');
  });

  it('works no more once revoked: at once here, within five seconds elsewhere', async () => {
    const { id, key } = await create();
    await other.authenticate(key);
    await identity.authenticate(key);
    await identity.revokeKey(root, tenant.id, id);
    expect(await code(identity.authenticate(key))).toBe('auth.revoked');
    await other.authenticate(key);
    clock.advance(cacheMs);
    expect(await code(other.authenticate(key))).toBe('auth.revoked');
    expect(await code(identity.revokeKey(root, tenant.id, id))).toBe('no problem');
    expect(await code(identity.rotateKey(root, tenant.id, id, { overlapMs: 0 }))).toBe('key.not_found');
  });

  it('is not remembered when it was revoked while it was being looked up', async () => {
    const { id, key } = await create();
    const asking = identity.authenticate(key).catch(() => null);
    await identity.revokeKey(root, tenant.id, id);
    await asking;
    expect(await code(identity.authenticate(key))).toBe('auth.revoked');
  });

  it('rotates at once without an overlap', async () => {
    const before = await create();
    await identity.authenticate(before.key);
    const after = await identity.rotateKey(root, tenant.id, before.id, { overlapMs: 0 });
    expect({ ...after, key: '' }).toEqual({ ...before, key: '', lastUsedAt: after.lastUsedAt });
    expect(await code(identity.authenticate(before.key))).toBe('auth.invalid');
    expect(await identity.authenticate(after.key)).toMatchObject({ keyId: before.id });
  });

  it('works beside its successor for the overlap, and not a moment longer', async () => {
    const before = await create();
    const after = await identity.rotateKey(root, tenant.id, before.id, { overlapMs: 60_000 });
    clock.advance(59_999);
    expect(await identity.authenticate(before.key)).toMatchObject({ keyId: before.id });
    expect(await identity.authenticate(after.key)).toMatchObject({ keyId: before.id });
    clock.advance(1);
    expect(await code(identity.authenticate(before.key))).toBe('auth.expired');
    await identity.authenticate(after.key);
    const third = await identity.rotateKey(root, tenant.id, before.id, { overlapMs: 60_000 });
    expect(await code(identity.authenticate(before.key))).toBe('auth.invalid');
    await identity.authenticate(third.key);
    await identity.revokeKey(root, tenant.id, before.id);
    expect(await Promise.all([after.key, third.key].map((key) => code(identity.authenticate(key))))).toEqual(['auth.revoked', 'auth.revoked']);
  });

  it('notes its last use, at most once a minute', async () => {
    const { id, key } = await create();
    const lastUsed = async (): Promise<string | null | undefined> => (await identity.listKeys(root, tenant.id)).find((row) => row.id === id)?.lastUsedAt;
    expect(await lastUsed()).toBeNull();
    await identity.authenticate(key);
    const first = isoIn(0);
    expect(await lastUsed()).toBe(first);
    clock.advance(30_000);
    await identity.authenticate(key);
    expect(await lastUsed()).toBe(first);
    clock.advance(30_000);
    await identity.authenticate(key);
    expect(await lastUsed()).toBe(isoIn(0));
  });

  it('asks the database once for many requests', async () => {
    const { key } = await create();
    const asked = jest.spyOn(db, 'asSystem');
    await Promise.all(Array.from({ length: 50 }, () => identity.authenticate(key)));
    await identity.authenticate(key);
    expect(asked).toHaveBeenCalledTimes(1);
    asked.mockRestore();
  });

  it('is listed without its secret, the working ones first', async () => {
    const [a, b] = [await create({ name: 'a' }), await create({ name: 'b' })];
    await identity.revokeKey(root, tenant.id, b.id);
    clock.advance(1);
    const c = await create({ name: 'c' });
    const keys = await identity.listKeys(root, tenant.id);
    expect(keys.map(({ id }) => id)).toEqual([c.id, a.id, b.id]);
    expect(JSON.stringify(keys)).not.toContain(a.key.slice(a.prefix.length + 1));
  });

  it('belongs to its tenant: others do not find it', async () => {
    const { id } = await create();
    const stranger = await makeTenant(identity);
    expect(await code(identity.revokeKey(root, stranger.id, id))).toBe('key.not_found');
    expect(await code(identity.rotateKey(root, stranger.id, id, { overlapMs: 0 }))).toBe('key.not_found');
    expect(await code(identity.createKey(root, newUuid(), { name: 'x' }))).toBe('tenant.not_found');
    expect(await code(identity.listKeys(root, newUuid()))).toBe('tenant.not_found');
  });

  it('writes keys for its own tenant if it may, and none stronger than itself', async () => {
    const writer = await identity.authenticate((await create({ scopes: ['keys:write', 'rooms:read'] })).key);
    const reader = await identity.authenticate((await create({ scopes: ['rooms:read'] })).key);
    const strong = await create();
    expect(await code(identity.createKey(writer, tenant.id, { name: 'x', scopes: ['rooms:read'] }))).toBe('no problem');
    expect(await code(identity.createKey(writer, tenant.id, { name: 'x', scopes: ['rooms:write'] }))).toBe('auth.scope');
    expect(await code(identity.createKey(writer, tenant.id, { name: 'x' }))).toBe('auth.scope');
    expect(await code(identity.rotateKey(writer, tenant.id, strong.id, { overlapMs: 0 }))).toBe('auth.scope');
    expect(await code(identity.createKey(reader, tenant.id, { name: 'x', scopes: ['rooms:read'] }))).toBe('auth.scope');
    const stranger = await makeTenant(identity);
    expect(await code(identity.createKey(writer, stranger.id, { name: 'x', scopes: ['rooms:read'] }))).toBe('tenant.not_found');
  });

  it('leaves a trail', async () => {
    const { id } = await create();
    await identity.rotateKey(root, tenant.id, id, { overlapMs: 5 });
    await identity.revokeKey(root, tenant.id, id);
    await identity.revokeKey(root, tenant.id, id);
    const audit = new Audit(clock);
    const [records, check] = await db.withTenant(tenant.id, async (tx) => [await audit.list(tx, tenant.id, 0n, 10), await audit.verifyChain(tx, tenant.id)]);
    expect(records.map(({ actor, action }) => `${actor} ${action}`)).toEqual(['platform tenant.create', 'platform key.create', 'platform key.rotate', 'platform key.revoke']);
    expect(check).toEqual({ ok: true, records: 4n });
  });
});

it('knows the operator by the hash in the settings alone', async () => {
  expect(root).toMatchObject({ kind: 'platform', keyId: 'platform', tenantId: null, scopes: ['platform'] });
});
