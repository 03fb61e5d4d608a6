import { type Clock, limits, type Log, type Random } from '@alcove/base';
import { type ErasedObject, isProblem } from '@alcove/contracts';
import type { Db, SqlTx } from '@alcove/db';
import type { Outbox, Reconciler } from '@alcove/jobs';
import type { KeyOwner } from '@alcove/keys';
import type { MemoryUnit, MemoryUnits } from '../memory-unit';
import { exactScores } from '../sealed/exact-scores';
import { nearestFirst, type VectorHit } from '../vector-index';
import { Filling } from './filling';
import type { Found, QdrantPoints } from './points';
import { type QdrantRow, readRows, removeRow } from './qdrant-rows';
import { PointIds } from './transform/point-ids';
import { VectorCloak } from './transform/vector-cloak';

export interface QdrantIndexParts {
  readonly db: Db;
  readonly units: MemoryUnits;
  readonly points: QdrantPoints;
  readonly outbox: Outbox;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** What Qdrant found, not yet exact. */
export interface Candidates {
  readonly row: QdrantRow;
  readonly limit: number;
  readonly found: readonly Found[];
  /** What a score is a cosine by, and how far that is off: one standard deviation. */
  readonly cosinePerDot: number;
  readonly deviation: number;
}

export interface Ranking {
  /** Length 1. */
  readonly vector: Float32Array;
  readonly k: number;
  /** Those of these records that count. */
  readonly accepted: (ids: string[]) => Promise<string[]>;
}

/** How many standard deviations the noise is trusted not to exceed: once in three million. */
const deviations = 5;
const checkMs = 60_000;

/**
 * The vectors of tenants who chose it, obfuscated, in Qdrant; a helper to find candidates and nothing more. The sealed streams in Postgres stay the truth: what is answered is scored from them, and
 * where Qdrant cannot be asked, or is not known to hold what they hold, the sealed index answers.
 */
export class QdrantIndex {
  readonly #filling: Filling;
  /** Monotonic: it did not answer a moment ago, and nobody else is to wait for it. */
  #awayUntil = -Infinity;

  constructor(private readonly parts: QdrantIndexParts) {
    this.#filling = new Filling(parts);
  }

  /** Makes Qdrant hold these spaces of a user and no other. Problems as Filling. */
  bring(owner: KeyOwner, spaces: readonly string[]): Promise<void> {
    return this.#filling.bring(owner, spaces);
  }

  /** How many are asked for at first. */
  firstLimit(k: number): number {
    return Math.min(limits.memory.fetchedAtMost, Math.max(limits.memory.overFetch, k * 5));
  }

