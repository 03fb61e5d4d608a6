import { type Clock, limits, type Random } from '@alcove/base';
import { Problem } from '@alcove/contracts';
import type { Db } from '@alcove/db';
import type { KeyOwner } from '@alcove/keys';
import type { MemoryUnit, MemoryUnits } from '../memory-unit';
import { vectorStream } from '../sealed/open-users';
import type { VectorStore } from '../sealed/vector-store';
import type { Point, QdrantPoints } from './points';
import { addRow, lockHead, type QdrantRow, readRows, removeRow, setBusy, setFilled } from './qdrant-rows';
import { PointIds } from './transform/point-ids';
import { paddedDimensions } from './transform/structured-rotation';
import { VectorCloak, whereabouts } from './transform/vector-cloak';

export interface FillingParts {
  readonly db: Db;
  readonly units: MemoryUnits;
  readonly points: QdrantPoints;
  readonly clock: Clock;
  readonly random: Random;
}

/** What Qdrant lacks of one space. */
interface Missing {
  /** The write up to which this is. */
  readonly seq: number;
  /** Vectors that there are then. */
  readonly vectors: number;
  readonly dimensions: number | undefined;
  /** Records whose vectors were written or removed since. */
  readonly ids: readonly string[];
  /** More may have been removed than `ids` tells: what Qdrant has must be compared. */
  readonly compare: boolean;
}

export const collectionOf = (space: string): string => `alcove_${space}`;

/**
 * Makes Qdrant hold what the sealed streams hold, from whatever it holds now: the sealed ones are the truth. What is sent was read in one transaction and goes out after it, never in one. Each
 * step may be the last before the process dies: the row says too little then, never too much, and who comes next sends again.
 */
export class Filling {
  constructor(private readonly parts: FillingParts) {}

  /** Exactly these spaces of a user, under the current version of the key; every other point of the user is removed. Problems: `unavailable` while another process does it, `memory.index`. */
  async bring(owner: KeyOwner, spaces: readonly string[]): Promise<void> {
    const rows = await this.#begin(owner, spaces);
    try {
      for (const { row, wanted } of rows) await (wanted ? this.#fill(owner, row) : this.#leave(owner, row));
    } finally {
      if (rows.length > 0) await this.parts.db.withTenantSql(owner.tenantId, (tx) => setBusy(tx, owner, null));
    }
  }

  /** Says where points will be before any is sent, and keeps others from sending. */
  #begin(owner: KeyOwner, spaces: readonly string[]): Promise<{ row: QdrantRow; wanted: boolean }[]> {
    return this.parts.units.reading(owner, async (unit) => {
      if (!(await lockHead(unit.tx, owner))) return [];
      const now = this.parts.clock.now();
      if ((await readRows(unit.tx, owner)).some(({ busyUntil }) => busyUntil && busyUntil.getTime() > now)) throw new Problem('unavailable', { detail: 'another process fills it' });
      const wanted = await unit.withSealing((sealing) => spaces.map((space) => ({ space, keyVersion: sealing.current, ...whereabouts(sealing.vectorsKey(sealing.current), space) })));
      for (const { space, keyVersion, ...place } of wanted) await addRow(unit.tx, owner, { ...place, collection: collectionOf(space) }, space, keyVersion);
      await setBusy(unit.tx, owner, new Date(now + limits.memory.qdrantLeaseMs));
      const rows = await readRows(unit.tx, owner);
      // Those that go, first: what was said to be removed is removed even when the rest fails.
      return rows.map((row) => ({ row, wanted: wanted.some(({ tag }) => tag === row.tag) })).sort((a, b) => Number(a.wanted) - Number(b.wanted));
    });
  }

