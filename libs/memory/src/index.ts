export type { MemoryCaller } from './caller';
export { MemoryModule, type MemoryModuleOptions } from './memory.module';
export { MemoryService, type MemoryServiceParts } from './memory.service';
export { type MemoryKeys, MemoryUnits } from './memory-unit';
export { OpenUsers } from './sealed/open-users';
export { SealedVectorIndex } from './sealed/sealed-vector-index';
export { encodeVector, VectorStore } from './sealed/vector-store';
export { exactDot, VectorMemory } from './sealed/vector-memory';
export type { IndexedVector, VectorHit, VectorIndex, VectorQuery } from './vector-index';
