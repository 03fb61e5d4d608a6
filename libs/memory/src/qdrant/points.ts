import { limits, type Secret } from '@alcove/base';
import { isProblem, Problem } from '@alcove/contracts';
import { QdrantClient } from '@qdrant/js-client-rest';
import { shardKeys } from './transform/vector-cloak';

/** A Qdrant server. */
export interface QdrantServer {
  /** `http://…` or `https://…`; port 6333 where none is said, as Qdrant's own clients have it. */
  readonly url: string;
  readonly apiKey: Secret<string> | null;
}

/** Where all points of one user, space and key version are. */
export interface PointsPlace {
  readonly collection: string;
  readonly tag: string;
  readonly shardKey: string;
}

export interface Point {
  readonly id: string;
  readonly vector: number[];
  /** Of the record. */
  readonly version: number;
}

/** A point that was found; `score`: the dot product. */
export interface Found {
  readonly id: string;
  readonly score: number;
}

const tagField = 'u';
const everyShardKey = Array.from({ length: shardKeys }, (_, index) => `b${String(index).padStart(2, '0')}`);

/** Points in collections of a Qdrant server, one collection per embedding space. Every call's Problem: `memory.index` (no answer in time, or a refusal). Never called in a transaction. */
export class QdrantPoints {
  readonly #client: QdrantClient;
  /** For what somebody waits for. */
  readonly #quick: QdrantClient;
  /** Collections that were looked at, and whether their points are in shards by name: a server of one node has none. */
  readonly #sharded = new Map<string, boolean>();
  /** Those that have all that they need. */
  readonly #ready = new Set<string>();

  constructor({ url, apiKey }: QdrantServer) {
    const { protocol, hostname, pathname } = new URL(url);
    const port = Number(/^[^/]*\/\/[^/]*:(\d+)/.exec(url)?.[1] ?? 6333);
    const prefix = pathname.replace(/\/$/, '');
    // The key as a header: given as an option, the client writes a line to the console when the address is not https.
    const headers = apiKey ? { 'api-key': apiKey.expose() } : {};
    const open = (timeout: number): QdrantClient => new QdrantClient({ host: hostname, port, https: protocol === 'https:', ...(prefix && { prefix }), headers, timeout, checkCompatibility: false });
    this.#client = open(limits.memory.qdrantMs);
    this.#quick = open(limits.memory.qdrantQueryMs);
  }

  /** Makes the collection when it is not there. Problem `memory.index` also for one with vectors of another size. */
  async ready(collection: string, size: number): Promise<void> {
    if (this.#ready.has(collection)) return;
    await this.#ask(collection, async () => {
      if (!(await this.#client.collectionExists(collection)).exists) await this.#create(collection, size);
      await this.#complete(collection, size);
    });
  }

  /** Adds or replaces, at most `limits.memory.qdrantPoints`. */
  async upsert({ collection, tag, shardKey }: PointsPlace, points: readonly Point[]): Promise<void> {
    const sent = points.map(({ id, vector, version }) => ({ id, vector, payload: { [tagField]: tag, v: version } }));
    await this.#ask(collection, async () => this.#client.upsert(collection, { points: sent, ...(await this.#shard(collection, shardKey)), wait: true }));
  }

  async remove({ collection, shardKey }: PointsPlace, ids: readonly string[]): Promise<void> {
    await this.#ask(collection, async () => this.#client.delete(collection, { points: [...ids], ...(await this.#shard(collection, shardKey)), wait: true }));
  }

  /** Those of this place; a collection that is not there holds none. Problem `memory.index` also when some are left. */
  async removeAll(place: PointsPlace): Promise<void> {
    const { collection, tag, shardKey } = place;
    const removed = this.#ask(collection, async () => {
      // Whoever made it may have been killed before it was complete.
      if (!this.#ready.has(collection)) await this.#complete(collection);
      await this.#client.delete(collection, { filter: having(tag), ...(await this.#shard(collection, shardKey)), wait: true });
    });
    await unlessMissing(removed);
    const left = await this.count(place);
    if (left > 0) throw new Problem('memory.index', { detail: `${left} points are still there after they were removed` });
  }

  async count({ collection, tag, shardKey }: PointsPlace): Promise<number> {
    const answer = await unlessMissing(this.#ask(collection, async () => this.#client.count(collection, { filter: having(tag), exact: true, ...(await this.#shard(collection, shardKey)) })));
    return answer?.count ?? 0;
  }

  /** The names of all points of this place, page by page. */
  async *names({ collection, tag, shardKey }: PointsPlace): AsyncGenerator<string[]> {
    for (let offset: string | undefined; ; ) {
      const from = offset === undefined ? {} : { offset };
      const page = await this.#ask(collection, async () =>
        this.#client.scroll(collection, { filter: having(tag), limit: limits.memory.qdrantPoints, ...from, with_payload: false, with_vector: false, ...(await this.#shard(collection, shardKey)) }),
      );
      yield page.points.map(({ id }) => String(id));
      if (page.next_page_offset === null || page.next_page_offset === undefined) return;
      offset = String(page.next_page_offset);
    }
  }

