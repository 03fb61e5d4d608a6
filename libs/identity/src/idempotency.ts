import { createHash, randomBytes } from 'node:crypto';
import { type Clock, limits, systemClock } from '@alcove/base';
import { Problem } from '@alcove/contracts';
import { canonicalJson } from '@alcove/audit';
import type { Db, Json, Tx } from '@alcove/db';

/** How long a first request that says nothing more keeps others out, milliseconds. After that it is taken for dead, and a repeat is let through. */
const leaseMs = 30_000;
/** The "tenant" of the operator's key. */
const platform = '00000000-0000-0000-0000-000000000000';

export interface FirstRequest {
  kind: 'new';
  /** Keeps the answer for repeats. It is stored in the clear: not for answers with secrets. */
  finish(status: number, body: Json): Promise<void>;
  /** Forgets the request, so that it can be sent again at once: for failures that a repeat may mend. */
  abandon(): Promise<void>;
  /** Takes the lease anew; false when a repeat has it by now, and with it what this request has begun. */
  holds(): Promise<boolean>;
}

export interface Replay {
  kind: 'replay';
  status: number;
  body: unknown;
}

export interface IdempotentRequest {
  /** Null for the operator's key. */
  tenantId: string | null;
  keyId: string;
  idempotencyKey: string;
  /** From requestHash(). */
  requestHash: Buffer;
}

interface Row {
  requestHash: Uint8Array;
  leaseToken: string;
  status: number | null;
  body: unknown;
}

/** What makes two requests the same: method, path and body. */
export function requestHash(method: string, path: string, body: Json): Buffer {
  return createHash('sha256').update(canonicalJson([method, path, body])).digest();
}

/** Makes a repeated request have one effect and one answer, for a day. */
export class IdempotencyKeys {
  readonly #db: Db;
  readonly #clock: Clock;

  constructor(db: Db, clock: Clock = systemClock) {
    this.#db = db;
    this.#clock = clock;
  }

  /**
   * Problems: `request.idempotency_reused` when the key was used for another request; `request.idempotency_busy` while the first one runs. A first request
   * that died is let through again after its lease, so its effects must be safe to repeat, or be in the transaction that they are checked in.
   */
  async begin(request: IdempotentRequest): Promise<FirstRequest | Replay> {
    const tenantId = request.tenantId ?? platform;
    const token = randomBytes(12).toString('hex');
    const row = await this.#db.withTenant(tenantId, (tx) => this.#claim(tx, tenantId, token, request));
    if (row.leaseToken === token) {
      return {
        kind: 'new',
        finish: (status, body) => this.#finish(tenantId, token, request, status, body),
        abandon: () => this.#abandon(tenantId, token, request),
        holds: () => this.#renew(tenantId, token, request),
      };
    }
    if (!Buffer.from(row.requestHash).equals(request.requestHash)) throw new Problem('request.idempotency_reused');
    if (row.status === null) throw new Problem('request.idempotency_busy');
    return { kind: 'replay', status: row.status, body: row.body };
  }

  /** Removes what is older than a day; returns how many. */
  prune(): Promise<number> {
    const now = new Date(this.#clock.now());
    return this.#db.asSystem('reconcile', async (tx) => (await tx.idempotency.deleteMany({ where: { expiresAt: { lt: now } } })).count);
  }

  /** Takes the key when it is new, expired, or its first request died; returns the row as it then is. */
  async #claim(tx: Tx, tenantId: string, token: string, { keyId, idempotencyKey, requestHash: hash }: IdempotentRequest): Promise<Row> {
    const now = this.#clock.now();
    const [nowDate, leaseUntil, expiresAt] = [new Date(now), new Date(now + leaseMs), new Date(now + limits.http.idempotencyTtlMs)];
    await tx.$executeRaw`
      insert into idempotency as i (tenant_id, key_id, idempotency_key, request_hash, lease_token, lease_until, expires_at)
      values (${tenantId}::uuid, ${keyId}, ${idempotencyKey}, ${hash}, ${token}, ${leaseUntil}, ${expiresAt})
      on conflict (tenant_id, key_id, idempotency_key) do update set
        request_hash = excluded.request_hash, lease_token = excluded.lease_token, lease_until = excluded.lease_until,
        expires_at = excluded.expires_at, status = null, body = null
      where i.expires_at < ${nowDate} or (i.status is null and i.lease_until < ${nowDate} and i.request_hash = excluded.request_hash)`;
    return tx.idempotency.findUniqueOrThrow({ where: { tenantId_keyId_idempotencyKey: { tenantId, keyId, idempotencyKey } } });
  }

  async #finish(tenantId: string, token: string, { keyId, idempotencyKey }: IdempotentRequest, status: number, body: Json): Promise<void> {
    await this.#db.withTenant(
      tenantId,
      (tx) => tx.$executeRaw`
        update idempotency set status = ${status}, body = ${JSON.stringify(body)}::jsonb
        where tenant_id = ${tenantId}::uuid and key_id = ${keyId} and idempotency_key = ${idempotencyKey} and lease_token = ${token} and status is null`,
    );
  }

  async #abandon(tenantId: string, token: string, { keyId, idempotencyKey }: IdempotentRequest): Promise<void> {
    await this.#db.withTenant(tenantId, (tx) => tx.idempotency.deleteMany({ where: { tenantId, keyId, idempotencyKey, leaseToken: token, status: null } }));
  }

  async #renew(tenantId: string, token: string, { keyId, idempotencyKey }: IdempotentRequest): Promise<boolean> {
    const leaseUntil = new Date(this.#clock.now() + leaseMs);
    const { count } = await this.#db.withTenant(tenantId, (tx) => tx.idempotency.updateMany({ where: { tenantId, keyId, idempotencyKey, leaseToken: token, status: null }, data: { leaseUntil } }));
    return count === 1;
  }
}
