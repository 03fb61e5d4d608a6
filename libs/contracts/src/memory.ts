import { limits } from '@alcove/base';
import { z } from 'zod';
import { UserId } from './rooms';

const bound = limits.memory;

/** What a record is. A `block` has a label and is meant to stand in every prompt; a `procedure` is an instruction that an agent may follow. */
export const memoryKinds = ['fact', 'preference', 'episode', 'procedure', 'block'] as const;
export const MemoryKind = z.enum(memoryKinds);
export type MemoryKind = z.infer<typeof MemoryKind>;

/**
 * Whose word a record is, from the least trusted to the most: `untrusted` anyone's (a web page, an e-mail) · `tool` a tool's output · `agent` the agent's own conclusion ·
 * `application` the tenant's program · `user` the user's own word. What is derived has the lowest label of what it was derived from.
 */
export const trustLabels = ['untrusted', 'tool', 'agent', 'application', 'user'] as const;
export const TrustLabel = z.enum(trustLabels);
export type TrustLabel = z.infer<typeof TrustLabel>;

export const MemoryId = z.string().regex(/^mem_[0-9a-f]{20}$/);
export const MemoryEventId = z.string().regex(/^mev_[0-9a-f]{20}$/);
/** What evidence may point at. */
export const EvidenceId = z.string().regex(/^(mem|mev)_[0-9a-f]{20}$/);

const text = (bytes: number) => z.string().min(1).max(bytes).refine((value) => Buffer.byteLength(value) <= bytes, `at most ${bytes} bytes as UTF-8`);
const content = text(bound.contentBytes);
const title = z.string().min(1).max(bound.titleChars);
const tags = z.array(z.string().min(1).max(bound.tagChars)).max(bound.tags);
const time = z.iso.datetime();

export const MemorySource = z
  .strictObject({
    kind: z.enum(['message', 'document', 'web', 'email', 'tool', 'agent', 'consolidation', 'other']),
    ref: z.string().min(1).max(bound.refChars).nullable().default(null).meta({ description: 'Where it came from, in words of whoever wrote it: sealed like the content' }),
    trust: TrustLabel,
  })
  .meta({ id: 'MemorySource' });
export type MemorySource = z.infer<typeof MemorySource>;

const ordered = (given: { validFrom?: string | null | undefined; validTo?: string | null | undefined }): boolean => !given.validFrom || !given.validTo || given.validFrom <= given.validTo;
const orderedSays = 'validTo: not before validFrom';

/** A new record. Blocks are set by their label instead. */
export const AddMemory = z
  .strictObject({
    kind: MemoryKind.exclude(['block']),
    content,
    title: title.nullable().default(null),
    tags: tags.default([]),
    source: MemorySource,
    confidence: z.number().min(0).max(1).default(1),
    evidence: z.array(EvidenceId).max(bound.evidence).default([]).meta({ description: 'Records and events of the same user that this one was derived from: when one of them is erased, this one is too' }),
    validFrom: time.nullable().default(null),
    validTo: time.nullable().default(null),
    expiresAt: time.nullable().default(null).meta({ description: 'Erased then' }),
    supersedes: MemoryId.nullable().default(null).meta({ description: 'That record is retired in the same step' }),
  })
  .refine(ordered, orderedSays)
  .meta({ id: 'AddMemory' });
export type AddMemory = z.infer<typeof AddMemory>;

/** What is left out stays as it is. */
export const ChangeMemory = z
  .strictObject({ content, title: title.nullable(), tags, source: MemorySource, confidence: z.number().min(0).max(1), validFrom: time.nullable(), validTo: time.nullable(), expiresAt: time.nullable() })
  .partial()
  .refine(ordered, orderedSays)
  .meta({ id: 'ChangeMemory' });
export type ChangeMemory = z.infer<typeof ChangeMemory>;

export const Memory = z
  .strictObject({
    id: MemoryId,
    userId: UserId,
    kind: MemoryKind,
    state: z.enum(['live', 'retired']).meta({ description: 'retired: kept and readable by its id, found by no search' }),
    content: z.string(),
    title: z.string().nullable(),
    tags: z.array(z.string()),
    source: z.strictObject({ kind: MemorySource.shape.kind, ref: z.string().nullable(), trust: TrustLabel }),
    confidence: z.number(),
    evidence: z.array(z.string()),
    supersedes: z.string().nullable(),
    validFrom: time.nullable(),
    validTo: time.nullable(),
    expiresAt: time.nullable(),
    label: z.string().nullable().meta({ description: 'Of a block' }),
    readOnly: z.boolean().meta({ description: 'A block that the agent in the room may not change' }),
    version: z.int().meta({ description: 'For If-Match' }),
    createdAt: time,
    updatedAt: time,
  })
  .meta({ id: 'Memory' });
export type Memory = z.infer<typeof Memory>;