  /** Outside any transaction. Null: it cannot be asked, or what it holds is not what was written last. */
  async ask(owner: KeyOwner, space: string, vector: Float32Array, limit: number): Promise<Candidates | null> {
    if (this.parts.clock.monotonic() < this.#awayUntil) return null;
    const asked = await this.parts.units.reading(owner, async (unit) => {
      const row = (await readRows(unit.tx, owner)).find((one) => one.space === space && one.seq === unit.head.seq && !one.leaving);
      return row && unit.withSealing((sealing) => {
        const cloak = new VectorCloak(sealing.vectorsKey(row.keyVersion), space, vector.length, this.parts.random);
        const { cosinePerDot, deviation, size } = cloak;
        const query = Array.from(cloak.cloak(vector));
        cloak.wipe();
        return { row, query, size, cosinePerDot, deviation };
      });
    });
    if (!asked) return null;
    const { row, query, size, ...rest } = asked;
    if (row.points === 0) return { row, limit, found: [], ...rest };
    if (row.size !== size) return null;
    try {
      const found = await this.parts.points.nearest(row, query, limit);
      if (found.length >= Math.min(limit, row.points)) return { row, limit, found, ...rest };
      this.parts.log.warn({ tenantId: owner.tenantId, expected: Math.min(limit, row.points), found: found.length }, 'Qdrant has lost points: they are sent again');
      await this.#again(owner, row);
    } catch (error) {
      if (!isProblem(error, 'memory.index')) throw error;
      this.#awayUntil = this.parts.clock.monotonic() + limits.memory.qdrantPauseMs;
      this.parts.log.warn({ err: error, tenantId: owner.tenantId }, 'Qdrant cannot be asked: the sealed index answers');
    }
    return null;
  }

  /**
   * The k nearest of those that are accepted, scored exactly from what only the user's key opens. A limit: nearer ones may be among those that were not asked for, ask for so many. Null: somebody wrote
   * meanwhile, or they are too many to ask for.
   */
  async rank(unit: MemoryUnit, { row, limit, found, cosinePerDot, deviation }: Candidates, { vector, k, accepted }: Ranking): Promise<VectorHit[] | number | null> {
    if (unit.head.seq !== row.seq) return null;
    const ids = await unit.withSealing((sealing) => {
      const names = new PointIds(sealing.vectorsKey(row.keyVersion), row.space);
      return found.map(({ id }) => names.recordOf(id));
    });
    const hits = await exactScores(unit, row.space, await accepted(ids.filter((id) => id !== null)), vector);
    const best = hits.sort(nearestFirst).slice(0, k);
    if (found.length < limit || limit >= row.points) return best;
    // Of those that were not asked for none is nearer than the last one seems, but for the noise.
    const nearest = (found.at(-1)?.score ?? 0) * cosinePerDot + deviations * deviation;
    if ((best[k - 1]?.score ?? -Infinity) >= nearest) return best;
    if (limit < limits.memory.fetchedAtMost) return Math.min(limits.memory.fetchedAtMost, limit * 4);
    return best.length === k ? best : null;
  }

  /** In a writer's transaction: Qdrant is brought up to it afterwards, by a job. */
  later = async (tx: SqlTx, owner: KeyOwner): Promise<void> => {
    const { tenantId, userId } = owner;
    const wanted = await tx.$queryRaw<unknown[]>`
      select 1 from memory_policy where tenant_id = ${tenantId}::uuid and index_kind = 'qdrant' and embeddings is not null
      union all select 1 from memory_qdrant where tenant_id = ${tenantId}::uuid and user_id = ${userId} limit 1`;
    if (wanted.length > 0) await this.parts.outbox.enqueue(tx, 'memory.index', { tenantId, userId });
  };

  /** After a tenant's policy was changed: for every user of whom something is to be there, or is. */
  async policyChanged(tenantId: string): Promise<void> {
    await this.parts.db.withTenantSql(tenantId, async (tx) => {
      const rows = await tx.$queryRaw<{ userId: string }[]>`
        select h.user_id as "userId" from memory_head h join memory_policy p using (tenant_id) where h.tenant_id = ${tenantId}::uuid and p.index_kind = 'qdrant'
        union select user_id from memory_qdrant where tenant_id = ${tenantId}::uuid`;
      for (const { userId } of rows) await this.parts.outbox.enqueue(tx, 'memory.index', { tenantId, userId });
    });
  }

  /** Of a user who is erased, without the key: all points, once nobody sends any more (the rows are marked). True when none is left. */
  async removeErased(owner: KeyOwner): Promise<boolean> {
    const { db, points, clock } = this.parts;
    const rows = await db.withTenantSql(owner.tenantId, (tx) => readRows(tx, owner));
    if (rows.some(({ busyUntil }) => busyUntil && busyUntil.getTime() > clock.now())) return false;
    try {
      for (const row of rows) {
        await points.removeAll(row);
        await db.withTenantSql(owner.tenantId, (tx) => removeRow(tx, owner, row.tag));
      }
      return true;
    } catch (error) {
      if (!isProblem(error, 'memory.index')) throw error;
      this.parts.log.warn({ err: error, tenantId: owner.tenantId }, 'points of a user who is erased cannot be removed yet');
      return false;
    }
  }

  /** Finds users of whom Qdrant does not hold what it should: jobs that were lost, or given up, or a server that was away. */
  reconciler(): Reconciler {
    return { name: 'memory.index', everyMs: checkMs, run: async () => ({ users: await this.#wakeBehind() }) };
  }

  async #wakeBehind(): Promise<number> {
    const before = new Date(this.parts.clock.now() - checkMs);
    return this.parts.db.asSystemSql('reconcile', async (tx) => {
      const rows = await tx.$queryRaw<KeyOwner[]>`
        select tenant_id::text as "tenantId", user_id as "userId" from (
          select h.tenant_id, h.user_id from memory_head h join memory_policy p on p.tenant_id = h.tenant_id and p.index_kind = 'qdrant' and p.embeddings is not null
            where not exists (select 1 from memory_qdrant q where q.tenant_id = h.tenant_id and q.user_id = h.user_id and q.seq = h.seq)
          union
          select q.tenant_id, q.user_id from memory_qdrant q
            where not q.leaving and not exists (select 1 from memory_policy p where p.tenant_id = q.tenant_id and p.index_kind = 'qdrant' and p.embeddings is not null)
        ) behind
        where not exists (select 1 from outbox o where o.tenant_id = behind.tenant_id and o.job = 'memory.index' and o.payload->>'userId' = behind.user_id and o.created_at > ${before}::timestamptz)
        limit ${limits.reconciler.batch}::int`;
      for (const owner of rows) await this.parts.outbox.enqueue(tx, 'memory.index', owner);
      return rows.length;
    });
  }

  async #again(owner: KeyOwner, row: QdrantRow): Promise<void> {
    const { tenantId, userId } = owner;
    await this.parts.db.withTenantSql(tenantId, async (tx) => {
      const changed = await tx.$executeRaw`update memory_qdrant set seq = -1 where tenant_id = ${tenantId}::uuid and user_id = ${userId} and tag = ${row.tag}::uuid and seq = ${row.seq}`;
      if (changed > 0) await this.parts.outbox.enqueue(tx, 'memory.index', { tenantId, userId });
    });
  }
}

/** What a receipt says of points: how many bytes they took, as they were counted last. */
export function objectsInQdrant(rows: readonly QdrantRow[]): ErasedObject[] {
  return rows.map(({ collection, tag, points, size }) => ({ kind: 'vectors', id: `qdrant/${collection}/${tag}`, bytes: points * size * 4, sha256: null }));
}
