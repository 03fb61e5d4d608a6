import { Db, DbUnavailable, isUniqueViolation, type SqlTx } from '@alcove/db';
import { newUuid } from '@alcove/base';
import { freePort } from '../../../apps/cli/src/embedded-postgres';
import { asOwner, newTenant, openDb, type OwnDatabase, ownDatabase } from './database';

let database: OwnDatabase;
let db: Db;
let a: string;
let b: string;
beforeAll(async () => {
  database = await ownDatabase();
  db = openDb({ url: database.url });
  [a, b] = [await newTenant(db), await newTenant(db)];
});
afterAll(async () => {
  await db.close();
  await database.remove();
});

const epoch = new Date(0);
const insert = (tx: SqlTx, tenantId: string, id: string) =>
  tx.$executeRaw`insert into app_user (tenant_id, id, state, created_at, state_since) values (${tenantId}::uuid, ${id}, 'active', ${epoch}::timestamptz, ${epoch}::timestamptz)`;
const names = async (tx: SqlTx) => (await tx.$queryRaw<{ id: string }[]>`select id from app_user order by id`).map(({ id }) => id);
const endOwnBackend = async (tx: SqlTx): Promise<void> => {
  const [row] = await tx.$queryRaw<{ pid: number }[]>`select pg_backend_pid() as pid`;
  await asOwner('select pg_terminate_backend($1)', [row?.pid]);
};

it('sees and writes the rows of one tenant only, and leaves nothing to the next user of the connection', async () => {
  const single = openDb({ url: database.url, poolSize: 1 });
  try {
    await single.withTenantSql(a, (tx) => Promise.resolve(insert(tx, a, 'ann')));
    await single.withTenantSql(b, (tx) => Promise.resolve(insert(tx, b, 'bob')));
    expect(await single.withTenantSql(a, names)).toEqual(['ann']);
    await expect(single.withTenantSql(a, (tx) => Promise.resolve(insert(tx, b, 'mallory')))).rejects.toMatchObject({ code: '42501' });
    expect(await single.asSystemSql('test', names)).toEqual(['ann', 'bob']);
    expect(await single.withTenantSql(newUuid(), names)).toEqual([]);
    expect(await single.withTenant(b, names)).toEqual(['bob']);
  } finally {
    await single.close();
  }
});

it('takes values as parameters, whatever they hold', async () => {
  const name = `'; drop table app_user; --`;
  await db.withTenantSql(a, (tx) => Promise.resolve(insert(tx, a, name)));
  expect(await db.withTenantSql(a, names)).toContain(name);
});

it('rolls back what a failing function did, and goes on', async () => {
  const failure = new Error('on purpose');
  const run = db.withTenantSql(a, async (tx) => {
    await insert(tx, a, 'ghost');
    throw failure;
  });
  await expect(run).rejects.toBe(failure);
  expect(await db.withTenantSql(a, names)).not.toContain('ghost');
});

it('runs again after a deadlock, and after a connection that was lost before the commit', async () => {
  await db.withTenantSql(a, (tx) => Promise.resolve(insert(tx, a, 'first')));
  await db.withTenantSql(a, (tx) => Promise.resolve(insert(tx, a, 'second')));
  const lock = (tx: SqlTx, id: string) => tx.$executeRaw`update app_user set state = state where id = ${id}`;
  let together = 0;
  let runs = 0;
  const crossing = (one: string, other: string) =>
    db.withTenantSql(a, async (tx) => {
      runs += 1;
      await lock(tx, one);
      together += 1;
      while (together < 2) await new Promise((later) => setImmediate(later));
      await lock(tx, other);
    });
  await Promise.all([crossing('first', 'second'), crossing('second', 'first')]);
  expect(runs).toBe(3);

  runs = 0;
  await db.withTenantSql(a, async (tx) => {
    runs += 1;
    await insert(tx, a, 'survivor');
    if (runs === 1) await endOwnBackend(tx);
    await names(tx);
  });
  expect(runs).toBe(2);
});

it('says so when the connection is lost while committing, and when there is no database', async () => {
  const run = db.withTenantSql(a, async (tx) => {
    await insert(tx, a, 'perhaps');
    await endOwnBackend(tx);
  });
  await expect(run).rejects.toMatchObject({ name: 'DbUnavailable', maybeCommitted: true });
  const nowhere = new Db({ url: `postgres://alcove_app:x@127.0.0.1:${await freePort()}/alcove`, retryMs: 0 });
  await expect(nowhere.withTenantSql(a, async () => 1)).rejects.toBeInstanceOf(DbUnavailable);
  await nowhere.close();
});

it('recognises the breach of a key, refuses nesting and what is no tenant', async () => {
  await db.withTenantSql(a, (tx) => Promise.resolve(insert(tx, a, 'once')));
  expect(isUniqueViolation(await db.withTenantSql(a, (tx) => Promise.resolve(insert(tx, a, 'once'))).catch((error: unknown) => error))).toBe(true);
  await expect(db.withTenantSql(a, () => db.withTenantSql(a, async () => 1))).rejects.toThrow('inside');
  await expect(db.withTenantSql("' or true --", async () => 1)).rejects.toThrow('UUID');
  await expect(db.asSystemSql('because' as 'test', async () => 1)).rejects.toThrow('unknown reason');
});
