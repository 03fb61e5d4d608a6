import type { SqlTx } from '@alcove/db';
import type { KeyOwner } from '@alcove/keys';
import type { MemoryRecord, SealedRecord } from './record';

export interface RecordRow {
  id: string;
  version: number;
  keyVersion: number;
  content: Uint8Array;
  about: Uint8Array;
  createdAt: Date;
}

export async function insertRecord(tx: SqlTx, { tenantId, userId }: KeyOwner, record: MemoryRecord, sealed: SealedRecord, request: Buffer | null): Promise<void> {
  await tx.$executeRaw`
    insert into memory_record (tenant_id, user_id, id, kind, state, version, key_version, content, about, request, created_at, updated_at, expires_at)
    values (${tenantId}::uuid, ${userId}, ${record.id}, ${record.kind}, ${record.state}, ${record.version}, ${sealed.keyVersion}, ${sealed.content}, ${sealed.about}, ${request},
      ${new Date(record.createdAt)}::timestamptz, ${new Date(record.updatedAt)}::timestamptz, ${record.expiresAt === null ? null : new Date(record.expiresAt)}::timestamptz)`;
  if (record.evidence.length > 0) {
    await tx.$executeRaw`
      insert into memory_evidence (tenant_id, user_id, record_id, evidence_id)
      select ${tenantId}::uuid, ${userId}, ${record.id}, evidence from unnest(${[...new Set(record.evidence)]}::text[]) as evidence`;
  }
}

/** The row as it is goes to the versions, and the new one takes its place. */
export async function replaceRecord(tx: SqlTx, { tenantId, userId }: KeyOwner, record: MemoryRecord, sealed: SealedRecord): Promise<void> {
  await tx.$executeRaw`
    insert into memory_version (tenant_id, user_id, record_id, version, state, key_version, content, about, updated_at)
    select tenant_id, user_id, id, version, state, key_version, content, about, updated_at from memory_record
    where tenant_id = ${tenantId}::uuid and user_id = ${userId} and id = ${record.id}`;
  await tx.$executeRaw`
    update memory_record set state = ${record.state}, version = ${record.version}, key_version = ${sealed.keyVersion}, content = ${sealed.content}, about = ${sealed.about},
      updated_at = ${new Date(record.updatedAt)}::timestamptz, expires_at = ${record.expiresAt === null ? null : new Date(record.expiresAt)}::timestamptz
    where tenant_id = ${tenantId}::uuid and user_id = ${userId} and id = ${record.id}`;
}

/** Keeps the newest versions; returns the bytes of those that went. */
export async function dropOldVersions(tx: SqlTx, { tenantId, userId }: KeyOwner, id: string, below: number): Promise<number> {
  const rows = await tx.$queryRaw<{ bytes: number }[]>`
    delete from memory_version where tenant_id = ${tenantId}::uuid and user_id = ${userId} and record_id = ${id} and version < ${below} returning octet_length(content) + octet_length(about) as bytes`;
  return rows.reduce((sum, { bytes }) => sum + bytes, 0);
}

export async function findRecords(tx: SqlTx, { tenantId, userId }: KeyOwner, ids: readonly string[]): Promise<Map<string, RecordRow>> {
  if (ids.length === 0) return new Map();
  const rows = await tx.$queryRaw<RecordRow[]>`
    select id, version, key_version as "keyVersion", content, about, created_at as "createdAt" from memory_record
    where tenant_id = ${tenantId}::uuid and user_id = ${userId} and id = any(${ids}::text[])`;
  return new Map(rows.map((row) => [row.id, row]));
}

export interface PageWanted {
  kind: string | null;
  state: string | null;
  /** Where the page before ended: the newest first. */
  after: { createdAt: Date; id: string } | null;
  limit: number;
}

export async function pageOfRecords(tx: SqlTx, { tenantId, userId }: KeyOwner, { kind, state, after, limit }: PageWanted): Promise<RecordRow[]> {
  return tx.$queryRaw<RecordRow[]>`
    select id, version, key_version as "keyVersion", content, about, created_at as "createdAt" from memory_record
    where tenant_id = ${tenantId}::uuid and user_id = ${userId} and (${kind}::text is null or kind = ${kind}::text) and (${state}::text is null or state = ${state}::text)
      and (${after?.id ?? null}::text is null or (created_at, id) < (${after?.createdAt ?? null}::timestamptz, ${after?.id ?? null}::text))
    order by created_at desc, id desc limit ${limit}::int`;
}

/** The versions before the one that counts, the newest first. */
export async function versionsOf(tx: SqlTx, { tenantId, userId }: KeyOwner, id: string): Promise<Omit<RecordRow, 'createdAt'>[]> {
  return tx.$queryRaw<Omit<RecordRow, 'createdAt'>[]>`
    select record_id as id, version, key_version as "keyVersion", content, about from memory_version
    where tenant_id = ${tenantId}::uuid and user_id = ${userId} and record_id = ${id} order by version desc`;
}

/** The request that made a record, where one was remembered. */
export async function requestOf(tx: SqlTx, { tenantId, userId }: KeyOwner, id: string): Promise<Buffer | null | undefined> {
  const [row] = await tx.$queryRaw<{ request: Uint8Array | null }[]>`select request from memory_record where tenant_id = ${tenantId}::uuid and user_id = ${userId} and id = ${id}`;
  return row && (row.request ? Buffer.from(row.request) : null);
}

/** Those that were derived from any of these, directly. */
export async function derivedFrom(tx: SqlTx, { tenantId, userId }: KeyOwner, ids: readonly string[]): Promise<string[]> {
  const rows = await tx.$queryRaw<{ id: string }[]>`
    select distinct record_id as id from memory_evidence where tenant_id = ${tenantId}::uuid and user_id = ${userId} and evidence_id = any(${ids}::text[])`;
  return rows.map(({ id }) => id);
}

/** Removes records with their versions; returns which there were, and the bytes of all of it. */
export async function deleteRecords(tx: SqlTx, { tenantId, userId }: KeyOwner, ids: readonly string[]): Promise<{ ids: string[]; bytes: number }> {
  const versions = await tx.$queryRaw<{ bytes: number }[]>`
    delete from memory_version where tenant_id = ${tenantId}::uuid and user_id = ${userId} and record_id = any(${ids}::text[]) returning octet_length(content) + octet_length(about) as bytes`;
  const rows = await tx.$queryRaw<{ id: string; bytes: number }[]>`
    delete from memory_record where tenant_id = ${tenantId}::uuid and user_id = ${userId} and id = any(${ids}::text[]) returning id, octet_length(content) + octet_length(about) as bytes`;
  return { ids: rows.map(({ id }) => id), bytes: [...versions, ...rows].reduce((sum, { bytes }) => sum + bytes, 0) };
}