const page = { cursor: z.string().max(512).optional(), limit: z.coerce.number().int().min(1).max(limits.page.max).default(limits.page.default) };
export const ListMemories = z.strictObject({ ...page, kind: MemoryKind.optional(), state: z.enum(['live', 'retired']).optional() });
export type ListMemories = z.infer<typeof ListMemories>;
export const MemoryPage = z.strictObject({ memories: z.array(Memory), nextCursor: z.string().nullable() }).meta({ id: 'MemoryPage' });
export type MemoryPage = z.infer<typeof MemoryPage>;
/** Versions of one record, the newest first. */
export const MemoryHistory = z.strictObject({ versions: z.array(Memory) }).meta({ id: 'MemoryHistory' });
export type MemoryHistory = z.infer<typeof MemoryHistory>;

/** `retire`: hidden and kept. `erase`: gone, with its versions, and with all that was derived from it. */
export const RemoveMemory = z.strictObject({ mode: z.enum(['retire', 'erase']) });
export type RemoveMemory = z.infer<typeof RemoveMemory>;
export const MemoryRemoved = z.strictObject({ mode: z.enum(['retire', 'erase']), ids: z.array(z.string()).meta({ description: 'All that went with it' }) }).meta({ id: 'MemoryRemoved' });
export type MemoryRemoved = z.infer<typeof MemoryRemoved>;

/** How a search was made. `lexical`: by words and their parts; it finds nothing that shares none with the query. */
export const searchModes = ['lexical', 'semantic', 'hybrid'] as const;
export const SearchMode = z.enum(searchModes);
export type SearchMode = z.infer<typeof SearchMode>;

export const SearchMemory = z
  .strictObject({
    query: z.string().min(1).max(bound.queryChars),
    k: z.int().min(1).max(bound.hits).default(10),
    mode: SearchMode.optional().meta({ description: 'Default: hybrid where the tenant has an embeddings endpoint, else lexical. What was asked for and cannot be had is answered lexically, and said' }),
    kinds: z.array(MemoryKind).min(1).optional(),
    tags: tags.min(1).optional().meta({ description: 'All of them' }),
    after: time.optional().meta({ description: 'Written then or later' }),
    before: time.optional().meta({ description: 'Written before' }),
    asOf: time.optional().meta({ description: 'What was valid then; default: what is valid now' }),
    minTrust: TrustLabel.optional(),
    minScore: z.number().min(0).max(1).optional().meta({ description: 'Of the best score of this search: scores are comparable within one answer only' }),
  })
  .meta({ id: 'SearchMemory' });
export type SearchMemory = z.infer<typeof SearchMemory>;

export const MemoryHits = z
  .strictObject({
    mode: SearchMode,
    index: z.enum(['sealed', 'qdrant']),
    leakage: z.enum(['none', 'similarity structure']).meta({ description: 'What whoever reads the index learns beyond how much there is: which memories of one user are alike' }),
    space: z.string().nullable().meta({ description: 'The embedding space that was searched' }),
    fallback: z.string().nullable().meta({ description: 'Why it was made lexically though more was asked for, or by the sealed index though the policy names another: a problem code' }),
    hits: z.array(z.strictObject({ score: z.number().meta({ description: '1: the best of this answer' }), memory: Memory })),
  })
  .meta({ id: 'MemoryHits' });
export type MemoryHits = z.infer<typeof MemoryHits>;

export const BlockLabel = z.string().min(1).max(bound.labelChars).regex(/^[a-z0-9][a-z0-9._-]*$/);
export const SetBlock = z
  .strictObject({ content: text(bound.blockBytes), title: title.nullable().default(null), readOnly: z.boolean().default(false), source: MemorySource, evidence: AddMemory.shape.evidence })
  .meta({ id: 'SetBlock' });
export type SetBlock = z.infer<typeof SetBlock>;
export const MemoryBlocks = z.strictObject({ blocks: z.array(Memory) }).meta({ id: 'MemoryBlocks' });
export type MemoryBlocks = z.infer<typeof MemoryBlocks>;

const session = z.string().min(1).max(bound.sessionChars);
const role = z.enum(['user', 'assistant', 'tool', 'system']);
export const AddMemoryEvent = z.strictObject({ session, role, content, source: MemorySource }).meta({ id: 'AddMemoryEvent' });
export type AddMemoryEvent = z.infer<typeof AddMemoryEvent>;
/** Short-term memory: what was said. It expires by itself. */
export const MemoryEvent = z
  .strictObject({ id: MemoryEventId, session: z.string(), role, content: z.string(), source: Memory.shape.source, createdAt: time, expiresAt: time })
  .meta({ id: 'MemoryEvent' });
export type MemoryEvent = z.infer<typeof MemoryEvent>;
export const ListMemoryEvents = z.strictObject({ ...page, session: session.optional() });
export type ListMemoryEvents = z.infer<typeof ListMemoryEvents>;
export const MemoryEventPage = z.strictObject({ events: z.array(MemoryEvent), nextCursor: z.string().nullable() }).meta({ id: 'MemoryEventPage' });
export type MemoryEventPage = z.infer<typeof MemoryEventPage>;