  async #leave(owner: KeyOwner, row: QdrantRow): Promise<void> {
    await this.#renew(owner);
    await this.parts.points.removeAll(row);
    await this.parts.db.withTenantSql(owner.tenantId, (tx) => removeRow(tx, owner, row.tag));
  }

  async #fill(owner: KeyOwner, row: QdrantRow): Promise<void> {
    const { points, units, db } = this.parts;
    let { seq, size } = row;
    for (let round = 0; ; round++) {
      const missing = await units.reading(owner, (unit) => missingSince(unit, row.space, seq));
      if (missing.seq === seq && round > 0) return;
      if (round === limits.memory.qdrantRounds) throw new Problem('unavailable', { detail: 'more is written than can be sent' });
      size = missing.dimensions === undefined ? size : paddedDimensions(missing.dimensions);
      if (size > 0) {
        await this.#renew(owner);
        await points.ready(row.collection, size);
        // What Qdrant lost by itself, or holds of a filling that was cut short, is told by the number.
        if (round === 0 && seq >= 0 && (await points.count(row)) !== row.points) {
          seq = -1;
          continue;
        }
        await this.#send(owner, row, missing, size);
      }
      await db.withTenantSql(owner.tenantId, (tx) => setFilled(tx, owner, row.tag, { seq: missing.seq, points: missing.vectors, size }));
      seq = missing.seq;
    }
  }

  async #send(owner: KeyOwner, row: QdrantRow, { ids, compare }: Missing, size: number): Promise<void> {
    const { points, units } = this.parts;
    if (compare) {
      for await (const names of points.names(row)) {
        const strays = await units.reading(owner, (unit) => strangersOf(unit, row, names));
        await this.#renew(owner);
        if (strays.length > 0) await points.remove(row, strays);
      }
    }
    const batch = Math.max(1, Math.min(limits.memory.qdrantPoints, Math.floor(limits.memory.qdrantNumbers / size)));
    for (let at = 0; at < ids.length; at += batch) {
      const { put, gone } = await units.reading(owner, (unit) => this.#cloaked(unit, row, ids.slice(at, at + batch)));
      await this.#renew(owner);
      if (put.length > 0) await points.upsert(row, put);
      if (gone.length > 0) await points.remove(row, gone);
    }
  }

  /** Points for these records as they are now. */
  async #cloaked(unit: MemoryUnit, { space, keyVersion }: QdrantRow, ids: readonly string[]): Promise<{ put: Point[]; gone: string[] }> {
    const found = await unit.open([vectorStream(space)], ([store]) => ids.map((id) => ({ id, has: (store as VectorStore).vector(id) })));
    return unit.withSealing((sealing) => {
      const key = sealing.vectorsKey(keyVersion);
      const names = new PointIds(key, space);
      const dimensions = found.find(({ has }) => has)?.has?.vector.length;
      const cloak = dimensions === undefined ? null : new VectorCloak(key, space, dimensions, this.parts.random);
      const put: Point[] = [];
      const gone: string[] = [];
      for (const { id, has } of found) {
        if (has && cloak) put.push({ id: names.of(id), vector: Array.from(cloak.cloak(has.vector)), version: has.version });
        else gone.push(names.of(id));
        has?.vector.fill(0);
      }
      cloak?.wipe();
      return { put, gone };
    });
  }

  /** Before each request: who erases waits until this is over. Problem `user.gone` when an erasure has begun. */
  async #renew(owner: KeyOwner): Promise<void> {
    const until = new Date(this.parts.clock.now() + limits.memory.qdrantLeaseMs);
    if (!(await this.parts.db.withTenantSql(owner.tenantId, (tx) => setBusy(tx, owner, until)))) throw new Problem('user.gone');
  }
}

async function missingSince(unit: MemoryUnit, space: string, since: number): Promise<Missing> {
  const { tenantId, userId } = unit.owner;
  const stream = vectorStream(space);
  const { vectors, dimensions } = await unit.open([stream], ([store]) => ({ vectors: (store as VectorStore).size, dimensions: (store as VectorStore).dimensions }));
  const rows = await unit.tx.$queryRaw<{ id: string }[]>`
    select record_id as id from memory_entry where tenant_id = ${tenantId}::uuid and user_id = ${userId} and stream = ${stream} and seq > ${since} order by record_id`;
  // Marks of what was removed are kept until loose entries are put into segments, and go with a stream that goes.
  return { seq: unit.head.seq, vectors, dimensions, ids: rows.map(({ id }) => id), compare: since < (unit.head.streams.get(stream)?.floor ?? unit.head.seq) };
}

/** Names among these that are no vector's. */
async function strangersOf(unit: MemoryUnit, { space, keyVersion }: QdrantRow, names: readonly string[]): Promise<string[]> {
  const ids = await unit.withSealing((sealing) => {
    const points = new PointIds(sealing.vectorsKey(keyVersion), space);
    return names.map((name) => points.recordOf(name));
  });
  return unit.open([vectorStream(space)], ([store]) => names.filter((_, index) => ((id) => !id || (store as VectorStore).version(id) === 0)(ids[index])));
}
