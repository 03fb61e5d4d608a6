import type { Schemas } from '@qdrant/js-client-rest';
import type { z } from 'zod';
import { type EmulatedAnswer, type EmulatedRequest, HttpEmulator } from './http-emulator';
import { type NewCollection, qdrantBodies, type Strict, type Wanted } from './qdrant-shapes';

interface StoredPoint {
  id: string;
  vector: Float32Array;
  payload: Record<string, unknown>;
}

interface Collection {
  readonly made: NewCollection;
  /** Fields of payloads that are indexed. */
  readonly indexed: Set<string>;
  /** By shard key; '' where there are none. */
  readonly shards: Map<string, Map<string, StoredPoint>>;
}

class Refused extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

export interface QdrantEmulatorOptions {
  readonly apiKey?: string;
  /** As a cluster, which has shards by name; else as a server of one node, which refuses them. */
  readonly clustered?: boolean;
}

/** How a request goes wrong: refused before anything is done, or answered by an error though all was done. */
export type QdrantFault = 'before' | 'after' | null;

/**
 * The part of Qdrant's REST API (1.19) that libs/memory speaks, in one process's memory, stricter than Qdrant: whatever is not in qdrant-shapes.ts is refused, as are a filter without an index, a missing
 * shard key, another size, too large a limit or batch, and a change that does not wait for its end. Not a Qdrant: no consensus, no optimiser, no snapshots, no tombstones.
 */
export class QdrantEmulator {
  http!: HttpEmulator;
  /** Asked for each request, with its place since start. */
  fault: (call: number, request: EmulatedRequest) => QdrantFault = () => null;
  calls = 0;
  readonly #collections = new Map<string, Collection>();

  private constructor(private readonly options: QdrantEmulatorOptions) {}

