import { limits } from '@alcove/base';
import type { Db, SqlTx } from '@alcove/db';
import type { Reconciler } from '@alcove/jobs';
import type { KeyOwner } from '@alcove/keys';
import { logAccess } from './access-log';
import type { MemoryParts } from './parts';
import type { Records } from './records/records';

interface Due extends KeyOwner {
  ids: string[];
}

const expireMs = 30_000;
const pruneMs = 10 * 60_000;
/** A consolidation whose job was lost is asked for again after this. */
const stuckMs = 10 * 60_000;

/** Erases what expired, forgets old lines of access logs, asks again for jobs that were lost. */
export function memoryReconcilers(parts: MemoryParts, db: Db, records: Records): Reconciler[] {
  return [
    { name: 'memory.expire', everyMs: expireMs, run: async () => ({ records: await expireRecords(parts, db, records), events: await expireEvents(parts, db) }) },
    { name: 'memory.prune', everyMs: pruneMs, run: async () => ({ accesses: await pruneAccesses(parts, db), consolidations: await wakeConsolidations(parts, db) }) },
  ];
}

/** With all that was derived from them, as an erasure does. One memory that cannot be opened keeps no other from it. */
async function expireRecords(parts: MemoryParts, db: Db, records: Records): Promise<number> {
  const now = parts.clock.now();
  const due = await db.asSystemSql('reconcile', (tx) => dueRecords(tx, now));
  let erased = 0;
  for (const { tenantId, userId, ids } of due) {
    const policy = await parts.policies.of(tenantId);
    const caller = { tenantId, userId, actor: 'system', channel: 'system', purpose: 'retention' } as const;
    await parts.units
      .upkeep(caller, async (unit) => {
        const gone = await records.writes(unit, policy).erase(ids);
        erased += gone.length;
        await logAccess(unit.tx, caller, 'expire', gone.length, now);
      })
      .catch((err: unknown) => parts.log.warn({ err, tenantId }, 'records that expired cannot be erased yet'));
  }
  return erased;
}

async function dueRecords(tx: SqlTx, now: number): Promise<Due[]> {
  return tx.$queryRaw<Due[]>`
    select tenant_id::text as "tenantId", user_id as "userId", array_agg(id) as ids
    from (select tenant_id, user_id, id from memory_record where expires_at <= ${new Date(now)}::timestamptz order by expires_at limit ${limits.reconciler.batch}::int) as due
    group by tenant_id, user_id`;
}

async function expireEvents(parts: MemoryParts, db: Db): Promise<number> {
  const now = new Date(parts.clock.now());
  return db.asSystemSql('reconcile', async (tx) =>
    tx.$executeRaw`delete from memory_event where (tenant_id, user_id, id) in
      (select tenant_id, user_id, id from memory_event where expires_at <= ${now}::timestamptz order by expires_at limit ${limits.reconciler.batch * 10}::int)`);
}

async function pruneAccesses(parts: MemoryParts, db: Db): Promise<number> {
  const before = new Date(parts.clock.now() - limits.memory.accessKeptMs);
  return db.asSystemSql('reconcile', async (tx) => tx.$executeRaw`delete from memory_access where at < ${before}::timestamptz`);
}

async function wakeConsolidations(parts: MemoryParts, db: Db): Promise<number> {
  const before = new Date(parts.clock.now() - stuckMs);
  return db.asSystemSql('reconcile', async (tx) => {
    const rows = await tx.$queryRaw<(KeyOwner & { id: string })[]>`
      select c.tenant_id::text as "tenantId", c.user_id as "userId", c.id from memory_consolidation c
      where c.state = 'waiting' and c.created_at < ${before}::timestamptz
        and not exists (select 1 from outbox o where o.tenant_id = c.tenant_id and o.job = 'memory.consolidate' and o.payload->>'consolidationId' = c.id and o.created_at > ${before}::timestamptz)
      limit ${limits.reconciler.batch}::int`;
    for (const { tenantId, userId, id } of rows) await parts.outbox.enqueue(tx, 'memory.consolidate', { tenantId, userId, consolidationId: id });
    return rows.length;
  });
}
