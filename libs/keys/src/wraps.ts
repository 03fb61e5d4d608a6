import { Db, type SqlTx } from '@alcove/db';
import type { KeyOwner } from './derivation';

/** The database of wraps: a Db of its own cluster. Nothing in it goes through Prisma. */
export class WrapsDb extends Db {}

export type KekState = 'active' | 'decrypt_only' | 'retired';
export type DekState = 'active' | 'decrypt_only' | 'destroyed';
export type ProviderState = 'available' | 'unreachable' | 'revoked';

export interface KekRow {
  readonly version: number;
  readonly state: KekState;
  readonly holder: 'platform' | 'tenant';
  readonly wrapped: Uint8Array | null;
  readonly keyId: string;
}

/** A version of a user's key with the version of the tenant's key above it. */
export interface ChainRow {
  readonly version: number;
  readonly state: DekState;
  readonly wrapped: Uint8Array | null;
  readonly kekVersion: number | null;
  readonly kekState: KekState | null;
  readonly kekHolder: 'platform' | 'tenant' | null;
  readonly kekWrapped: Uint8Array | null;
  readonly kekKeyId: string | null;
  /** Of the provider that the tenant brought; null: it brought none. */
  readonly providerState: ProviderState | null;
}

/** Everything that is needed to open a user's keys, in one statement. */
export async function readChain(tx: SqlTx, { tenantId, userId }: KeyOwner): Promise<ChainRow[]> {
  return tx.$queryRaw<ChainRow[]>`
    select d.version, d.state, d.wrapped, d.kek_version as "kekVersion", k.state as "kekState", k.holder as "kekHolder", k.wrapped as "kekWrapped", k.key_id as "kekKeyId",
      p.state as "providerState"
    from user_dek d left join tenant_kek k on k.tenant_id = d.tenant_id and k.version = d.kek_version left join tenant_provider p on p.tenant_id = d.tenant_id
    where d.tenant_id = ${tenantId}::uuid and d.user_id = ${userId} order by d.version`;
}

/** The version that wraps now, and the state of the provider that the tenant brought. */
export async function readActiveKek(tx: SqlTx, tenantId: string): Promise<(KekRow & { providerState: ProviderState | null }) | undefined> {
  const [row] = await tx.$queryRaw<(KekRow & { providerState: ProviderState | null })[]>`
    select k.version, k.state, k.holder, k.wrapped, k.key_id as "keyId", p.state as "providerState"
    from tenant_kek k left join tenant_provider p on p.tenant_id = k.tenant_id where k.tenant_id = ${tenantId}::uuid and k.state = 'active'`;
  return row;
}

/** Keeps the version from being retired until the transaction ends; false when it does not wrap any more. */
export async function holdActiveKek(tx: SqlTx, tenantId: string, version: number): Promise<boolean> {
  const rows = await tx.$queryRaw<unknown[]>`select 1 from tenant_kek where tenant_id = ${tenantId}::uuid and version = ${version}::int and state = 'active' for share`;
  return rows.length > 0;
}

export interface NewKek {
  readonly version: number;
  readonly holder: 'platform' | 'tenant';
  readonly wrapped: Buffer;
  readonly keyId: string;
  readonly at: Date;
}

/** The tenant's first key; false when it has one. */
export async function insertFirstKek(tx: SqlTx, tenantId: string, kek: NewKek): Promise<boolean> {
  const made = await tx.$executeRaw`
    insert into tenant_kek (tenant_id, version, state, holder, wrapped, key_id, created_at)
    values (${tenantId}::uuid, ${kek.version}::int, 'active', ${kek.holder}, ${kek.wrapped}, ${kek.keyId}, ${kek.at}::timestamptz) on conflict do nothing`;
  return made > 0;
}

/** A user's first key, unless there is one or the user was erased; what counts is what is there afterwards. */
export async function insertFirstDek(tx: SqlTx, { tenantId, userId }: KeyOwner, dek: { kekVersion: number; wrapped: Buffer; at: Date }): Promise<void> {
  await tx.$executeRaw`
    insert into user_dek (tenant_id, user_id, version, state, kek_version, wrapped, created_at)
    select ${tenantId}::uuid, ${userId}, 1, 'active', ${dek.kekVersion}::int, ${dek.wrapped}, ${dek.at}::timestamptz
    where not exists (select 1 from erasure_ledger where tenant_id = ${tenantId}::uuid and user_id = ${userId})
    on conflict do nothing`;
}

/** Removes every version of a user's key; a user who never had one gets a tombstone. How many this call removed. */
export async function destroyDeks(tx: SqlTx, { tenantId, userId }: KeyOwner, at: Date): Promise<number> {
  const tombstones = await tx.$executeRaw`
    insert into user_dek (tenant_id, user_id, version, state, created_at, destroyed_at)
    values (${tenantId}::uuid, ${userId}, 1, 'destroyed', ${at}::timestamptz, ${at}::timestamptz) on conflict do nothing`;
  // The first version exists from here on and stands for all of them: a rotation locks it too, so that no version is added behind this.
  await tx.$queryRaw`select 1 from user_dek where tenant_id = ${tenantId}::uuid and user_id = ${userId} order by version for update`;
  const destroyed = await tx.$executeRaw`
    update user_dek set state = 'destroyed', wrapped = null, kek_version = null, destroyed_at = ${at}::timestamptz
    where tenant_id = ${tenantId}::uuid and user_id = ${userId} and state <> 'destroyed'`;
  return tombstones + destroyed;
}

/** Every version that the user ever had. */
export async function readVersions(tx: SqlTx, { tenantId, userId }: KeyOwner): Promise<{ version: number; state: DekState; destroyedAt: Date | null }[]> {
  return tx.$queryRaw<{ version: number; state: DekState; destroyedAt: Date | null }[]>`
    select version, state, destroyed_at as "destroyedAt" from user_dek where tenant_id = ${tenantId}::uuid and user_id = ${userId} order by version`;
}
