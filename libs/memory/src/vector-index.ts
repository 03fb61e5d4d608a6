export interface IndexedVector {
  /** A record's id. */
  readonly id: string;
  /** The record's version: a later upsert with a lower one must not win. */
  readonly version: number;
  /** Of length 1 (the embedder normalises), as many numbers as the space has dimensions. */
  readonly vector: Float32Array;
}

export interface VectorHit {
  readonly id: string;
  /** The exact cosine of query and stored vector, −1…1. */
  readonly score: number;
}

/** Those of the same score by their ids, so that every index gives the same order. */
export const nearestFirst = (a: VectorHit, b: VectorHit): number => b.score - a.score || (a.id < b.id ? -1 : 1);

export interface VectorQuery {
  /** Length 1. */
  readonly vector: Float32Array;
  readonly k: number;
  /** Which records count. An index that cannot ask it while it looks must look for more and leave out what it refuses. */
  readonly accepts?: (id: string) => boolean;
}

/** What an answer says of the index that made it. One user's vectors never meet another's, and those of one space (the fingerprint of a model and all that shapes its vectors) never those of another. */
export interface IndexKind {
  readonly index: 'sealed' | 'qdrant';
  /** What somebody who reads the store learns beyond how much there is. */
  readonly leakage: 'none' | 'similarity structure';
}

export const sealedIndex = { index: 'sealed', leakage: 'none' } as const satisfies IndexKind;
export const qdrantIndex = { index: 'qdrant', leakage: 'similarity structure' } as const satisfies IndexKind;
