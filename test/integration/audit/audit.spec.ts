import { Audit, type AuditInput } from '@alcove/audit';
import type { Db } from '@alcove/db';
import { Client } from 'pg';
import { asOwner, newTenant, openDb, ownerUrl, sqlState } from '../db/database';

let db: Db;
let tenantId: string;
const audit = new Audit();

const event = (action: string, facts: AuditInput['facts'] = {}): AuditInput => ({ tenantId, actor: 'key:key_1', action, resource: 'room:room_1', facts });
const append = (...actions: string[]): Promise<void> =>
  db.withTenant(tenantId, async (tx) => {
    for (const action of actions) await audit.append(tx, event(action));
  });
const verify = () => db.withTenant(tenantId, (tx) => audit.verifyChain(tx, tenantId));
/** What somebody could do who owns the tables. */
const tamper = async (sql: string): Promise<void> => {
  const client = new Client({ connectionString: ownerUrl() });
  await client.connect();
  try {
    // Only for this session: the trigger stays on for everybody else.
    await client.query('set session_replication_role = replica');
    await client.query(sql, [tenantId]);
  } finally {
    await client.end();
  }
};

beforeAll(() => {
  db = openDb();
});
beforeEach(async () => {
  tenantId = await newTenant(db);
});
afterAll(() => db.close());

it('numbers and chains the records of a tenant', async () => {
  expect(await verify()).toEqual({ ok: true, records: 0n });
  await append('a', 'b');
  await append('c');
  const records = await db.withTenant(tenantId, (tx) => audit.list(tx, tenantId, 0n, 10));
  expect(records.map(({ seq, action }) => [seq, action])).toEqual([[1n, 'a'], [2n, 'b'], [3n, 'c']]);
  expect(records[2]?.prev).toEqual(records[1]?.hash);
  expect(await verify()).toEqual({ ok: true, records: 3n });
});

it('keeps facts of every kind so that they verify', async () => {
  const facts = { n: 1e21, small: 1e-7, text: 'ü "\\ \u2028 😀', list: [1, null, true, { z: 1, a: 2 }], zero: -0, big: 9007199254740991, empty: {} };
  await db.withTenant(tenantId, (tx) => audit.append(tx, event('facts', facts)));
  expect(await verify()).toEqual({ ok: true, records: 1n });
});

it('records nothing of a transaction that rolls back', async () => {
  await append('a');
  const run = db.withTenant(tenantId, async (tx) => {
    await audit.append(tx, event('never'));
    throw new Error('on purpose');
  });
  await expect(run).rejects.toThrow('on purpose');
  await append('b');
  expect(await verify()).toEqual({ ok: true, records: 2n });
});

it('keeps one chain under many writers', async () => {
  await Promise.all(Array.from({ length: 40 }, (_, n) => append(`write ${n}`)));
  expect(await verify()).toEqual({ ok: true, records: 40n });
});

it('walks chains longer than a page', async () => {
  await append(...Array.from({ length: 1001 }, (_, n) => `write ${n}`));
  expect(await verify()).toEqual({ ok: true, records: 1001n });
});

it('shows no tenant the records of another', async () => {
  await append('a');
  const other = await newTenant(db);
  expect(await db.withTenant(other, (tx) => audit.list(tx, tenantId, 0n, 10))).toEqual([]);
  const foreign = db.withTenant(other, (tx) => audit.append(tx, event('forged')));
  expect(sqlState(await foreign.catch((error: unknown) => error))).toBe('42501');
});

it.each([
  ['update', `update audit_record set action = 'x' where tenant_id = $1`],
  ['delete', 'delete from audit_record where tenant_id = $1'],
])('refuses %s to the app role and to the owner', async (_verb, sql) => {
  await append('a');
  const byApp = await db.withTenant(tenantId, (tx) => tx.$executeRawUnsafe(sql.replace('$1', `'${tenantId}'`))).catch((error: unknown) => error);
  expect(sqlState(byApp)).toBe('42501');
  await expect(asOwner(sql, [tenantId])).rejects.toMatchObject({ code: '42501' });
  expect(await verify()).toEqual({ ok: true, records: 1n });
});

it('refuses to empty the table', async () => {
  await expect(asOwner('truncate audit_record')).rejects.toMatchObject({ code: '42501' });
});

describe('finds', () => {
  beforeEach(() => append('a', 'b', 'c'));

  it.each([
    ['a changed action', `update audit_record set action = 'x' where tenant_id = $1 and seq = 2`, { at: 2n, why: 'content' }],
    ['a changed fact', `update audit_record set facts = '{"a":1}' where tenant_id = $1 and seq = 1`, { at: 1n, why: 'content' }],
    ['a changed time', `update audit_record set at = at + interval '1 second' where tenant_id = $1 and seq = 3`, { at: 3n, why: 'content' }],
    ['a removed record', 'delete from audit_record where tenant_id = $1 and seq = 2', { at: 2n, why: 'gap' }],
    ['a removed first record', 'delete from audit_record where tenant_id = $1 and seq = 1', { at: 1n, why: 'gap' }],
    ['a removed last record', 'delete from audit_record where tenant_id = $1 and seq = 3', { at: 3n, why: 'end' }],
    ['records in another order', 'update audit_record r set action = o.action from audit_record o where r.tenant_id = $1 and o.tenant_id = $1 and r.seq + o.seq = 3', { at: 1n, why: 'content' }],
    ['a record whose hash was made to fit', `update audit_record set action = 'x', hash = sha256('x') where tenant_id = $1 and seq = 1`, { at: 1n, why: 'content' }],
    ['a link that was bent', `update audit_record set prev = sha256('x') where tenant_id = $1 and seq = 2`, { at: 2n, why: 'link' }],
    ['an added record', `insert into audit_record select tenant_id, 4, at, actor, action, resource, facts, hash, sha256(hash) from audit_record where tenant_id = $1 and seq = 3`, { at: 4n, why: 'content' }],
    ['everything removed', 'delete from audit_record where tenant_id = $1', { at: 1n, why: 'end' }],
  ])('%s', async (_what, sql, found) => {
    await tamper(sql);
    expect(await verify()).toEqual({ ok: false, ...found });
  });
});
