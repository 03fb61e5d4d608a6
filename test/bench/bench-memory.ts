import { SetMemoryPolicy, type Principal } from '@alcove/contracts';
import { encodeVector, exactDot, type MemoryCaller, type MemoryService, VectorMemory, VectorStore } from '@alcove/memory';
import { percentile, summarise, target } from './figures';
import { Corpus, dimensions } from './memory/corpus';
import { ownMemory } from './memory/own-database';
import type { BenchOptions, BenchReport } from './report';

type Found = Pick<BenchReport, 'figures' | 'targets'>;

const sizes = [1_000, 10_000, 100_000];
/** Where the targets are. */
const judged = 10_000;
const k = 10;
const queries = 20;
const operator: Principal = { kind: 'platform', keyId: 'platform', tenantId: null, scopes: ['platform'], ratePerSecond: 1, concurrent: 1 };

/** What it costs to remember and to search: the service on a database of its own, embeddings made in this process. `cold`: nothing of the user is open; keys and connections are. */
export async function benchMemory(root: string, options: BenchOptions): Promise<Found> {
  const own = await ownMemory(root);
  try {
    const corpus = new Corpus();
    const memory = own.service({ fetcher: corpus.fetcher, openBytes: 2 ** 31 });
    await memory.setPolicy(operator, own.tenantId, SetMemoryPolicy.parse({ embeddings: { baseUrl: 'http://embeddings.invalid/v1', model: 'bench' } }));
    const found: Found = { figures: {}, targets: [] };
    for (const size of sizes) {
      const caller: MemoryCaller = { tenantId: own.tenantId, userId: `user-${size}`, actor: 'bench', channel: 'api', purpose: 'bench' };
      merge(found, await atSize(memory, caller, corpus, size, options, own.analyse));
      memory.close(caller);
    }
    merge(found, scans(corpus, options));
    return found;
  } finally {
    await own.close();
  }
}

function merge(into: Found, more: Found): void {
  Object.assign(into.figures, more.figures);
  into.targets.push(...more.targets);
}

async function atSize(memory: MemoryService, caller: MemoryCaller, corpus: Corpus, size: number, { samples, say }: BenchOptions, analyse: () => Promise<void>): Promise<Found> {
  const label = (what: string): string => `${size} records: ${what}`;
  for (let from = 0; from < size; from += 500) {
    say(`${from} of ${size} records`);
    await memory.addMany(caller, Array.from({ length: Math.min(500, size - from) }, (_, index) => corpus.record(from + index)));
  }
  await analyse();
  const search = (mode: 'semantic' | 'lexical' | 'hybrid', number: number): Promise<unknown> => memory.search(caller, { query: `${corpus.record(number).content.slice(0, 30)} #${number}`, k, mode });
  say(`${size}: cold`);
  const cold = await timed(Math.min(samples, 20), async (index) => search('semantic', index * 7), () => memory.close(caller));
  const openSemantic = memory.open.bytes;
  const coldHybrid = await timed(Math.min(samples, 20), async (index) => search('hybrid', index * 7), () => memory.close(caller));
  const openHybrid = memory.open.bytes;
  say(`${size}: warm`);
  const warm = await timed(samples * 4, (index) => search('semantic', index % size));
  const lexical = await timed(samples, (index) => search('lexical', index % size));
  const hybrid = await timed(samples, (index) => search('hybrid', index % size));
  const recall = await recallAt(memory, caller, corpus, size);
  say(`${size}: adding`);
  const adds = await timed(samples, (index) => memory.add(caller, corpus.record(size + index)));
  return {
    figures: {
      [label('add one, ms')]: summarise(adds),
      [label('search semantic, warm, ms')]: summarise(warm),
      [label('search lexical, warm, ms')]: summarise(lexical),
      [label('search hybrid, warm, ms')]: summarise(hybrid),
      [label('search semantic, cold, ms')]: summarise(cold),
      [label('search hybrid, cold, ms')]: summarise(coldHybrid),
      [label('recall@10 against exact')]: recall,
      [label('RAM open for semantic search, MiB')]: mebibytes(openSemantic),
      [label('RAM open for hybrid search, MiB')]: mebibytes(openHybrid),
    },
    targets: [
      target(label('recall@10 against exact'), recall, '>=', 1),
      ...(size === judged ? [target(label('search semantic, warm, p50, ms'), percentile(warm, 50), '<=', 5), target(label('search semantic, cold, p50, ms'), percentile(cold, 50), '<=', 30)] : []),
    ],
  };
}

const mebibytes = (bytes: number): number => Math.round((bytes / 2 ** 20) * 10) / 10;

