import { limits } from '@alcove/base';
import { Problem } from '@alcove/contracts';
import type { MemoryCaller } from '../caller';
import type { MemoryParts } from '../parts';
import { searchedText } from '../records/record';
import type { Records } from '../records/records';
import type { CatalogueStore } from '../sealed/catalogue-store';
import { idToBytes } from '../sealed/id-table';
import { catalogueStream, vectorStream } from '../sealed/open-users';
import type { VectorStore } from '../sealed/vector-store';

/** Gives every live record a vector of the space that is searched now, and lets go of those of other spaces: after an endpoint was set or changed, or did not answer for a while. */
export class ReEmbedding {
  constructor(
    private readonly parts: MemoryParts,
    private readonly records: Records,
  ) {}

  /** The job: batch after batch until none is missing. Problem `memory.embeddings` ends it; what was embedded stays. */
  async run(caller: MemoryCaller): Promise<number> {
    const space = await this.parts.embedder.space(caller.tenantId);
    if (space === null) return 0;
    let embedded = 0;
    for (;;) {
      const done = await this.#batch(caller, space);
      if (done === 0) break;
      embedded += done;
    }
    await this.#dropOthers(caller, space);
    return embedded;
  }

  async #batch(caller: MemoryCaller, space: string): Promise<number> {
    const missing = await this.parts.units.reading(caller, async (unit) => {
      const ids = await unit.open([catalogueStream, vectorStream(space)], ([catalogue, vectors]) => without(catalogue as CatalogueStore, vectors as VectorStore));
      return this.records.read(unit, ids);
    });
    if (missing.length === 0) return 0;
    const answer = await this.parts.embedder.embed(caller.tenantId, 'document', missing.map(searchedText));
    if (answer?.space !== space) throw new Problem('unavailable', { detail: 'the endpoint was changed while it was asked' });
    const policy = await this.parts.policies.of(caller.tenantId);
    await this.parts.units.writing(caller, async (unit) => {
      const current = await unit.catalogue((catalogue) => missing.flatMap(({ id, version }, index) => {
        const facts = catalogue.facts(idToBytes(id));
        const vector = answer.vectors[index];
        // Changed or removed meanwhile: the next batch sees to it.
        return vector && facts?.version === version && facts.state === 'live' ? [{ id, version, vector }] : [];
      }));
      await this.records.writes(unit, policy).vectors(space, current);
    });
    return missing.length;
  }

  /** Vectors of spaces that are no longer searched. */
  async #dropOthers(caller: MemoryCaller, space: string): Promise<void> {
    const { tenantId, userId } = caller;
    await this.parts.units.writing(caller, async (unit) => {
      const others = [...unit.head.streams.keys()].filter((name) => name.startsWith('vectors/') && name !== vectorStream(space));
      if (others.length === 0) return;
      await unit.tx.$executeRaw`delete from memory_entry where tenant_id = ${tenantId}::uuid and user_id = ${userId} and stream = any(${others}::text[])`;
      await unit.tx.$executeRaw`delete from memory_segment where tenant_id = ${tenantId}::uuid and user_id = ${userId} and stream = any(${others}::text[])`;
      for (const name of others) unit.forget(name);
    });
  }
}

/** Up to a batch of live records that have no vector, or that of an older version. */
function without(catalogue: CatalogueStore, vectors: VectorStore): string[] {
  const ids: string[] = [];
  for (const { id, source, at, version } of catalogue.live()) {
    if (vectors.versionOf(source, at) !== version) ids.push(id());
    if (ids.length === limits.memory.embedBatch) break;
  }
  return ids;
}