export const ConsolidationId = z.string().regex(/^mco_[0-9a-f]{20}$/);
/** Turns events into records: what was found, how much of it was known already, what it replaced, and what was not taken because nobody trusted said it. */
export const Consolidation = z
  .strictObject({
    id: ConsolidationId,
    state: z.enum(['waiting', 'done', 'failed']),
    extraction: z.enum(['rules', 'model']).meta({ description: 'What found what is to be remembered' }),
    read: z.int(), added: z.int(), known: z.int(), superseded: z.int(), refused: z.int(),
    createdAt: time,
    endedAt: time.nullable(),
  })
  .meta({ id: 'Consolidation' });
export type Consolidation = z.infer<typeof Consolidation>;

/** To whom an export is sealed: an X.509 certificate in PEM, of RSA. */
export const SealMemoryExport = z.strictObject({ certificate: z.string().min(1).max(64 << 10).meta({ description: 'X.509, PEM, RSA of 2048 bits and more, valid now' }) }).meta({ id: 'SealMemoryExport' });
export type SealMemoryExport = z.infer<typeof SealMemoryExport>;

export const MemoryUsage = z
  .strictObject({
    records: z.int(),
    bytes: z.int().meta({ description: 'Of what is sealed, padding included' }),
    events: z.int(),
    byKind: z.record(z.string(), z.int()),
    limits: z.strictObject({ records: z.int(), bytes: z.int(), events: z.int() }),
    keyVersion: z.int().nullable().meta({ description: 'The oldest version of the user key that something is still sealed under' }),
  })
  .meta({ id: 'MemoryUsage' });
export type MemoryUsage = z.infer<typeof MemoryUsage>;

/** One line of the access log: who did what, when and for what purpose; never what was read. */
export const MemoryAccess = z.strictObject({ at: time, actor: z.string(), action: z.string(), purpose: z.string(), records: z.int() }).meta({ id: 'MemoryAccess' });
export type MemoryAccess = z.infer<typeof MemoryAccess>;
export const ListMemoryAccesses = z.strictObject(page);
export type ListMemoryAccesses = z.infer<typeof ListMemoryAccesses>;
export const MemoryAccessPage = z.strictObject({ accesses: z.array(MemoryAccess), nextCursor: z.string().nullable() }).meta({ id: 'MemoryAccessPage' });
export type MemoryAccessPage = z.infer<typeof MemoryAccessPage>;

/** An OpenAI-compatible embeddings endpoint of a tenant: `POST {baseUrl}/embeddings`. It sees plain text. */
export const EmbeddingsEndpoint = z.strictObject({
  baseUrl: z.url({ protocol: /^https?$/ }).max(512),
  model: z.string().min(1).max(128),
  dimensions: z.int().min(8).max(bound.dimensions).nullable().default(null).meta({ description: 'Sent only when set' }),
  queryPrefix: z.string().max(256).default(''),
  documentPrefix: z.string().max(256).default(''),
});
export type EmbeddingsEndpoint = z.infer<typeof EmbeddingsEndpoint>;
/** An OpenAI-compatible model of a tenant: `POST {baseUrl}/chat/completions`. It sees plain text. */
export const ModelEndpoint = z.strictObject({ baseUrl: z.url({ protocol: /^https?$/ }).max(512), model: z.string().min(1).max(128) });
export type ModelEndpoint = z.infer<typeof ModelEndpoint>;

const apiKey = z.string().min(1).max(512).optional().meta({ description: 'Sealed, and never shown again' });
export const SetMemoryPolicy = z
  .strictObject({
    embeddings: EmbeddingsEndpoint.extend({ apiKey }).nullable(),
    extraction: ModelEndpoint.extend({ apiKey }).nullable().default(null).meta({ description: 'Without one, consolidation goes by rules' }),
    index: z.enum(['sealed', 'qdrant']).default('sealed').meta({ description: 'qdrant: candidates are found in a Qdrant server, among vectors that are obfuscated, not encrypted' }),
    recordsPerUser: z.int().min(1).max(bound.recordsPerUser).default(bound.recordsPerUser),
    bytesPerUser: z.int().min(1).max(bound.bytesPerUser).default(bound.bytesPerUser),
    eventsPerUser: z.int().min(1).max(bound.eventsPerUser).default(bound.eventsPerUser),
    eventRetentionMs: z.int().min(60_000).max(bound.eventRetentionMsMax).default(bound.eventRetentionMs),
  })
  .meta({ id: 'SetMemoryPolicy' });
export type SetMemoryPolicy = z.infer<typeof SetMemoryPolicy>;
export const MemoryPolicy = z
  .strictObject({
    embeddings: z.strictObject({ baseUrl: z.string(), model: z.string(), dimensions: z.int().nullable(), queryPrefix: z.string(), documentPrefix: z.string(), hasApiKey: z.boolean() }).nullable(),
    extraction: z.strictObject({ baseUrl: z.string(), model: z.string(), hasApiKey: z.boolean() }).nullable(),
    index: z.enum(['sealed', 'qdrant']),
    recordsPerUser: z.int(), bytesPerUser: z.int(), eventsPerUser: z.int(), eventRetentionMs: z.int(),
  })
  .meta({ id: 'MemoryPolicy' });
export type MemoryPolicy = z.infer<typeof MemoryPolicy>;
