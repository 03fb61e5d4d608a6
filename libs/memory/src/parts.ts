import type { Clock, Log } from '@alcove/base';
import type { Outbox } from '@alcove/jobs';
import type { Extractor } from './consolidate/extractor';
import type { MemoryUnits } from './memory-unit';
import type { MemoryPolicies, Policy } from './policy';
import type { Embedder } from './semantic/embedder';
import type { VectorIndex } from './vector-index';

/** What the parts of this lib are made of. */
export interface MemoryParts {
  readonly units: MemoryUnits;
  readonly policies: MemoryPolicies;
  readonly embedder: Embedder;
  readonly extractor: Extractor;
  readonly outbox: Outbox;
  /** Given by the application when there is one. */
  readonly qdrant: VectorIndex | null;
  readonly clock: Clock;
  readonly log: Log;
}

/** The index that has a tenant's vectors instead of the sealed one; null where there is none, or where it cannot be had. */
export function elsewhereFor({ qdrant }: MemoryParts, policy: Policy): VectorIndex | null {
  return policy.index === 'qdrant' ? qdrant : null;
}
