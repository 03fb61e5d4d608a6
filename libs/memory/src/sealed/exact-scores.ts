import type { MemoryUnit } from '../memory-unit';
import type { VectorHit } from '../vector-index';
import { vectorStream } from './open-users';
import { eachOfSome } from './some-entries';
import { exactDot } from './vector-memory';
import { decodeVector, type VectorStore } from './vector-store';

/**
 * The exact cosines of a query and the vectors of these records, those that have none left out. Of a stream that is not open only the segments are opened that the vectors lie in, and nothing stays; but where
 * they would be most of it, it is opened whole, and stays open for the next search.
 */
export async function exactScores(unit: MemoryUnit, space: string, ids: readonly string[], query: Float32Array): Promise<VectorHit[]> {
  const stream = vectorStream(space);
  const hits: VectorHit[] = [];
  const score = (id: string, vector: Float32Array): void => {
    hits.push({ id, score: exactDot(query, vector) });
    vector.fill(0);
  };
  if (unit.isOpen(stream) || (unit.head.streams.get(stream)?.segments ?? 0) <= ids.length) {
    await unit.open([stream], ([store]) => {
      for (const id of ids) {
        const found = (store as VectorStore).vector(id);
        if (found) score(id, found.vector);
      }
    });
  } else await eachOfSome(unit, stream, ids, (id, entry) => score(id, decodeVector(entry)));
  return hits;
}
