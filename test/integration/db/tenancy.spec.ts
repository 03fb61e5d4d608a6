import { newUuid } from '@alcove/base';
import { appRole, Db } from '@alcove/db';
import { appUrl, asOwner, newTenant, openDb, sqlState } from './database';

describe('row-level security', () => {
  it('is forced on every table with a tenant', async () => {
    const tables = await asOwner<{ name: string; enabled: boolean; forced: boolean; policies: string }>(`
      select c.relname as name, c.relrowsecurity as enabled, c.relforcerowsecurity as forced, count(p.oid) as policies
      from pg_class c left join pg_policy p on p.polrelid = c.oid
      where c.relkind in ('r', 'p') and c.relnamespace = 'public'::regnamespace
        and (c.relname = 'tenant' or exists (select 1 from pg_attribute a where a.attrelid = c.oid and a.attname = 'tenant_id' and not a.attisdropped))
      group by c.oid`);
    expect(tables.length).toBeGreaterThanOrEqual(9);
    expect(tables.filter((table) => !table.enabled || !table.forced || table.policies !== '1')).toEqual([]);
  });

  it('is the same rule on every one of them', async () => {
    const policies = await asOwner<{ table: string; using: string; check: string; roles: string; permissive: string; cmd: string }>(`
      select tablename as table, replace(qual, '(id = ', '(tenant_id = ') as using, replace(with_check, '(id = ', '(tenant_id = ') as check,
        roles::text, permissive, cmd from pg_policies where schemaname = 'public'`);
    const rules = new Set(policies.map(({ using, check, roles, permissive, cmd }) => JSON.stringify({ using, check, roles, permissive, cmd })));
    expect(rules.size).toBe(1);
    expect([...rules][0]).toContain('app.tenant_id');
  });

  it('leaves no table without a tenant to the app role', async () => {
    const open = await asOwner<{ name: string }>(
      `
      select c.relname as name from pg_class c
      where c.relkind in ('r', 'p', 'v', 'm') and c.relnamespace = 'public'::regnamespace and not c.relrowsecurity
        and has_table_privilege($1, c.oid, 'select, insert, update, delete')
        and c.relname not in ('host', 'template')`,
      [appRole],
    );
    expect(open).toEqual([]);
  });

  it('binds the role that the platform uses: neither owner nor superuser', async () => {
    const [role] = await asOwner<{ rolsuper: boolean; rolbypassrls: boolean; rolcreaterole: boolean; rolcreatedb: boolean }>(
      'select rolsuper, rolbypassrls, rolcreaterole, rolcreatedb from pg_roles where rolname = $1',
      [appRole],
    );
    expect(role).toEqual({ rolsuper: false, rolbypassrls: false, rolcreaterole: false, rolcreatedb: false });
    expect(await asOwner('select relname from pg_class where relowner = $1::regrole', [appRole])).toEqual([]);
    expect(new URL(appUrl()).username).toBe(appRole);
  });
});

describe('withTenant', () => {
  let db: Db;
  let a: string;
  let b: string;
  const user = (tenantId: string, id: string) => ({ tenantId, id, state: 'active', createdAt: new Date(0), stateSince: new Date(0) });

  beforeAll(async () => {
    db = openDb();
    a = await newTenant(db);
    b = await newTenant(db);
    await db.withTenant(a, (tx) => tx.appUser.create({ data: user(a, 'ann') }));
    await db.withTenant(b, (tx) => tx.appUser.create({ data: user(b, 'bob') }));
  });
  afterAll(() => db.close());

  it("shows a tenant's own rows only, also to a query that names another tenant", async () => {
    const seen = await db.withTenant(a, (tx) => tx.appUser.findMany());
    expect(seen.map((row) => row.id)).toEqual(['ann']);
    expect(await db.withTenant(a, (tx) => tx.appUser.findMany({ where: { tenantId: b } }))).toEqual([]);
    expect(await db.withTenant(a, (tx) => tx.tenant.findMany())).toMatchObject([{ id: a }]);
  });

  it('changes and removes no row of another tenant', async () => {
    const touched = await db.withTenant(a, async (tx) => {
      const updated = await tx.appUser.updateMany({ where: { id: 'bob' }, data: { state: 'destroyed' } });
      const removed = await tx.appUser.deleteMany({ where: { tenantId: b } });
      return updated.count + removed.count;
    });
    expect(touched).toBe(0);
    expect(await db.withTenant(b, (tx) => tx.appUser.findMany())).toMatchObject([{ id: 'bob', state: 'active' }]);
  });

  it('refuses to write a row for another tenant', async () => {
    const insufficientPrivilege = '42501';
    const wrong = await db.withTenant(a, (tx) => tx.appUser.create({ data: user(b, 'mallory') })).catch((error: unknown) => error);
    expect(sqlState(wrong)).toBe(insufficientPrivilege);
  });

  it('leaves nothing behind for the next user of the connection', async () => {
    const single = openDb({ poolSize: 1 });
    try {
      await single.withTenant(a, (tx) => tx.appUser.count());
      await single.asSystem('test', (tx) => tx.appUser.count());
      expect(await single.withTenant(newUuid(), (tx) => tx.appUser.findMany())).toEqual([]);
    } finally {
      await single.close();
    }
  });

  it('rolls back what a failing function did', async () => {
    const failure = new Error('on purpose');
    const run = db.withTenant(a, async (tx) => {
      await tx.appUser.create({ data: user(a, 'ghost') });
      throw failure;
    });
    await expect(run).rejects.toBe(failure);
    expect(await db.withTenant(a, (tx) => tx.appUser.findFirst({ where: { id: 'ghost' } }))).toBeNull();
  });

  it('refuses a transaction inside a transaction, and a tenant id that is none', async () => {
    await expect(db.withTenant(a, () => db.withTenant(a, async () => 1))).rejects.toThrow('inside');
    await expect(db.withTenant("' or true --", async () => 1)).rejects.toThrow('UUID');
  });

  it('lets asSystem see every tenant, for a named reason only', async () => {
    const seen = await db.asSystem('test', (tx) => tx.appUser.findMany({ where: { tenantId: { in: [a, b] } }, orderBy: { id: 'asc' } }));
    expect(seen.map((row) => row.id)).toEqual(['ann', 'bob']);
    await expect(db.asSystem('because' as 'test', async () => 1)).rejects.toThrow('unknown reason');
  });
});
