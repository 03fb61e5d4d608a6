import type { SqlTx } from '@alcove/db';
import type { KeyOwner } from '@alcove/keys';

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

export interface VectorQuery {
  /** Length 1. */
  readonly vector: Float32Array;
  readonly k: number;
  /** Which records count. An index that cannot ask it while it looks must look for more and leave out what it refuses. */
  readonly accepts?: (id: string) => boolean;
}

/**
 * Where the vectors of a user lie and how the nearest are found. One user's vectors never meet another's, and those of one space (the fingerprint of an embedding model and
 * all that shapes its vectors) never those of another. Every call is in the caller's transaction, in which the user's head row is locked for writes.
 */
export interface VectorIndex {
  readonly index: 'sealed' | 'qdrant';
  /** What somebody who reads the store learns beyond how much there is. */
  readonly leakage: 'none' | 'similarity structure';
  /** Adds or replaces. Problem `request.invalid`: not the dimensions of what the space holds already. */
  upsert(tx: SqlTx, owner: KeyOwner, space: string, vectors: readonly IndexedVector[]): Promise<void>;
  /** In every space. An id that is not there is no error. */
  remove(tx: SqlTx, owner: KeyOwner, ids: readonly string[]): Promise<void>;
  /** The k nearest by cosine, the nearest first; fewer when there are fewer. Scores are exact and computed from what only the user's key opens. */
  search(tx: SqlTx, owner: KeyOwner, space: string, query: VectorQuery): Promise<VectorHit[]>;
  /** All that it holds of the user, in every space; tells how many vectors. */
  dropUser(tx: SqlTx, owner: KeyOwner): Promise<number>;
}
