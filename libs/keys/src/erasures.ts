import { type Clock, type Log, newId } from '@alcove/base';
import type { Audit } from '@alcove/audit';
import { type Erasure, Problem } from '@alcove/contracts';
import type { Db, SqlTx } from '@alcove/db';
import type { Users } from '@alcove/identity';
import type { Saga, SagaRunner, StartedSaga } from '@alcove/jobs';
import type { KeyOwner } from './derivation';
import type { ErasePurge } from './erasure-ports';
import { type ErasureParams, erasureSaga, type Receipts } from './erasure.saga';
import { changeErasure, findErasure, idleErasures, insertErasure, knownToMain, knownToWraps, type LedgerEntry, ledgerOfMain, ledgerOfWraps } from './erasure-store';
import type { KekRotation } from './kek-rotation';
import type { KeyTree } from './key-tree';
import type { WrapsDb } from './wraps';

export interface ErasuresParts {
  readonly db: Db;
  readonly wraps: WrapsDb;
  readonly tree: KeyTree;
  readonly rotation: KekRotation;
  readonly users: Pick<Users, 'markDestroying' | 'markDestroyed' | 'ensureUser'>;
  readonly audit: Pick<Audit, 'append'>;
  readonly runner: SagaRunner;
  readonly receipts: Receipts;
  readonly clock: Clock;
  readonly log: Log;
}

const page = 500;

/**
 * Forgets users: a saga (erasure.saga.ts) for each, of which the row in `erasure` is the truth, so that one that ended before it was through is begun anew. Both halves of
 * the ledger are compared at start and now and then, so that a database that was put back from a backup forgets again who was forgotten.
 */
export class Erasures {
  readonly #parts: ErasuresParts;
  readonly #purges: ErasePurge[] = [];
  readonly #saga: Saga<ErasureParams>;

