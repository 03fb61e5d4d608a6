import type { ErasedObject } from '@alcove/contracts';
import type { Db, SqlTx } from '@alcove/db';
import type { ErasePurge, KeyOwner, PurgeReport } from '@alcove/keys';
import { objectsInQdrant, type QdrantIndex } from './qdrant/qdrant-index';
import { markLeaving, readRows } from './qdrant/qdrant-rows';
import type { OpenUsers } from './sealed/open-users';

/** How many records and events a receipt names one by one; of the rest it says how many bytes. */
const named = 20_000;

/** What memory does when a user is erased. In this process what is open of it is overwritten; in others at its next use, which finds the key gone, or when it is pushed out. */
export class MemoryPurge implements ErasePurge {
  readonly name = 'memory';

  constructor(
    private readonly db: Db,
    private readonly opened: OpenUsers,
    private readonly qdrant: QdrantIndex | null,
  ) {}

  inventory(owner: KeyOwner): Promise<readonly ErasedObject[]> {
    return this.db.withTenantSql(owner.tenantId, (tx) => objectsOf(tx, owner));
  }

  /** All that is in the database in one transaction, without the key: safe to do again after a crash. Then what is in Qdrant, which is waited for: a receipt speaks of nothing that may still be there. */
  async purge(owner: KeyOwner): Promise<PurgeReport> {
    const { tenantId, userId } = owner;
    this.opened.close(owner);
    const { objects, inQdrant } = await this.db.withTenantSql(tenantId, async (tx) => {
      // Whoever still writes has the head: after it nobody may, for the user is marked.
      await tx.$queryRaw`select 1 from memory_head where tenant_id = ${tenantId}::uuid and user_id = ${userId} for update`;
      const found = await objectsOf(tx, owner);
      await markLeaving(tx, owner);
      const rows = await readRows(tx, owner);
      await removeAll(tx, owner);
      return { objects: found, inQdrant: rows.length };
    });
    this.opened.close(owner);
    // Without a server the points cannot be removed: the erasure waits for one.
    return { over: inQdrant === 0 || ((await this.qdrant?.removeErased(owner)) ?? false), objects };
  }
}

async function objectsOf(tx: SqlTx, { tenantId, userId }: KeyOwner): Promise<ErasedObject[]> {
  type Row = { kind: 'record' | 'block' | 'event' | 'vectors'; id: string; bytes: string; sha256: string };
  const rows = await tx.$queryRaw<Row[]>`
    select case kind when 'block' then 'block' else 'record' end as kind, id, octet_length(content) + octet_length(about) as bytes, encode(sha256(content || about), 'hex') as sha256
      from memory_record where tenant_id = ${tenantId}::uuid and user_id = ${userId}
    union all
    select 'record', record_id || '/' || version, octet_length(content) + octet_length(about), encode(sha256(content || about), 'hex')
      from memory_version where tenant_id = ${tenantId}::uuid and user_id = ${userId}
    union all
    select 'event', id, octet_length(sealed), encode(sha256(sealed), 'hex') from memory_event where tenant_id = ${tenantId}::uuid and user_id = ${userId}
    order by id limit ${named + 1}::int`;
  const sealed = await tx.$queryRaw<Row[]>`
    select 'vectors' as kind, stream || '/' || number as id, octet_length(sealed) as bytes, encode(sha256(sealed), 'hex') as sha256
      from memory_segment where tenant_id = ${tenantId}::uuid and user_id = ${userId} order by stream, number`;
  const [loose] = await tx.$queryRaw<{ bytes: string | null }[]>`select sum(octet_length(sealed)) as bytes from memory_entry where tenant_id = ${tenantId}::uuid and user_id = ${userId}`;
  const objects = [...rows.slice(0, named), ...sealed].map(({ bytes, ...row }): ErasedObject => ({ ...row, bytes: Number(bytes) }));
  if (loose?.bytes) objects.push({ kind: 'vectors', id: 'loose entries', bytes: Number(loose.bytes), sha256: null });
  objects.push(...objectsInQdrant(await readRows(tx, { tenantId, userId })));
  if (rows.length > named) objects.push({ kind: 'record', id: 'all records, versions and events', bytes: await allBytes(tx, tenantId, userId), sha256: null });
  return objects;
}

async function allBytes(tx: SqlTx, tenantId: string, userId: string): Promise<number> {
  const [row] = await tx.$queryRaw<{ bytes: string }[]>`
    select coalesce((select sum(octet_length(content) + octet_length(about)) from memory_record where tenant_id = ${tenantId}::uuid and user_id = ${userId}), 0)
      + coalesce((select sum(octet_length(content) + octet_length(about)) from memory_version where tenant_id = ${tenantId}::uuid and user_id = ${userId}), 0)
      + coalesce((select sum(octet_length(sealed)) from memory_event where tenant_id = ${tenantId}::uuid and user_id = ${userId}), 0) as bytes`;
  return Number(row?.bytes ?? 0);
}

async function removeAll(tx: SqlTx, { tenantId, userId }: KeyOwner): Promise<void> {
  await tx.$executeRaw`delete from memory_record where tenant_id = ${tenantId}::uuid and user_id = ${userId}`;
  await tx.$executeRaw`delete from memory_event where tenant_id = ${tenantId}::uuid and user_id = ${userId}`;
  await tx.$executeRaw`delete from memory_entry where tenant_id = ${tenantId}::uuid and user_id = ${userId}`;
  await tx.$executeRaw`delete from memory_segment where tenant_id = ${tenantId}::uuid and user_id = ${userId}`;
  await tx.$executeRaw`delete from memory_consolidation where tenant_id = ${tenantId}::uuid and user_id = ${userId}`;
  await tx.$executeRaw`delete from memory_access where tenant_id = ${tenantId}::uuid and user_id = ${userId}`;
  await tx.$executeRaw`delete from memory_head where tenant_id = ${tenantId}::uuid and user_id = ${userId}`;
}
