import type { Db, SqlTx } from '@alcove/db';
import { destroyDeks, type WrapsDb } from './wraps';

/** Wraps in the main database and in their own are of different keys: somebody must look. Nothing was removed. */
export class WrapsDiffer extends Error {
  override readonly name = 'WrapsDiffer';
}

interface TenantRow {
  readonly tenantId: string;
  readonly wrapped: Uint8Array;
  readonly keyId: string;
  readonly createdAt: Date;
}

interface UserRow {
  readonly userId: string;
  readonly wrapped: Uint8Array | null;
  readonly createdAt: Date;
  readonly destroyedAt: Date | null;
}

const batch = 500;

/**
 * Carries the wraps of before they had a database of their own into it: copied, read back and compared byte by byte, and only then deleted here. Nothing is unwrapped.
 * Safe to run twice, at once, and again after it died. Throws WrapsDiffer when the other database has another key in the same place; a copy of a key that lives on
 * there in a newer wrap (as after a restore of this database) is deleted.
 */
export async function carryWraps(main: Db, wraps: WrapsDb): Promise<{ tenants: number; users: number }> {
  const report = { tenants: 0, users: 0 };
  for (;;) {
    const tenants = await main.asSystemSql('keys', async (tx) => tx.$queryRaw<TenantRow[]>`
      select tenant_id as "tenantId", wrapped, root_key_id as "keyId", created_at as "createdAt" from tenant_key order by tenant_id limit ${batch}`);
    for (const tenant of tenants) {
      await wraps.withTenantSql(tenant.tenantId, (tx) => putTenant(tx, tenant));
      report.users += await carryUsers(main, wraps, tenant.tenantId);
      report.tenants += await main.withTenantSql(tenant.tenantId, async (tx) => tx.$executeRaw`delete from tenant_key where tenant_id = ${tenant.tenantId}::uuid and wrapped = ${Buffer.from(tenant.wrapped)}`);
    }
    if (tenants.length < batch) break;
  }
  return { ...report, users: report.users + (await carryTombstones(main, wraps)) };
}

/** Of tenants that never had a key: tombstones only. */
async function carryTombstones(main: Db, wraps: WrapsDb): Promise<number> {
  const tenants = await main.asSystemSql('keys', async (tx) => tx.$queryRaw<{ tenantId: string }[]>`select distinct tenant_id as "tenantId" from user_key`);
  let users = 0;
  for (const { tenantId } of tenants) users += await carryUsers(main, wraps, tenantId);
  return users;
}

async function carryUsers(main: Db, wraps: WrapsDb, tenantId: string): Promise<number> {
  for (let carried = 0; ; ) {
    const users = await main.withTenantSql(tenantId, async (tx) => tx.$queryRaw<UserRow[]>`
      select user_id as "userId", wrapped, created_at as "createdAt", destroyed_at as "destroyedAt" from user_key where tenant_id = ${tenantId}::uuid order by user_id limit ${batch}`);
    if (users.length === 0) return carried;
    await wraps.withTenantSql(tenantId, async (tx) => {
      for (const user of users) await putUser(tx, tenantId, user);
    });
    await main.withTenantSql(tenantId, async (tx) => {
      for (const user of users) {
        const wrapped = user.wrapped && Buffer.from(user.wrapped);
        carried += await tx.$executeRaw`delete from user_key where tenant_id = ${tenantId}::uuid and user_id = ${user.userId} and wrapped is not distinct from ${wrapped}::bytea`;
      }
    });
  }
}

async function putTenant(tx: SqlTx, { tenantId, wrapped, keyId, createdAt }: TenantRow): Promise<void> {
  await tx.$executeRaw`
    insert into tenant_kek (tenant_id, version, state, holder, wrapped, key_id, created_at)
    values (${tenantId}::uuid, 1, 'active', 'platform', ${Buffer.from(wrapped)}, ${keyId}, ${createdAt}::timestamptz) on conflict do nothing`;
  const [there] = await tx.$queryRaw<{ wrapped: Uint8Array | null; createdAt: Date }[]>`
    select wrapped, created_at as "createdAt" from tenant_kek where tenant_id = ${tenantId}::uuid and version = 1`;
  if (!there || !isThere(there, { wrapped, createdAt })) throw new WrapsDiffer(`the database of wraps has another key of tenant ${tenantId}`);
}

async function putUser(tx: SqlTx, tenantId: string, { userId, wrapped, createdAt, destroyedAt }: UserRow): Promise<void> {
  const [state, bytes, kekVersion] = wrapped ? (['active', Buffer.from(wrapped), 1] as const) : (['destroyed', null, null] as const);
  await tx.$executeRaw`
    insert into user_dek (tenant_id, user_id, version, state, kek_version, wrapped, created_at, destroyed_at)
    values (${tenantId}::uuid, ${userId}, 1, ${state}, ${kekVersion}::int, ${bytes}::bytea, ${createdAt}::timestamptz, ${destroyedAt}::timestamptz) on conflict do nothing`;
  const [there] = await tx.$queryRaw<{ wrapped: Uint8Array | null; createdAt: Date }[]>`
    select wrapped, created_at as "createdAt" from user_dek where tenant_id = ${tenantId}::uuid and user_id = ${userId} and version = 1`;
  if (there?.wrapped && !wrapped) await destroyDeks(tx, { tenantId, userId }, destroyedAt ?? createdAt);
  // A key that was destroyed there stays so, whatever this database remembers.
  const gone = there !== undefined && (there.wrapped === null || wrapped === null);
  if (!there || !(gone || isThere(there, { wrapped, createdAt }))) throw new WrapsDiffer(`the database of wraps has another key of user ${userId} of tenant ${tenantId}`);
}

/** The same bytes; or the same key, which has been wrapped again or removed there since. */
function isThere(there: { wrapped: Uint8Array | null; createdAt: Date }, carried: { wrapped: Uint8Array | null; createdAt: Date }): boolean {
  const same = there.wrapped !== null && carried.wrapped !== null && Buffer.from(there.wrapped).equals(Buffer.from(carried.wrapped));
  return same || there.createdAt.getTime() === carried.createdAt.getTime();
}
