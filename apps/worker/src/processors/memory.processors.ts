import type { JobProcessor } from '@alcove/jobs';
import type { MemoryService } from '@alcove/memory';

/** Makes records of what was said. */
export function consolidateMemory(memory: MemoryService): JobProcessor<'memory.consolidate'> {
  return { job: 'memory.consolidate', process: ({ consolidationId, ...owner }) => memory.runConsolidation(owner, consolidationId) };
}

/** Brings Qdrant up to what is in the database. */
export function indexMemory(memory: MemoryService): JobProcessor<'memory.index'> {
  return { job: 'memory.index', process: (owner) => memory.runIndexing(owner) };
}

/** Gives records the vectors that they lack. */
export function embedMemory(memory: MemoryService): JobProcessor<'memory.embed'> {
  return { job: 'memory.embed', process: (owner) => memory.runEmbedding(owner) };
}
