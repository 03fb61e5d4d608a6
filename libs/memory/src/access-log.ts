import type { MemoryAccess } from '@alcove/contracts';
import type { SqlTx } from '@alcove/db';
import type { KeyOwner } from '@alcove/keys';
import type { MemoryCaller } from './caller';

/** What is done to a memory, as the access log calls it. */
export type AccessAction = 'add' | 'read' | 'list' | 'change' | 'retire' | 'erase' | 'search' | 'consolidate' | 'export' | 'expire';

/** What changes nothing: its lines need not be on the disk before it is answered. */
const looks: readonly AccessAction[] = ['read', 'list', 'search', 'export'];

/**
 * One line of the log that the user can read, in the transaction of what it tells of: who, when, what for, of how many records. Never content, never a query. A look does not wait until its
 * line is on the disk (synchronous_commit): should the database's machine stop in the second after, the lines of looks of that second may be missing.
 */
export async function logAccess(tx: SqlTx, caller: MemoryCaller, action: AccessAction, records: number, now: number): Promise<void> {
  const wait = looks.includes(action) ? 'off' : 'on';
  await tx.$executeRaw`
    insert into memory_access (tenant_id, user_id, at, actor, action, purpose, records)
    select ${caller.tenantId}::uuid, ${caller.userId}, ${new Date(now)}::timestamptz, ${caller.actor}, ${action}, ${caller.purpose}, ${records}::int
    from (select case when ${wait}::text = 'off' then set_config('synchronous_commit', 'off', true) end) as commits`;
}

/** Lines before a number, the newest first. */
export async function pageOfAccesses(tx: SqlTx, { tenantId, userId }: KeyOwner, before: number | null, limit: number): Promise<{ number: number; access: MemoryAccess }[]> {
  const rows = await tx.$queryRaw<{ number: string; at: Date; actor: string; action: string; purpose: string; records: number }[]>`
    select number, at, actor, action, purpose, records from memory_access
    where tenant_id = ${tenantId}::uuid and user_id = ${userId} and (${before}::bigint is null or number < ${before}::bigint) order by number desc limit ${limit}::int`;
  return rows.map(({ number, at, ...access }) => ({ number: Number(number), access: { at: at.toISOString(), ...access } }));
}
