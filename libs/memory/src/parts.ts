import type { Clock, Log } from '@alcove/base';
import type { Outbox } from '@alcove/jobs';
import type { Extractor } from './consolidate/extractor';
import type { MemoryUnits } from './memory-unit';
import type { MemoryPolicies } from './policy';
import type { QdrantIndex } from './qdrant/qdrant-index';
import type { Embedder } from './semantic/embedder';

/** What the parts of this lib are made of. */
export interface MemoryParts {
  readonly units: MemoryUnits;
  readonly policies: MemoryPolicies;
  readonly embedder: Embedder;
  readonly extractor: Extractor;
  readonly outbox: Outbox;
  /** For tenants whose policy says so; null where no server was given. */
  readonly qdrant: QdrantIndex | null;
  readonly clock: Clock;
  readonly log: Log;
}
