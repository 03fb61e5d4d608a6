import type { Json, SqlTx, Tx } from './tx';

export interface OutboxEntry {
  tenantId: string;
  /** A job name of the catalogue in libs/jobs, whose `enqueue` is the typed way to call this. */
  job: string;
  /** Ids only. */
  payload: { [key: string]: Json };
  /** Wall clock, milliseconds. */
  now: number;
  /** Not to be dispatched before this wall-clock time, milliseconds. Default: now. */
  notBefore?: number;
}

/** Writes down, in the caller's transaction, that a job is due after the commit. */
export async function appendOutbox(tx: SqlTx, { tenantId, job, payload, now, notBefore = now }: OutboxEntry): Promise<void> {
  await tx.$executeRaw`
    insert into outbox (tenant_id, job, payload, created_at, not_before)
    values (${tenantId}::uuid, ${job}, ${JSON.stringify(payload)}::jsonb, ${new Date(now)}::timestamptz, ${new Date(notBefore)}::timestamptz)`;
}

export interface WaitingEntry {
  id: bigint;
  tenantId: string;
  job: string;
  payload: unknown;
}

/**
 * Locks up to `batch` rows that are due, oldest first, leaving out those that another dispatcher holds. In an asSystem transaction; the rows stay locked until
 * it ends.
 */
export async function lockWaiting(tx: Tx, now: number, batch: number): Promise<WaitingEntry[]> {
  return tx.$queryRaw<WaitingEntry[]>`
    select id, tenant_id::text as "tenantId", job, payload from outbox
    where dispatched_at is null and not_before <= ${new Date(now)}
    order by not_before, id limit ${batch} for update skip locked`;
}

/** The queue has taken these. */
export async function markDispatched(tx: Tx, ids: readonly bigint[], now: number): Promise<void> {
  await tx.outbox.updateMany({ where: { id: { in: [...ids] } }, data: { dispatchedAt: new Date(now) } });
}

/** Puts these off until then (wall clock, milliseconds). */
export async function postpone(tx: Tx, ids: readonly bigint[], until: number): Promise<void> {
  await tx.outbox.updateMany({ where: { id: { in: [...ids] } }, data: { notBefore: new Date(until) } });
}

/** When the next row is due (wall clock, milliseconds), or null when none waits. */
export async function nextDue(tx: Tx): Promise<number | null> {
  const row = await tx.outbox.findFirst({ where: { dispatchedAt: null }, orderBy: { notBefore: 'asc' }, select: { notBefore: true } });
  return row ? row.notBefore.getTime() : null;
}

/** Removes rows that were dispatched before this time; returns how many. */
export async function removeDispatched(tx: Tx, before: number): Promise<number> {
  const { count } = await tx.outbox.deleteMany({ where: { dispatchedAt: { lt: new Date(before) } } });
  return count;
}
