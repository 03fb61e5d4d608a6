import { isProblem, type MemoryHits, memoryKinds, type SearchMemory, type SearchMode } from '@alcove/contracts';
import { logAccess } from '../access-log';
import type { MemoryCaller } from '../caller';
import { fuse, type Fused } from '../lexical/fusion';
import { featuresOf } from '../lexical/words';
import type { WordsStore } from '../lexical/words-store';
import type { MemoryUnit } from '../memory-unit';
import type { MemoryParts } from '../parts';
import type { Candidates } from '../qdrant/qdrant-index';
import { toMemory } from '../records/record';
import type { Records } from '../records/records';
import type { CatalogueFilter, CatalogueStore } from '../sealed/catalogue-store';
import { idToBytes } from '../sealed/id-table';
import { catalogueStream, vectorStream, wordsStream } from '../sealed/open-users';
import type { VectorStore } from '../sealed/vector-store';
import { qdrantIndex, sealedIndex, type VectorHit } from '../vector-index';

/** How many of each ranking are fused: enough that one of the answer's k in any of them is not missed for its rank in the other. */
const deeper = 4;

interface Plan {
  readonly mode: SearchMode;
  readonly space: string | null;
  readonly vector: Float32Array | null;
  readonly fallback: string | null;
  /** Null: the sealed index is searched. */
  readonly candidates: Candidates | null;
}

/** Looks for records. Lexical: BM25 and hashed features, fused; semantic: cosine in the tenant's embedding space; hybrid: all three, fused by reciprocal rank. */
export class Search {
  constructor(
    private readonly parts: MemoryParts,
    private readonly records: Records,
  ) {}

  async search(caller: MemoryCaller, input: SearchMemory): Promise<MemoryHits> {
    const wanted = await this.#plan(caller, input);
    const now = this.parts.clock.now();
    const filter: CatalogueFilter = {
      kinds: input.kinds ?? memoryKinds.filter((kind) => kind !== 'block'),
      tags: input.tags, minTrust: input.minTrust, after: timeOf(input.after), before: timeOf(input.before), asOf: input.asOf ? Date.parse(input.asOf) : now, now,
    };
    // Another index is asked before a transaction, and again for more when that was not enough.
    for (let plan = await this.#asked(caller, wanted, this.parts.qdrant?.firstLimit(depthOf(input, wanted)) ?? 0); ; ) {
      const answer = await this.parts.units.reading(caller, (unit) => this.#answer(unit, caller, input, plan, filter));
      if (typeof answer !== 'number') return answer;
      plan = await this.#asked(caller, plan, answer);
    }
  }

  /** A number: so many candidates are needed. */
  async #answer(unit: MemoryUnit, caller: MemoryCaller, input: SearchMemory, wanted: Plan, filter: CatalogueFilter): Promise<MemoryHits | number> {
    const found = await this.#rank(unit, input, wanted, filter);
    if (typeof found === 'number') return found;
    const { ranked, plan } = found;
    const kept = ranked.filter(({ score }) => score >= (input.minScore ?? 0));
    const records = await this.records.read(unit, kept.map(({ id }) => id));
    const scores = new Map(kept.map(({ id, score }) => [id, score]));
    // The catalogue's tags are hashes: the record itself has the last word.
    const hits = records.filter(({ tags }) => (input.tags ?? []).every((tag) => tags.includes(tag))).map((record) => ({ score: scores.get(record.id) ?? 0, memory: toMemory(caller.userId, record) }));
    await logAccess(unit.tx, caller, 'search', hits.length, this.parts.clock.now());
    return { mode: plan.mode, ...(plan.candidates ? qdrantIndex : sealedIndex), space: plan.space, fallback: plan.fallback, hits };
  }