async function timed(count: number, run: (index: number) => Promise<unknown>, before: () => void = () => undefined): Promise<number[]> {
  const times: number[] = [];
  // The first is not counted: statements are prepared, code is compiled.
  for (let index = -1; index < count; index++) {
    before();
    const started = performance.now();
    await run(index + 1);
    if (index >= 0) times.push(performance.now() - started);
  }
  return times;
}

/** The share of the ten nearest, by doubles over all vectors, that a search gives. */
async function recallAt(memory: MemoryService, caller: MemoryCaller, corpus: Corpus, size: number): Promise<number> {
  let right = 0;
  for (let query = 0; query < queries; query++) {
    const number = size + 1_000 + query;
    const vector = corpus.vector(number);
    const nearest = Array.from({ length: size }, (_, index) => ({ index, score: exactDot(vector, corpus.vector(index)) })).sort((a, b) => b.score - a.score).slice(0, k);
    const wanted = new Set(nearest.filter(({ score }) => score > 0).map(({ index }) => corpus.record(index).content));
    const { hits } = await memory.search(caller, { query: `#${number}`, k, mode: 'semantic' });
    right += hits.filter(({ memory: { content } }) => wanted.has(content)).length / wanted.size;
  }
  return right / queries;
}

/** The scan of an opened sealed index against plain vectors: by the same instructions, and by a loop over a Float32Array. Rounds alternate, so that both meet the same machine. */
function scans(corpus: Corpus, { say }: BenchOptions): Found {
  say('scans');
  const store = new VectorStore();
  const plain = new VectorMemory(dimensions);
  const flat = new Float32Array(judged * dimensions);
  for (let index = 0; index < judged; index++) {
    const id = Buffer.alloc(10);
    id.writeUInt32LE(Math.imul(index, 0x9e3779b1) >>> 0);
    id.writeUInt32LE(index, 4);
    const source = Buffer.concat([id, encodeVector(1, corpus.vector(index))]);
    store.put(source, 0, 10, source.length);
    plain.write(index, new Uint8Array(corpus.vector(index).buffer), 0);
    flat.set(corpus.vector(index), index * dimensions);
  }
  const rounds = 60;
  const times = { sealed: [] as number[], plain: [] as number[], loop: [] as number[] };
  const measure = (into: number[], run: () => unknown): void => {
    const started = performance.now();
    run();
    into.push(performance.now() - started);
  };
  for (let round = -5; round < rounds; round++) {
    const query = corpus.vector(judged + 300 + Math.max(0, round));
    const into = round < 0 ? { sealed: [], plain: [], loop: [] } : times;
    measure(into.sealed, () => store.nearest(query, k, () => true));
    measure(into.plain, () => bestOf(plainScores(plain, query)));
    measure(into.loop, () => bestOf(loopScores(flat, query)));
  }
  const ratio = percentile(times.sealed, 50) / percentile(times.loop, 50);
  return {
    figures: {
      [`${judged} vectors: scan of the opened sealed index, ms`]: summarise(times.sealed),
      [`${judged} vectors: the same instructions on plain vectors, ms`]: summarise(times.plain),
      [`${judged} vectors: a loop over a plain Float32Array, ms`]: summarise(times.loop),
      'sealed scan against the same instructions on plain vectors': Math.round((percentile(times.sealed, 50) / percentile(times.plain, 50)) * 1000) / 1000,
    },
    targets: [target('sealed scan against a plain Float32 scan, p50', ratio, '<=', 1.1)],
  };
}

function plainScores(plain: VectorMemory, query: Float32Array): Float32Array {
  const scores = new Float32Array(judged);
  plain.scan(query, judged, (block, first) => scores.set(block, first));
  return scores;
}

function loopScores(flat: Float32Array, query: Float32Array): Float32Array {
  const scores = new Float32Array(judged);
  for (let index = 0; index < judged; index++) {
    let sum = 0;
    const start = index * dimensions;
    for (let i = 0; i < dimensions; i++) sum += (flat[start + i] ?? 0) * (query[i] ?? 0);
    scores[index] = sum;
  }
  return scores;
}

function bestOf(scores: Float32Array): number[] {
  const best: number[] = [];
  for (let index = 0; index < scores.length; index++) {
    const score = scores[index] ?? 0;
    if (best.length === k && score <= (scores[best[k - 1] ?? 0] ?? 0)) continue;
    let at = best.length;
    while (at > 0 && (scores[best[at - 1] ?? 0] ?? 0) < score) at -= 1;
    best.splice(at, 0, index);
    if (best.length > k) best.pop();
  }
  return best;
}
