import { Db, DbUnavailable, isUniqueViolation } from '@alcove/db';
import { freePort } from '../../../apps/cli/src/embedded-postgres';
import { asOwner, newTenant, openDb, type OwnDatabase, ownDatabase } from './database';

let database: OwnDatabase;
let db: Db;
let tenantId: string;
const user = (id: string) => ({ tenantId, id, state: 'active', createdAt: new Date(0), stateSince: new Date(0) });

beforeAll(async () => {
  database = await ownDatabase();
  db = openDb({ url: database.url });
  tenantId = await newTenant(db);
});
afterAll(async () => {
  await db.close();
  await database.remove();
});

it('runs a lost race again until it is won', async () => {
  await db.withTenant(tenantId, (tx) => tx.appUser.create({ data: user('counter') }));
  const increment = (): Promise<void> =>
    db.withTenant(
      tenantId,
      async (tx) => {
        const row = await tx.appUser.findFirstOrThrow({ where: { tenantId, id: 'counter' } });
        await tx.appUser.updateMany({ where: { tenantId, id: 'counter' }, data: { createdAt: new Date(row.createdAt.getTime() + 1) } });
      },
      { isolation: 'Serializable' },
    );
  await Promise.all(Array.from({ length: 8 }, increment));
  const row = await db.withTenant(tenantId, (tx) => tx.appUser.findFirstOrThrow({ where: { id: 'counter' } }));
  expect(row.createdAt.getTime()).toBe(8);
});

/** Ends the server process that serves this transaction. */
const endOwnBackend = async (tx: Parameters<Parameters<Db['withTenant']>[1]>[0]): Promise<void> => {
  const [row] = await tx.$queryRaw<{ pid: number }[]>`select pg_backend_pid() as pid`;
  await asOwner('select pg_terminate_backend($1)', [row?.pid]);
};

it('runs again when the connection is lost before the commit, once in effect', async () => {
  let runs = 0;
  await db.withTenant(tenantId, async (tx) => {
    runs += 1;
    await tx.appUser.create({ data: user('survivor') });
    if (runs === 1) await endOwnBackend(tx);
    await tx.appUser.count();
  });
  expect(runs).toBe(2);
  expect(await db.withTenant(tenantId, (tx) => tx.appUser.count({ where: { id: 'survivor' } }))).toBe(1);
});

it('does not run again what may not run twice', async () => {
  let runs = 0;
  const run = db.withTenant(
    tenantId,
    async (tx) => {
      runs += 1;
      await endOwnBackend(tx);
      await tx.appUser.count();
    },
    { retry: false },
  );
  await expect(run).rejects.toMatchObject({ name: 'DbUnavailable', maybeCommitted: false });
  expect(runs).toBe(1);
});

it('says so when the connection is lost while committing', async () => {
  const run = db.withTenant(tenantId, async (tx) => {
    await tx.appUser.create({ data: user('perhaps') });
    await endOwnBackend(tx);
  });
  await expect(run).rejects.toMatchObject({ name: 'DbUnavailable', maybeCommitted: true });
});

it('survives the loss of idle connections', async () => {
  await db.ping();
  await asOwner("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'alcove' and datname = current_database()", [], database.ownerUrl);
  await expect(db.withTenant(tenantId, (tx) => tx.appUser.count())).resolves.toBeGreaterThanOrEqual(0);
});

it('says DbUnavailable when there is no database', async () => {
  const nowhere = new Db({ url: `postgres://alcove_app:x@127.0.0.1:${await freePort()}/alcove`, retryMs: 0 });
  await expect(nowhere.withTenant(tenantId, async () => 1)).rejects.toBeInstanceOf(DbUnavailable);
  await expect(nowhere.ping()).rejects.toBeInstanceOf(DbUnavailable);
  await nowhere.close();
});

it('recognises the breach of a key, from a model call and from SQL', async () => {
  await db.withTenant(tenantId, (tx) => tx.appUser.create({ data: user('once') }));
  const byModel = await db.withTenant(tenantId, (tx) => tx.appUser.create({ data: user('once') })).catch((error: unknown) => error);
  const bySql = await db
    .withTenant(tenantId, (tx) => tx.$executeRaw`insert into app_user select * from app_user where id = 'once'`)
    .catch((error: unknown) => error);
  expect([isUniqueViolation(byModel), isUniqueViolation(bySql), isUniqueViolation(new Error('x'))]).toEqual([true, true, false]);
});