  /** Candidates of another index, where the tenant has one. */
  async #asked(caller: MemoryCaller, plan: Plan, limit: number): Promise<Plan> {
    if (plan.space === null || !plan.vector || (await this.parts.policies.of(caller.tenantId)).index === 'sealed') return plan;
    const candidates = (await this.parts.qdrant?.ask(caller, plan.space, plan.vector, limit)) ?? null;
    return { ...plan, candidates, fallback: candidates ? null : 'memory.index' };
  }

  /** How it is done: the query is embedded here, before any transaction. */
  async #plan(caller: MemoryCaller, input: SearchMemory): Promise<Plan> {
    const lexical = (fallback: string | null): Plan => ({ mode: 'lexical', space: null, vector: null, fallback, candidates: null });
    if (input.mode === 'lexical') return lexical(null);
    try {
      const embedded = await this.parts.embedder.embed(caller.tenantId, 'query', [input.query]);
      const vector = embedded?.vectors[0];
      if (!embedded || !vector) return lexical(input.mode === undefined ? null : 'unsupported');
      return { mode: input.mode ?? 'hybrid', space: embedded.space, vector, fallback: null, candidates: null };
    } catch (error) {
      if (!isProblem(error, 'memory.embeddings')) throw error;
      this.parts.log.warn({ err: error, tenantId: caller.tenantId }, 'a search is lexical only');
      return lexical('memory.embeddings');
    }
  }

  /** Where no vector is there to compare with, words alone decide, and the plan that comes back says so. */
  async #rank(unit: MemoryUnit, input: SearchMemory, plan: Plan, filter: CatalogueFilter): Promise<{ ranked: Fused[]; plan: Plan } | number> {
    const depth = depthOf(input, plan);
    if (plan.space === null || !plan.vector) return { ranked: fuse(await this.#lexical(unit, input, depth, filter), input.k), plan };
    const { space, vector, candidates } = plan;
    if (candidates) {
      const hits = await this.#far(unit, candidates, vector, depth, filter);
      if (hits === null) return this.#rank(unit, input, { ...plan, candidates: null, fallback: 'memory.index' }, filter);
      return typeof hits === 'number' ? hits : this.#fused(unit, input, plan, hits, depth, filter);
    }
    const hits = await this.#near(unit, space, vector, depth, filter);
    if (hits === null) return this.#rank(unit, input, { mode: 'lexical', space: null, vector: null, fallback: 'memory.embeddings', candidates: null }, filter);
    return this.#fused(unit, input, plan, hits, depth, filter);
  }

  /** Words and their parts together are one voice beside the vectors. */
  async #fused(unit: MemoryUnit, input: SearchMemory, plan: Plan, vectors: VectorHit[], depth: number, filter: CatalogueFilter): Promise<{ ranked: Fused[]; plan: Plan }> {
    if (plan.mode === 'semantic') return { ranked: byScore(vectors), plan };
    return { ranked: fuse([fuse(await this.#lexical(unit, input, depth, filter), depth), vectors], input.k), plan };
  }

  #lexical(unit: MemoryUnit, input: SearchMemory, k: number, filter: CatalogueFilter): Promise<{ id: string }[][]> {
    const features = featuresOf(input.query);
    return unit.open([catalogueStream, wordsStream], ([catalogue, words]) => {
      const accepts = (catalogue as CatalogueStore).filter(filter);
      return [(words as WordsStore).byWords(features, k, accepts), (words as WordsStore).byParts(features, k, accepts)];
    });
  }

  /** Null: the sealed index holds no vector of this space. */
  #near(unit: MemoryUnit, space: string, vector: Float32Array, k: number, filter: CatalogueFilter): Promise<VectorHit[] | null> {
    return unit.open([catalogueStream, vectorStream(space)], ([catalogue, store]) => {
      const vectors = store as VectorStore;
      return vectors.dimensions === vector.length && vectors.size > 0 ? vectors.nearest(vector, k, (catalogue as CatalogueStore).filter(filter)) : null;
    });
  }

  async #far(unit: MemoryUnit, candidates: Candidates, vector: Float32Array, k: number, filter: CatalogueFilter): Promise<VectorHit[] | number | null> {
    const accepted = (ids: string[]): Promise<string[]> =>
      unit.catalogue((catalogue) => {
        const accepts = catalogue.filter(filter);
        return ids.filter((id) => accepts(idToBytes(id), 0));
      });
    return (await this.parts.qdrant?.rank(unit, candidates, { vector, k, accepted })) ?? null;
  }
}

const depthOf = ({ k }: SearchMemory, { mode }: Plan): number => (mode === 'semantic' ? k : k * deeper);

/** Cosines as shares of the best one, so that scores of every mode read alike; what points away from the query is no hit. */
function byScore(hits: readonly VectorHit[]): Fused[] {
  const best = hits[0]?.score ?? 0;
  return hits.filter(({ score }) => score > 0).map(({ id, score }) => ({ id, score: score / best }));
}

const timeOf = (given: string | undefined): number | undefined => (given === undefined ? undefined : Date.parse(given));
