import { type Clock, systemClock } from '@alcove/base';
import type { Json, SqlTx, Tx } from '@alcove/db';
import { type AuditEvent, type AuditRecord, eventHash, genesis, recordHash } from './chain';

export interface AuditInput extends Omit<AuditEvent, 'at'> {
  /** Default: the clock's time. */
  at?: number;
}

export type ChainCheck = { ok: true; records: bigint } | { ok: false; at: bigint; why: 'gap' | 'link' | 'content' | 'end' };

interface Row {
  tenantId: string;
  seq: bigint;
  at: Date;
  actor: string;
  action: string;
  resource: string;
  facts: unknown;
  prev: Uint8Array;
  hash: Uint8Array;
}

const pageSize = 500;

/** Writes audit records and checks them. */
export class Audit {
  readonly #clock: Clock;

  constructor(clock: Clock = systemClock) {
    this.#clock = clock;
  }

  /**
   * Adds a record to the tenant's chain in the caller's transaction. It holds the end of that chain until the transaction ends, so write it last: another
   * transaction of the tenant that also records waits here. One statement; the hash is computed by the database, which alone knows the record before.
   */
  async append(tx: SqlTx, input: AuditInput): Promise<void> {
    const event: AuditEvent = { ...input, at: input.at ?? this.#clock.now() };
    const content = eventHash(event);
    await tx.$executeRaw`
      with head as (
        insert into audit_head as h (tenant_id, seq, prev, hash)
        values (${event.tenantId}::uuid, 1, ${genesis}, sha256(${genesis}::bytea || int8send(1) || ${content}::bytea))
        on conflict (tenant_id) do update set seq = h.seq + 1, prev = h.hash, hash = sha256(h.hash || int8send(h.seq + 1) || ${content}::bytea)
        returning tenant_id, seq, prev, hash
      )
      insert into audit_record (tenant_id, seq, at, actor, action, resource, facts, prev, hash)
      select tenant_id, seq, ${new Date(event.at)}::timestamptz, ${event.actor}, ${event.action}, ${event.resource}, ${JSON.stringify(event.facts)}::jsonb, prev, hash
      from head`;
  }

  /** The records after a number, oldest first. */
  async list(tx: Tx, tenantId: string, after: bigint, limit: number): Promise<AuditRecord[]> {
    const rows = await tx.auditRecord.findMany({ where: { tenantId, seq: { gt: after } }, orderBy: { seq: 'asc' }, take: limit });
    return rows.map(toRecord);
  }

  /**
   * Walks the tenant's chain from its first record: every number once, every hash right, the end where the chain's head says. It finds changed, removed and
   * inserted records; it cannot find that somebody with the owner's rights rewrote the whole chain and its head.
   */
  async verifyChain(tx: Tx, tenantId: string): Promise<ChainCheck> {
    let seq = 0n;
    let prev: Buffer = genesis;
    for (;;) {
      const page = await this.list(tx, tenantId, seq, pageSize);
      for (const record of page) {
        const expected = seq + 1n;
        if (record.seq !== expected) return { ok: false, at: expected, why: 'gap' };
        if (!record.prev.equals(prev)) return { ok: false, at: expected, why: 'link' };
        if (!recordHash(prev, expected, eventHash(record)).equals(record.hash)) return { ok: false, at: expected, why: 'content' };
        seq = expected;
        prev = record.hash;
      }
      if (page.length < pageSize) break;
    }
    const head = await tx.auditHead.findUnique({ where: { tenantId } });
    const headFits = head ? head.seq === seq && Buffer.from(head.hash).equals(prev) : seq === 0n;
    return headFits ? { ok: true, records: seq } : { ok: false, at: seq + 1n, why: 'end' };
  }
}

function toRecord(row: Row): AuditRecord {
  return { ...row, at: row.at.getTime(), facts: row.facts as { [name: string]: Json }, prev: Buffer.from(row.prev), hash: Buffer.from(row.hash) };
}