  constructor(parts: ErasuresParts) {
    this.#parts = parts;
    this.#saga = erasureSaga({ ...parts, purges: this.#purges });
    parts.runner.register(this.#saga);
  }

  /** Makes known what a lib does when a user is erased: before anything runs, in every process that runs sagas. */
  register(...purges: readonly ErasePurge[]): void {
    for (const purge of purges) {
      if (this.#purges.some(({ name }) => name === purge.name)) throw new TypeError(`two purges named ${purge.name}`);
      this.#purges.push(purge);
    }
  }

  /** Begins in the caller's transaction, in which the user was marked; resolves with what is to be called after the commit. One that is under way or done is left as it is. */
  async begin(tx: SqlTx, owner: KeyOwner, actor: string): Promise<{ id: string; go: () => void }> {
    const known = await findErasure(tx, owner);
    if (known) return { id: known.id, go: () => undefined };
    const id = newId('erase');
    await insertErasure(tx, { ...owner, id, actor, requestedAt: new Date(this.#parts.clock.now()), receipt: null });
    const started = await this.#start(tx, owner, false);
    return { id, go: () => void this.#advance(started) };
  }

  /** Problem `erasure.not_found`. */
  async get({ tenantId, userId }: KeyOwner): Promise<Erasure> {
    const row = await this.#parts.db.withTenantSql(tenantId, (tx) => findErasure(tx, { tenantId, userId }));
    if (!row) throw new Problem('erasure.not_found');
    const { id, state, requestedAt, keysDestroyedAt, endedAt, receipt } = row;
    return {
      id,
      userId,
      state,
      requestedAt: requestedAt.toISOString(),
      keysDestroyedAt: keysDestroyedAt?.toISOString() ?? null,
      endedAt: endedAt?.toISOString() ?? null,
      // It may be here again from the other half of the ledger, while the erasure that it is of is done once more.
      receipt: state === 'done' ? (receipt as Erasure['receipt']) : null,
    };
  }

  /** Whether the inventory is taken: what is removed before that is missing in the receipt. */
  async mayRemove(owner: KeyOwner): Promise<boolean> {
    const row = await this.#parts.db.withTenantSql(owner.tenantId, (tx) => findErasure(tx, owner));
    return row?.facts.inventoried === true;
  }

  /** Goes on with a user's erasure as far as it gets now, and begins one for a user who is being destroyed without; true when it is done. */
  async proceed(owner: KeyOwner): Promise<boolean> {
    const started = await this.#parts.db.withTenantSql(owner.tenantId, async (tx) => {
      const row = await findErasure(tx, owner, true);
      if (row?.state === 'done') return 'done';
      if (!row) return (await this.begin(tx, owner, 'system')).go;
      const [saga] = row.sagaId === null ? [] : await tx.$queryRaw<unknown[]>`select 1 from saga where id = ${row.sagaId} and state in ('running', 'undoing')`;
      return saga ? row.sagaId : this.#start(tx, owner, false);
    });
    if (started === 'done') return true;
    if (typeof started === 'function') started();
    else if (started !== null) await this.#parts.runner.advance(started);
    const row = await this.#parts.db.withTenantSql(owner.tenantId, (tx) => findErasure(tx, owner));
    return row?.state === 'done';
  }

  /** For the reconciler: erasures whose saga came to an end before they did. */
  async resume(limit: number): Promise<{ resumed: number }> {
    const idle = await idleErasures(this.#parts.db, limit);
    for (const owner of idle) await this.proceed(owner).catch((err: unknown) => this.#parts.log.warn({ err, ...owner }, 'an erasure cannot go on yet'));
    return { resumed: idle.length };
  }

  /**
   * Compares both halves of the ledger. Who is in one only was forgotten before the other database was put back from a backup: that user is forgotten once more. Safe to
   * run at once in several processes.
   */
  async replay(): Promise<{ replayed: number }> {
    let replayed = 0;
    const { db, wraps } = this.#parts;
    for await (const entries of pages((after) => ledgerOfMain(db, after, page))) {
      const known = await knownToWraps(wraps, entries.map(({ id }) => id));
      for (const entry of entries) if (!known.has(entry.id)) replayed += await this.#again(entry);
    }
    for await (const entries of pages((after) => ledgerOfWraps(wraps, after, page))) {
      const known = await knownToMain(db, entries.map(({ id }) => id));
      for (const entry of entries) if (!known.has(entry.id)) replayed += await this.#again(entry);
    }
    if (replayed > 0) this.#parts.log.warn({ replayed }, 'users who were forgotten were in a database that was put back: they are forgotten once more');
    return { replayed };
  }

  /** Fails closed at once, and lets a worker do the rest. */
  async #again(entry: LedgerEntry): Promise<number> {
    const { db, tree, users } = this.#parts;
    const tenant = await db.withTenantSql(entry.tenantId, async (tx) => tx.$queryRaw<unknown[]>`select 1 from tenant where id = ${entry.tenantId}::uuid`);
    await tree.erase(entry);
    // A tenant that this database does not know has nothing in it.
    if (tenant.length === 0) return 0;
    return db.withTenantSql(entry.tenantId, async (tx) => {
      await tx.$executeRaw`
        insert into app_user (tenant_id, id, state, created_at, state_since) values (${entry.tenantId}::uuid, ${entry.userId}, 'active', ${entry.requestedAt}::timestamptz, ${entry.requestedAt}::timestamptz)
        on conflict do nothing`;
      await users.markDestroying(tx, entry.tenantId, entry.userId);
      await insertErasure(tx, { ...entry, actor: 'system' });
      await changeErasure(tx, entry, () => ({ state: 'destroying_keys' }));
      await this.#start(tx, entry, true);
      return 1;
    });
  }

  async #start(tx: SqlTx, owner: KeyOwner, handOff: boolean): Promise<StartedSaga> {
    const started = await this.#parts.runner.start(tx, this.#saga, { tenantId: owner.tenantId, params: { userId: owner.userId }, handOff });
    await changeErasure(tx, owner, () => ({ sagaId: started.id }));
    return started;
  }

  #advance(started: StartedSaga): Promise<void> {
    return this.#parts.runner.advance(started).then(
      () => undefined,
      (err: unknown) => this.#parts.log.info({ err, saga: started.id }, 'an erasure goes on later'),
    );
  }
}

async function* pages(read: (after: string) => Promise<LedgerEntry[]>): AsyncGenerator<LedgerEntry[]> {
  for (let after = ''; ; ) {
    const entries = await read(after);
    if (entries.length > 0) yield entries;
    if (entries.length < page) return;
    after = entries.at(-1)?.id ?? after;
  }
}
