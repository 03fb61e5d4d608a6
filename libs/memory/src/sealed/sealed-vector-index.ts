import { Problem } from '@alcove/contracts';
import type { SqlTx } from '@alcove/db';
import type { KeyOwner } from '@alcove/keys';
import { wipe } from '@alcove/vault';
import type { MemoryUnit, MemoryUnits } from '../memory-unit';
import type { IndexedVector, VectorHit, VectorQuery } from '../vector-index';
import { bytesToId, idBytes } from './id-table';
import { vectorStream } from './open-users';
import { encodeVector, type VectorStore } from './vector-store';

/**
 * The default index by itself: vectors sealed under the user's key in the database, opened into RAM, scanned exactly. MemoryService writes the same streams together with a record's others. Every
 * call is in the caller's transaction, in which the user's head row is locked.
 */
export class SealedVectorIndex {
  constructor(private readonly units: MemoryUnits) {}

  /** Adds or replaces. Problem `request.invalid`: not the dimensions of what the space holds already. */
  async upsert(tx: SqlTx, owner: KeyOwner, space: string, vectors: readonly IndexedVector[]): Promise<void> {
    await this.units.within(tx, owner, async (unit) => {
      const stream = vectorStream(space);
      const newest = await unit.open([stream], ([store]) => newestOf(store as VectorStore, vectors));
      const changes = newest.map(({ id, version, vector }) => ({ stream, id, payload: encodeVector(version, vector) }));
      await unit.write(changes);
      for (const { payload } of changes) wipe(payload);
    });
  }

  /** In every space. An id that is not there is no error. */
  async remove(tx: SqlTx, owner: KeyOwner, ids: readonly string[]): Promise<void> {
    await this.units.within(tx, owner, (unit) => unit.write(vectorStreams(unit).flatMap((stream) => ids.map((id) => ({ stream, id, payload: null })))));
  }

  /** The k nearest by cosine, the nearest first; fewer when there are fewer. */
  async search(tx: SqlTx, owner: KeyOwner, space: string, { vector, k, accepts = () => true }: VectorQuery): Promise<VectorHit[]> {
    return this.units.within(tx, owner, (unit) =>
      unit.open([vectorStream(space)], ([store]) => {
        const vectors = store as VectorStore;
        if (vectors.dimensions !== undefined && vectors.dimensions !== vector.length) throw otherDimensions();
        return vectors.nearest(vector, k, (source, at) => accepts(bytesToId(source.subarray(at, at + idBytes))));
      }),
    );
  }

  /** All that it holds of the user, in every space; tells how many vectors. */
  async dropUser(tx: SqlTx, owner: KeyOwner): Promise<number> {
    const { tenantId, userId } = owner;
    return this.units.within(tx, owner, async (unit) => {
      const streams = vectorStreams(unit);
      let vectors = 0;
      for (const stream of streams) vectors += await unit.open([stream], ([store]) => (store as VectorStore).size);
      await unit.tx.$executeRaw`delete from memory_entry where tenant_id = ${tenantId}::uuid and user_id = ${userId} and stream = any(${streams}::text[])`;
      await unit.tx.$executeRaw`delete from memory_segment where tenant_id = ${tenantId}::uuid and user_id = ${userId} and stream = any(${streams}::text[])`;
      for (const stream of streams) unit.forget(stream);
      return vectors;
    });
  }
}

const vectorStreams = (unit: MemoryUnit): string[] => [...unit.head.streams.keys()].filter((name) => name.startsWith('vectors/'));
const otherDimensions = (): Problem => new Problem('request.invalid', { detail: 'A vector has not the dimensions of its space.' });

/** Of several for one record the highest version, and none that is lower than what is there. */
function newestOf(store: VectorStore, vectors: readonly IndexedVector[]): IndexedVector[] {
  const dimensions = store.dimensions ?? vectors[0]?.vector.length;
  if (vectors.some(({ vector }) => vector.length !== dimensions)) throw otherDimensions();
  const newest = new Map<string, IndexedVector>();
  for (const one of vectors) if (one.version >= (newest.get(one.id)?.version ?? store.version(one.id))) newest.set(one.id, one);
  return [...newest.values()];
}
