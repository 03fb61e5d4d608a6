import type { Db, Json, SqlTx } from '@alcove/db';
import { DestroyedKey, ErasedObject, NotCovered } from '@alcove/contracts';
import { z } from 'zod';
import type { KeyOwner } from './derivation';
import type { WrapsDb } from './wraps';

export const erasureStates = ['destroying_keys', 'purging', 'rewrapping', 'done'] as const;
export type ErasureState = (typeof erasureStates)[number];

/** What was found out on the way, for the receipt. No secrets. */
export const ErasureFacts = z.strictObject({
  /** The destroyed versions. */
  keys: z.array(DestroyedKey).default([]),
  /** Versions of the tenant's key that could have opened them: all that were not retired at the time. */
  kekVersions: z.array(z.int()).default([]),
  retiredKekVersions: z.array(z.int()).default([]),
  /** Something that was sealed under the user's key just before it was destroyed, base64. */
  sample: z.string().nullable().default(null),
  /** What there is was looked at, and is in `objects`: it may be removed. */
  inventoried: z.boolean().default(false),
  objects: z.array(ErasedObject).default([]),
  notCovered: z.array(NotCovered).default([]),
});
export type ErasureFacts = z.infer<typeof ErasureFacts>;

export interface ErasureRow {
  readonly id: string;
  readonly tenantId: string;
  readonly userId: string;
  readonly state: ErasureState;
  readonly actor: string;
  readonly requestedAt: Date;
  readonly keysDestroyedAt: Date | null;
  readonly endedAt: Date | null;
  readonly sagaId: string | null;
  readonly facts: ErasureFacts;
  readonly receipt: Json | null;
}

type Stored = Omit<ErasureRow, 'facts'> & { readonly facts: unknown };

/** Who was erased, as either half of the ledger says it. */
export interface LedgerEntry extends KeyOwner {
  readonly id: string;
  readonly requestedAt: Date;
  readonly receipt: Json | null;
}

const maxObjects = 10_000;

export async function findErasure(tx: SqlTx, { tenantId, userId }: KeyOwner, lock = false): Promise<ErasureRow | null> {
  const rows = lock
    ? await tx.$queryRaw<Stored[]>`
        select id, tenant_id::text as "tenantId", user_id as "userId", state, actor, requested_at as "requestedAt", keys_destroyed_at as "keysDestroyedAt", ended_at as "endedAt",
          saga_id as "sagaId", facts, receipt from erasure where tenant_id = ${tenantId}::uuid and user_id = ${userId} for update`
    : await tx.$queryRaw<Stored[]>`
        select id, tenant_id::text as "tenantId", user_id as "userId", state, actor, requested_at as "requestedAt", keys_destroyed_at as "keysDestroyedAt", ended_at as "endedAt",
          saga_id as "sagaId", facts, receipt from erasure where tenant_id = ${tenantId}::uuid and user_id = ${userId}`;
  const [row] = rows;
  return row ? { ...row, facts: ErasureFacts.parse(row.facts) } : null;
}

/** False when the user is being erased already, or was. */
export async function insertErasure(tx: SqlTx, entry: LedgerEntry & { actor: string }): Promise<boolean> {
  const receipt = entry.receipt === null ? null : JSON.stringify(entry.receipt);
  const made = await tx.$executeRaw`
    insert into erasure (id, tenant_id, user_id, state, actor, requested_at, receipt)
    values (${entry.id}, ${entry.tenantId}::uuid, ${entry.userId}, 'destroying_keys', ${entry.actor}, ${entry.requestedAt}::timestamptz, ${receipt}::jsonb)
    on conflict do nothing`;
  return made > 0;
}

export interface ErasureChange {
  readonly state?: ErasureState;
  readonly keysDestroyedAt?: Date;
  readonly endedAt?: Date;
  readonly sagaId?: string;
  readonly receipt?: Json;
  readonly facts?: (facts: ErasureFacts) => ErasureFacts;
}

/** Reads, changes and writes under the row's lock. Null: there is no such erasure. */
export async function changeErasure(tx: SqlTx, owner: KeyOwner, change: (row: ErasureRow) => ErasureChange): Promise<ErasureRow | null> {
  const row = await findErasure(tx, owner, true);
  if (!row) return null;
  const { facts, ...rest } = change(row);
  const next: ErasureRow = { ...row, ...rest, ...(facts && { facts: facts(row.facts) }) };
  await tx.$executeRaw`
    update erasure set state = ${next.state}, keys_destroyed_at = ${next.keysDestroyedAt}::timestamptz, ended_at = ${next.endedAt}::timestamptz, saga_id = ${next.sagaId},
      facts = ${JSON.stringify(next.facts)}::jsonb, receipt = ${next.receipt === null ? null : JSON.stringify(next.receipt)}::jsonb
    where tenant_id = ${owner.tenantId}::uuid and user_id = ${owner.userId}`;
  return next;
}