  /** The `limit` nearest by dot product, exactly, the nearest first; none in a collection that is not there. */
  async nearest({ collection, tag, shardKey }: PointsPlace, query: number[], limit: number): Promise<Found[]> {
    const asked = this.#ask(collection, async () =>
      this.#quick.query(collection, { query, filter: having(tag), params: { exact: true }, limit, with_payload: false, with_vector: false, ...(await this.#shard(collection, shardKey)) }),
    );
    return ((await unlessMissing(asked))?.points ?? []).map(({ id, score }) => ({ id: String(id), score }));
  }

  async #create(collection: string, size: number): Promise<void> {
    const { data } = await this.#client.api().clusterStatus({});
    // Only a cluster has shards by name.
    const sharding = data.result?.status === 'enabled' ? { sharding_method: 'custom' as const, shard_number: 1 } : {};
    try {
      await this.#client.createCollection(collection, {
        vectors: { size, distance: 'Dot' },
        // No graph: a user's points are looked through one by one, which is exact, and a graph over all would mix users.
        hnsw_config: { m: 0 },
        ...sharding,
        strict_mode_config: {
          enabled: true, unindexed_filtering_retrieve: false, unindexed_filtering_update: false, search_allow_exact: true,
          max_query_limit: limits.memory.fetchedAtMost, upsert_max_batchsize: limits.memory.qdrantPoints,
        },
      });
    } catch (error) {
      // Another process was quicker.
      if (!(await this.#client.collectionExists(collection)).exists) throw error;
    }
  }

  /** What a collection needs beside itself; each of it may be there already, from this process or another one. */
  async #complete(collection: string, size?: number): Promise<void> {
    await this.#client.createPayloadIndex(collection, { field_name: tagField, field_schema: { type: 'uuid', is_tenant: true }, wait: true });
    if (await this.#look(collection, size)) await this.#createShardKeys(collection);
    this.#ready.add(collection);
  }

  async #createShardKeys(collection: string): Promise<void> {
    const known = async (): Promise<Set<string>> => new Set((await this.#client.listShardKeys(collection)).shard_keys?.map(({ key }) => String(key)));
    const there = await known();
    for (const shardKey of everyShardKey) {
      if (there.has(shardKey)) continue;
      try {
        await this.#client.createShardKey(collection, { shard_key: shardKey });
      } catch (error) {
        if (!(await known()).has(shardKey)) throw error;
      }
    }
  }

  async #shard(collection: string, shardKey: string): Promise<{ shard_key?: string }> {
    return (this.#sharded.get(collection) ?? (await this.#look(collection))) ? { shard_key: shardKey } : {};
  }

  async #look(collection: string, size?: number): Promise<boolean> {
    const { params } = (await this.#client.getCollection(collection)).config;
    const vectors = params.vectors as { size?: unknown; distance?: unknown } | undefined;
    if (vectors?.distance !== 'Dot' || (size !== undefined && vectors.size !== size)) throw new Problem('memory.index', { detail: 'a collection of this name holds vectors of another kind' });
    const sharded = params.sharding_method === 'custom';
    this.#sharded.set(collection, sharded);
    return sharded;
  }

  async #ask<T>(collection: string, call: () => Promise<T>): Promise<T> {
    try {
      return await call();
    } catch (cause) {
      // It may have been removed, or put back from a snapshot: it is looked at anew.
      this.#sharded.delete(collection);
      this.#ready.delete(collection);
      if (cause instanceof Problem) throw cause;
      throw new Problem('memory.index', { detail: `Qdrant: ${whyOf(cause)}`, cause });
    }
  }
}

async function unlessMissing<T>(asked: Promise<T>): Promise<T | null> {
  try {
    return await asked;
  } catch (error) {
    if (isProblem(error, 'memory.index') && statusOf(error.cause) === 404) return null;
    throw error;
  }
}

const having = (tag: string) => ({ must: [{ key: tagField, match: { value: tag } }] });
const statusOf = (error: unknown): unknown => (error instanceof Error && 'status' in error ? error.status : undefined);

function whyOf(error: unknown): string {
  const status = statusOf(error);
  return typeof status === 'number' ? `status ${status}` : error instanceof Error ? error.name : 'no answer';
}
