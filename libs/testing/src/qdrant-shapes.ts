import type { Schemas } from '@qdrant/js-client-rest';
import { z } from 'zod';

/** What the emulator takes of Qdrant's API: a part of what the client's own types allow, as the annotations say. Qdrant passes over fields that it does not know; this refuses them. */
/** Qdrant reads 16 bytes of any kind, whatever version and variant they would be of. */
const uuid = z.guid();
const vector = z.array(z.number()).min(1);
const shardKey = z.string().min(1);
const filter: z.ZodType<Wanted> = z.strictObject({ must: z.tuple([z.strictObject({ key: z.string(), match: z.strictObject({ value: z.string() }) })]) });

/** The one kind of filter: a field has this value. */
export interface Wanted extends Pick<Schemas['Filter'], 'must'> {
  must: [{ key: string; match: { value: string } }];
}
export type Body<T> = T & { shard_key?: string | undefined };
export type NewPoint = Pick<Schemas['PointStruct'], 'id' | 'payload'> & { id: string; vector: number[]; payload: Record<string, unknown> };
export type NewCollection = Pick<Schemas['CreateCollection'], 'hnsw_config' | 'sharding_method' | 'shard_number'> & { vectors: { size: number; distance: 'Dot' }; strict_mode_config: Strict };
export type Strict = Required<Record<'enabled' | 'unindexed_filtering_retrieve' | 'unindexed_filtering_update' | 'search_allow_exact', boolean> & Record<'max_query_limit' | 'upsert_max_batchsize', number>>;
export type NewIndex = Schemas['CreateFieldIndex'] & { field_schema: { type: 'uuid'; is_tenant: true } };

const collection: z.ZodType<NewCollection> = z.strictObject({
  vectors: z.strictObject({ size: z.int().min(1).max(65_536), distance: z.literal('Dot') }),
  hnsw_config: z.strictObject({ m: z.literal(0) }),
  sharding_method: z.literal('custom').optional(),
  shard_number: z.literal(1).optional(),
  strict_mode_config: z.strictObject({
    enabled: z.literal(true), unindexed_filtering_retrieve: z.literal(false), unindexed_filtering_update: z.literal(false), search_allow_exact: z.boolean(),
    max_query_limit: z.int().min(1), upsert_max_batchsize: z.int().min(1),
  }),
});
const index: z.ZodType<NewIndex> = z.strictObject({ field_name: z.string(), field_schema: z.strictObject({ type: z.literal('uuid'), is_tenant: z.literal(true) }) });
const upsert: z.ZodType<Body<{ points: NewPoint[] }>> = z.strictObject({ points: z.array(z.strictObject({ id: uuid, vector, payload: z.record(z.string(), z.unknown()) })).min(1), shard_key: shardKey.optional() });
const remove: z.ZodType<Body<{ points?: string[] | undefined; filter?: Wanted | undefined }>> = z
  .strictObject({ points: z.array(uuid).min(1).optional(), filter: filter.optional(), shard_key: shardKey.optional() })
  .refine(({ points, filter: chosen }) => (points === undefined) !== (chosen === undefined), 'either points or a filter');
const count: z.ZodType<Body<{ filter: Wanted; exact: true }>> = z.strictObject({ filter, exact: z.literal(true), shard_key: shardKey.optional() });
const plain = { with_payload: z.literal(false), with_vector: z.literal(false), shard_key: shardKey.optional() };
const scroll: z.ZodType<Body<{ filter: Wanted; limit: number; offset?: string | undefined }>> = z.strictObject({ filter, limit: z.int().min(1), offset: uuid.optional(), ...plain });
const query: z.ZodType<Body<{ query: number[]; filter: Wanted; limit: number; params: { exact: boolean } }>> = z.strictObject({ query: vector, filter, limit: z.int().min(1), params: z.strictObject({ exact: z.boolean() }), ...plain });
const shard: z.ZodType<{ shard_key: string }> = z.strictObject({ shard_key: shardKey });

export const qdrantBodies = { collection, index, upsert, remove, count, scroll, query, shard };
