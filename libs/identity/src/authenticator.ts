import type { Clock } from '@alcove/base';
import { type Principal, Problem, type Scope } from '@alcove/contracts';
import type { Db, Tx } from '@alcove/db';
import { type ApiKeyRow, defaultRate, goodUntil, hashKey, keyIdOf, sameHash } from './api-key';

/** How long an answer is believed without asking the database, milliseconds. A revocation in another process takes effect within this. */
export const cacheMs = 5_000;
const cacheEntriesMax = 10_000;
/** lastUsedAt is exact to this, milliseconds: it saves a write per request. */
const lastUsedMs = 60_000;

interface Known {
  principal: Principal;
  until: number;
}

/** Tells who sent a key. Answers are kept for five seconds under the key's hash; refusals are not kept. */
export class Authenticator {
  readonly #db: Db;
  readonly #clock: Clock;
  readonly #platformHash: Buffer | null;
  readonly #known = new Map<string, Known>();
  readonly #asking = new Map<string, Promise<Principal>>();
  /** Goes up with each revocation here, so that an answer that was on its way is not kept. */
  #epoch = 0;

  constructor(db: Db, clock: Clock, platformKeySha256: string | null) {
    this.#db = db;
    this.#clock = clock;
    this.#platformHash = platformKeySha256 === null ? null : Buffer.from(platformKeySha256, 'hex');
  }

  /** Problems: `auth.invalid`, `auth.expired`, `auth.revoked`. DbUnavailable when it must ask and cannot. */
  async authenticate(bearer: string): Promise<Principal> {
    const hash = hashKey(bearer);
    if (this.#platformHash && sameHash(hash, this.#platformHash)) return { kind: 'platform', keyId: 'platform', tenantId: null, scopes: ['platform'], ...defaultRate };
    const id = keyIdOf(bearer);
    if (id === null) throw new Problem('auth.invalid');
    const slot = hash.toString('base64');
    const known = this.#known.get(slot);
    if (known && known.until > this.#clock.now()) return known.principal;
    return this.#askOnce(slot, id, hash);
  }

  /** Forgets what is known of a key, or of all: the next request asks the database. */
  forget(keyId?: string): void {
    this.#epoch += 1;
    this.#asking.clear();
    for (const [slot, { principal }] of this.#known) {
      if (keyId === undefined || principal.keyId === keyId) this.#known.delete(slot);
    }
  }

  /** Many requests with one key ask the database once. */
  #askOnce(slot: string, id: string, hash: Buffer): Promise<Principal> {
    const underWay = this.#asking.get(slot);
    if (underWay) return underWay;
    const asking = this.#ask(slot, id, hash).finally(() => {
      if (this.#asking.get(slot) === asking) this.#asking.delete(slot);
    });
    this.#asking.set(slot, asking);
    return asking;
  }

  async #ask(slot: string, id: string, hash: Buffer): Promise<Principal> {
    const epoch = this.#epoch;
    // The time before the look counts, so that what is kept is never older than it says.
    const now = this.#clock.now();
    const { row, until } = await this.#db.asSystem('authenticate', async (tx) => {
      const found: ApiKeyRow | null = await tx.apiKey.findUnique({ where: { id } });
      if (!found) throw new Problem('auth.invalid');
      const good = goodUntil(found, hash, now);
      await this.#touch(tx, found, now);
      return { row: found, until: good };
    });
    const principal: Principal = {
      kind: 'key',
      keyId: row.id,
      tenantId: row.tenantId,
      scopes: row.scopes as Scope[],
      ratePerSecond: row.ratePerSecond,
      concurrent: row.concurrent,
    };
    if (epoch === this.#epoch) this.#remember(slot, { principal, until: Math.min(until, now + cacheMs) });
    return principal;
  }

  async #touch(tx: Tx, row: ApiKeyRow, now: number): Promise<void> {
    if (row.lastUsedAt && row.lastUsedAt.getTime() > now - lastUsedMs) return;
    await tx.apiKey.updateMany({ where: { id: row.id }, data: { lastUsedAt: new Date(now) } });
  }

  #remember(slot: string, known: Known): void {
    this.#known.delete(slot);
    this.#known.set(slot, known);
    if (this.#known.size <= cacheEntriesMax) return;
    const oldest = this.#known.keys().next();
    if (!oldest.done) this.#known.delete(oldest.value);
  }
}