  static async start(options: QdrantEmulatorOptions = {}): Promise<QdrantEmulator> {
    const emulator = new QdrantEmulator(options);
    emulator.http = await HttpEmulator.start((request) => emulator.#answer(request));
    return emulator;
  }

  get url(): string {
    return this.http.url;
  }

  /** Everything that it holds. */
  points(): { collection: string; shard: string; id: string; vector: Float32Array; payload: Record<string, unknown> }[] {
    return [...this.#collections].flatMap(([collection, { shards }]) => [...shards].flatMap(([shard, points]) => [...points.values()].map((point) => ({ collection, shard, ...point }))));
  }

  /** As a server that lost its disk. */
  forget(): void {
    this.#collections.clear();
  }

  /** As a server put back from a snapshot of before these points. */
  losePoints(count: number): void {
    for (const { shards } of this.#collections.values()) for (const points of shards.values()) for (const id of [...points.keys()].slice(0, count)) points.delete(id);
  }

  close(): Promise<void> {
    return this.http.close();
  }

  #answer(request: EmulatedRequest): EmulatedAnswer {
    const fault = this.fault(this.calls++, request);
    const headers = { 'content-type': 'application/json' };
    const refused = (status: number, error: string): EmulatedAnswer => ({ status, headers, body: JSON.stringify({ status: { error }, time: 0 }) });
    if (fault === 'before') return refused(503, 'Service internal error');
    try {
      if (this.options.apiKey !== undefined && request.headers['api-key'] !== this.options.apiKey) throw new Refused(401, 'Must provide an API key or an Authorization bearer token');
      const result = this.#route(request);
      return fault === 'after' ? refused(500, 'Service internal error') : { status: 200, headers, body: JSON.stringify({ result, status: 'ok', time: 0 }) };
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      return refused(error.status, error.message);
    }
  }

  #route({ method, path, body }: EmulatedRequest): unknown {
    const url = new URL(path, 'http://qdrant');
    const route = `${method} ${url.pathname.replace(/^\/collections\/[^/]+/, '/c')}`;
    const name = url.pathname.split('/')[2] ?? '';
    const parameters = [...url.searchParams.keys()].filter((key) => key !== 'wait');
    if (parameters.length > 0) throw new Refused(400, `unknown parameters ${parameters.join(', ')}`);
    const waits = (): void => {
      if (url.searchParams.get('wait') !== 'true') throw new Refused(400, 'a change that nobody waits for');
    };
    const given = <T>(schema: z.ZodType<T>): T => {
      const parsed = schema.safeParse(JSON.parse(body === '' ? '{}' : body));
      if (!parsed.success) throw new Refused(400, `Format error in JSON body: ${parsed.error.message}`);
      return parsed.data;
    };
    switch (route) {
      case 'GET /cluster':
        return this.#cluster();
      case 'GET /c/exists':
        return { exists: this.#collections.has(name) } satisfies Schemas['CollectionExistence'];
      case 'PUT /c':
        return this.#create(name, given(qdrantBodies.collection));
      case 'GET /c':
        return this.#info(this.#find(name));
      case 'PUT /c/index':
        waits();
        this.#find(name).indexed.add(given(qdrantBodies.index).field_name);
        return done;
      case 'GET /c/shards':
        return { shard_keys: [...this.#find(name).shards.keys()].filter((key) => key !== '').map((key) => ({ key })) } satisfies Schemas['ShardKeysResponse'];
      case 'PUT /c/shards':
        return this.#addShard(this.#find(name), given(qdrantBodies.shard).shard_key);
      case 'PUT /c/points':
        waits();
        return this.#upsert(this.#find(name), given(qdrantBodies.upsert));
      case 'POST /c/points/delete':
        waits();
        return this.#remove(this.#find(name), given(qdrantBodies.remove));
      case 'POST /c/points/count':
        return this.#count(this.#find(name), given(qdrantBodies.count));
      case 'POST /c/points/scroll':
        return this.#scroll(this.#find(name), given(qdrantBodies.scroll));
      case 'POST /c/points/query':
        return this.#query(this.#find(name), given(qdrantBodies.query));
      default:
        throw new Refused(404, `no such route: ${route}`);
    }
  }

  #cluster(): Schemas['ClusterStatus'] {
    if (!this.options.clustered) return { status: 'disabled' };
    const raft = { term: 1, commit: 1, pending_operations: 0, leader: 1, role: 'Leader', is_voter: true } as const;
    return { status: 'enabled', peer_id: 1, peers: {}, raft_info: raft, consensus_thread_status: { consensus_thread_status: 'working', last_update: '2026-01-01T00:00:00Z' }, message_send_failures: {} };
  }

  #find(name: string): Collection {
    const found = this.#collections.get(name);
    if (!found) throw new Refused(404, `Not found: Collection \`${name}\` doesn't exist!`);
    return found;
  }

  #create(name: string, made: NewCollection): boolean {
    if (this.#collections.has(name)) throw new Refused(409, `Wrong input: Collection \`${name}\` already exists!`);
    if (made.sharding_method === 'custom' && !this.options.clustered) throw new Refused(400, 'Bad request: Custom sharding is only supported in distributed mode');
    this.#collections.set(name, { made, indexed: new Set(), shards: new Map(made.sharding_method === 'custom' ? [] : [['', new Map<string, StoredPoint>()]]) });
    return true;
  }

  #info({ made, indexed, shards }: Collection): Pick<Schemas['CollectionInfo'], 'status' | 'points_count'> & { config: { params: Schemas['CollectionParams'] }; payload_schema: object } {
    const { vectors, sharding_method } = made;
    const points = [...shards.values()].reduce((sum, one) => sum + one.size, 0);
    return { status: 'green', points_count: points, config: { params: { vectors, ...(sharding_method && { sharding_method }) } }, payload_schema: Object.fromEntries([...indexed].map((field) => [field, { data_type: 'uuid' }])) };
  }

  #addShard({ made, shards }: Collection, key: string): boolean {
    if (made.sharding_method !== 'custom') throw new Refused(400, 'Bad request: Shard Key cannot be created with Auto sharding method');
    if (shards.has(key)) throw new Refused(409, `Bad request: Sharding key ${key} already exists`);
    shards.set(key, new Map());
    return true;
  }

