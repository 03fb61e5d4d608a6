import type { SqlTx } from '@alcove/db';
import type { KeyOwner } from '@alcove/keys';
import type { PointsPlace } from './points';

/** What is known of the points of one user, space and key version. */
export interface QdrantRow extends PointsPlace {
  readonly space: string;
  readonly keyVersion: number;
  /** Numbers of a vector; 0: not known yet. */
  readonly size: number;
  /** The write up to which they are right; −1: unknown. */
  readonly seq: number;
  /** How many there are then. */
  readonly points: number;
  readonly leaving: boolean;
  readonly busyUntil: Date | null;
}

export async function readRows(tx: SqlTx, { tenantId, userId }: KeyOwner): Promise<QdrantRow[]> {
  const rows = await tx.$queryRaw<(Omit<QdrantRow, 'seq'> & { seq: string })[]>`
    select tag::text, collection, shard_key as "shardKey", space, key_version as "keyVersion", size, seq, points, leaving, busy_until as "busyUntil" from memory_qdrant
    where tenant_id = ${tenantId}::uuid and user_id = ${userId} order by tag`;
  return rows.map((row) => ({ ...row, seq: Number(row.seq) }));
}

/** Takes the user's head, so that writers, an erasure and others who fill come one after the other; false: there is no memory. */
export async function lockHead(tx: SqlTx, { tenantId, userId }: KeyOwner): Promise<boolean> {
  const rows = await tx.$queryRaw<unknown[]>`select 1 from memory_head where tenant_id = ${tenantId}::uuid and user_id = ${userId} for update`;
  return rows.length > 0;
}

export async function addRow(tx: SqlTx, { tenantId, userId }: KeyOwner, { tag, collection, shardKey }: PointsPlace, space: string, keyVersion: number): Promise<void> {
  await tx.$executeRaw`
    insert into memory_qdrant (tenant_id, user_id, tag, collection, shard_key, space, key_version)
    values (${tenantId}::uuid, ${userId}, ${tag}::uuid, ${collection}, ${shardKey}, ${space}, ${keyVersion}) on conflict do nothing`;
}

/** For all rows of a user, or for none; false when an erasure or a change of policy has marked one meanwhile. */
export async function setBusy(tx: SqlTx, { tenantId, userId }: KeyOwner, until: Date | null): Promise<boolean> {
  const rows = await tx.$queryRaw<{ leaving: boolean }[]>`
    update memory_qdrant set busy_until = ${until}::timestamptz where tenant_id = ${tenantId}::uuid and user_id = ${userId} returning leaving`;
  return rows.length > 0 && rows.every(({ leaving }) => !leaving);
}

export async function markLeaving(tx: SqlTx, { tenantId, userId }: KeyOwner): Promise<void> {
  await tx.$executeRaw`update memory_qdrant set leaving = true where tenant_id = ${tenantId}::uuid and user_id = ${userId}`;
}

export async function removeRow(tx: SqlTx, { tenantId, userId }: KeyOwner, tag: string): Promise<void> {
  await tx.$executeRaw`delete from memory_qdrant where tenant_id = ${tenantId}::uuid and user_id = ${userId} and tag = ${tag}::uuid`;
}

export async function setFilled(tx: SqlTx, { tenantId, userId }: KeyOwner, tag: string, { seq, points, size }: { seq: number; points: number; size: number }): Promise<void> {
  await tx.$executeRaw`
    update memory_qdrant set seq = ${seq}, points = ${points}, size = ${size} where tenant_id = ${tenantId}::uuid and user_id = ${userId} and tag = ${tag}::uuid`;
}