/** Adds what is new; an object that was told without a hash may get one. Most objects that are kept one by one: 10,000. */
export function withObjects(facts: ErasureFacts, objects: readonly ErasedObject[], notCovered: readonly NotCovered[] = []): ErasureFacts {
  const known = new Map(facts.objects.map((object) => [`${object.kind} ${object.id}`, object]));
  for (const object of objects) {
    const name = `${object.kind} ${object.id}`;
    const before = known.get(name);
    if (!before || (before.sha256 === null && object.sha256 !== null)) known.set(name, { ...object });
  }
  const all = [...known.values()];
  const dropped = all.length > maxObjects ? [{ what: `more than ${maxObjects} objects: the others cannot be read either, but are not listed`, until: null }] : [];
  return { ...facts, objects: all.slice(0, maxObjects), notCovered: [...new Map([...facts.notCovered, ...notCovered, ...dropped].map((one) => [one.what, one])).values()] };
}

/** Erasures of any tenant that are not done and that no saga works on, the oldest first. */
export async function idleErasures(db: Db, limit: number): Promise<KeyOwner[]> {
  return db.asSystemSql('keys', async (tx) => tx.$queryRaw<KeyOwner[]>`
    select e.tenant_id::text as "tenantId", e.user_id as "userId" from erasure e
    where e.state <> 'done' and not exists (select 1 from saga s where s.id = e.saga_id and s.state in ('running', 'undoing'))
    order by e.requested_at, e.id limit ${limit}`);
}

export function ledgerOfMain(db: Db, after: string, limit: number): Promise<LedgerEntry[]> {
  return db.asSystemSql('keys', async (tx) => tx.$queryRaw<LedgerEntry[]>`
    select id, tenant_id::text as "tenantId", user_id as "userId", requested_at as "requestedAt", receipt from erasure where id > ${after} order by id limit ${limit}`);
}

export function ledgerOfWraps(db: WrapsDb, after: string, limit: number): Promise<LedgerEntry[]> {
  return db.asSystemSql('keys', async (tx) => tx.$queryRaw<LedgerEntry[]>`
    select erasure_id as id, tenant_id::text as "tenantId", user_id as "userId", requested_at as "requestedAt", receipt from erasure_ledger where erasure_id > ${after} order by erasure_id limit ${limit}`);
}

/** Which of these erasures a half of the ledger knows. */
export async function knownToWraps(db: WrapsDb, ids: readonly string[]): Promise<Set<string>> {
  const rows = await db.asSystemSql('keys', async (tx) => tx.$queryRaw<{ id: string }[]>`select erasure_id as id from erasure_ledger where erasure_id = any(${[...ids]}::text[])`);
  return new Set(rows.map(({ id }) => id));
}

export async function knownToMain(db: Db, ids: readonly string[]): Promise<Set<string>> {
  const rows = await db.asSystemSql('keys', async (tx) => tx.$queryRaw<{ id: string }[]>`select id from erasure where id = any(${[...ids]}::text[])`);
  return new Set(rows.map(({ id }) => id));
}

/** Writes down in the database of wraps that the user is to be forgotten. */
export async function writeLedger(tx: SqlTx, { id, tenantId, userId, requestedAt }: Omit<LedgerEntry, 'receipt'>): Promise<void> {
  await tx.$executeRaw`
    insert into erasure_ledger (tenant_id, user_id, erasure_id, requested_at) values (${tenantId}::uuid, ${userId}, ${id}, ${requestedAt}::timestamptz) on conflict do nothing`;
}

/** The first receipt stays. */
export async function writeReceipt(tx: SqlTx, { tenantId, userId }: KeyOwner, receipt: Json): Promise<Json> {
  await tx.$executeRaw`
    update erasure_ledger set receipt = ${JSON.stringify(receipt)}::jsonb where tenant_id = ${tenantId}::uuid and user_id = ${userId} and receipt is null`;
  const [row] = await tx.$queryRaw<{ receipt: Json }[]>`select receipt from erasure_ledger where tenant_id = ${tenantId}::uuid and user_id = ${userId}`;
  return row?.receipt ?? receipt;
}