  #shard({ made, shards }: Collection, key: string | undefined): Map<string, StoredPoint> {
    if (made.sharding_method === 'custom' && key === undefined) throw new Refused(400, 'Bad request: Shard key not specified');
    if (made.sharding_method !== 'custom' && key !== undefined) throw new Refused(400, 'Bad request: Shard key is not supported with Auto sharding method');
    const shard = shards.get(key ?? '');
    if (!shard) throw new Refused(404, `Not found: Shard key ${key} not found`);
    return shard;
  }

  #upsert(collection: Collection, { points, shard_key }: z.output<typeof qdrantBodies.upsert>): Schemas['UpdateResult'] {
    const shard = this.#shard(collection, shard_key);
    if (points.length > this.#strict(collection).upsert_max_batchsize) throw new Refused(403, 'Forbidden: Limit exceeded for "upsert" batch size');
    for (const { vector } of points) this.#requireSize(collection, vector);
    for (const { id, vector, payload } of points) shard.set(id, { id, vector: Float32Array.from(vector), payload });
    return done;
  }

  #remove(collection: Collection, { points, filter, shard_key }: z.output<typeof qdrantBodies.remove>): Schemas['UpdateResult'] {
    const shard = this.#shard(collection, shard_key);
    for (const id of points ?? this.#matching(collection, shard, filter as Wanted).map((point) => point.id)) shard.delete(id);
    return done;
  }

  #count(collection: Collection, { filter, shard_key }: z.output<typeof qdrantBodies.count>): Schemas['CountResult'] {
    return { count: this.#matching(collection, this.#shard(collection, shard_key), filter).length };
  }

  #scroll(collection: Collection, { filter, limit, offset, shard_key }: z.output<typeof qdrantBodies.scroll>): Schemas['ScrollResult'] {
    this.#requireLimit(collection, limit);
    const ids = this.#matching(collection, this.#shard(collection, shard_key), filter).map(({ id }) => id).sort();
    const from = offset === undefined ? ids : ids.filter((id) => id >= offset);
    return { points: from.slice(0, limit).map((id) => ({ id })), next_page_offset: from[limit] ?? null };
  }

  #query(collection: Collection, { query, filter, limit, params, shard_key }: z.output<typeof qdrantBodies.query>): Schemas['QueryResponse'] {
    this.#requireLimit(collection, limit);
    this.#requireSize(collection, query);
    if (params.exact && !this.#strict(collection).search_allow_exact) throw new Refused(403, 'Forbidden: Exact search is disabled!');
    const wanted = Float32Array.from(query);
    const score = ({ vector }: StoredPoint): number => Math.fround(vector.reduce((sum, value, index) => sum + value * (wanted[index] ?? 0), 0));
    const scored = this.#matching(collection, this.#shard(collection, shard_key), filter).map((point) => ({ id: point.id, version: 0, score: score(point) }));
    return { points: scored.sort((a, b) => b.score - a.score).slice(0, limit) };
  }

  #matching({ indexed }: Collection, shard: Map<string, StoredPoint>, { must: [{ key, match }] }: Wanted): StoredPoint[] {
    if (!indexed.has(key)) throw new Refused(400, `Bad request: Index required but not found for "${key}" of one of the following types: [uuid]`);
    return [...shard.values()].filter(({ payload }) => payload[key] === match.value);
  }

  #strict({ made }: Collection): Strict {
    return made.strict_mode_config;
  }

  #requireLimit(collection: Collection, limit: number): void {
    if (limit > this.#strict(collection).max_query_limit) throw new Refused(403, `Forbidden: Limit exceeded ${limit} > ${this.#strict(collection).max_query_limit} for "limit"`);
  }

  #requireSize({ made }: Collection, vector: readonly number[]): void {
    if (vector.length !== made.vectors.size) throw new Refused(400, `Wrong input: Vector dimension error: expected dim: ${made.vectors.size}, got ${vector.length}`);
  }
}

const done: Schemas['UpdateResult'] = { operation_id: 0, status: 'completed' };
