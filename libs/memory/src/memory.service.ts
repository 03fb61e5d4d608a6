import { type Clock, limits, type Log, type Random, systemRandom } from '@alcove/base';
import {
  type AddMemory, type AddMemoryEvent, type ChangeMemory, type Consolidation, isProblem, type ListMemories, type ListMemoryAccesses, type ListMemoryEvents, type Memory, type MemoryAccessPage,
  type MemoryBlocks, type MemoryEvent, type MemoryEventPage, type MemoryHistory, type MemoryHits, type MemoryPage, type MemoryPolicy, type MemoryRemoved, type MemoryUsage, type Principal, Problem,
  type RemoveMemory, type SearchMemory, type SetBlock, type SetMemoryPolicy,
} from '@alcove/contracts';
import type { Audit } from '@alcove/audit';
import type { Db } from '@alcove/db';
import { decodeCursor, encodeCursor, type Users } from '@alcove/identity';
import type { Outbox, Reconciler } from '@alcove/jobs';
import type { ErasePurge, KeyOwner, Reseal } from '@alcove/keys';
import { pageOfAccesses } from './access-log';
import type { MemoryCaller } from './caller';
import { Consolidations } from './consolidate/consolidations';
import { Extractor } from './consolidate/extractor';
import { MemoryPurge } from './erasure';
import { countEvents } from './events/event-rows';
import type { Fetch } from './endpoint';
import { Events } from './events/events';
import { exportLines, sealedExport } from './export';
import { type MemoryKeys, MemoryUnits } from './memory-unit';
import type { MemoryParts } from './parts';
import { MemoryPolicies } from './policy';
import { Blocks } from './records/blocks';
import { Records } from './records/records';
import { QdrantIndex } from './qdrant/qdrant-index';
import type { QdrantPoints } from './qdrant/points';
import { MemoryReseal } from './reseal';
import { Search } from './search/search';
import { OpenUsers } from './sealed/open-users';
import { Embedder } from './semantic/embedder';
import { spaceOf } from './semantic/embeddings';
import { ReEmbedding } from './semantic/re-embedding';
import { memoryReconcilers } from './upkeep';

export interface MemoryServiceParts {
  readonly db: Db;
  readonly keys: MemoryKeys;
  readonly users: Users;
  readonly audit: Audit;
  readonly outbox: Outbox;
  readonly clock: Clock;
  readonly log: Log;
  /** For tenants whose policy says `qdrant`; without it the sealed index answers, and says so. */
  readonly qdrant?: QdrantPoints | null;
  /** Of the noise on what goes there. Default: the system's. */
  readonly random?: Random;
  /** Asks the endpoints of tenants. Default: the runtime's. */
  readonly fetcher?: Fetch;
  /** What of memories is kept open in this process, bytes. Default: limits.memory.openBytes. */
  readonly openBytes?: number;
}

/**
 * A user's memory. Any call's problems: `user.gone`, `vault.key_unavailable`, `vault.corrupt` and `memory.rolled_back` (what is stored is not what was written last);
 * calls that read or change: `user.not_found`, `memory.not_found`.
 */
export class MemoryService {
  readonly #parts: MemoryParts;
  readonly #opened: OpenUsers;
  readonly #records: Records;
  readonly #blocks: Blocks;
  readonly #events: Events;
  readonly #search: Search;
  readonly #consolidations: Consolidations;
  readonly #reEmbedding: ReEmbedding;

  constructor(private readonly given: MemoryServiceParts) {
    const { db, keys, users, audit, outbox, clock, log, qdrant: points = null, random = systemRandom, fetcher, openBytes = limits.memory.openBytes } = given;
    this.#opened = new OpenUsers(openBytes);
    const policies = new MemoryPolicies(db, keys, audit, clock, points !== null);
    const units: MemoryUnits = new MemoryUnits({ db, keys, users, opened: this.#opened, changed: async (tx, owner) => qdrant?.later(tx, owner) });
    const qdrant = points && new QdrantIndex({ db, units, points, outbox, clock, random, log });
    this.#parts = { units, policies, embedder: new Embedder(policies, fetcher), extractor: new Extractor(policies, fetcher), outbox, qdrant, clock, log };
    this.#records = new Records(this.#parts);
    this.#blocks = new Blocks(this.#parts, this.#records);
    this.#events = new Events(this.#parts, this.#records);
    this.#search = new Search(this.#parts, this.#records);
    this.#consolidations = new Consolidations(this.#parts, this.#records);
    this.#reEmbedding = new ReEmbedding(this.#parts, this.#records);
  }

  /** With an idempotency key, a repeat finds the first record (`repeated`). Problems: `memory.untrusted`, `memory.quota`, `request.idempotency_reused`. */
  add(caller: MemoryCaller, input: AddMemory, options: { idempotencyKey?: string } = {}): Promise<{ memory: Memory; repeated: boolean }> {
    return this.#records.add(caller, input, options);
  }

  /** For moving in: all or none, at most 500 at once. Problems as add(), and `request.too_large`. */
  addMany(caller: MemoryCaller, inputs: readonly AddMemory[]): Promise<Memory[]> {
    return this.#records.addMany(caller, inputs);
  }

  get(caller: MemoryCaller, id: string): Promise<Memory> {
    return this.#records.get(caller, id);
  }

  /** The newest first. */
  list(caller: MemoryCaller, query: ListMemories): Promise<MemoryPage> {
    return this.#records.list(caller, query);
  }

  /** Problems: `memory.changed` unless `version` is the record's, `memory.untrusted`, `memory.quota`. */
  change(caller: MemoryCaller, id: string, version: number, input: ChangeMemory): Promise<Memory> {
    return this.#records.change(caller, id, version, input);
  }

  /** Without a version, whichever it has. Problem `memory.changed`. */
  remove(caller: MemoryCaller, id: string, mode: RemoveMemory['mode'], version?: number): Promise<MemoryRemoved> {
    return this.#records.remove(caller, id, mode, version);
  }

  history(caller: MemoryCaller, id: string): Promise<MemoryHistory> {
    return this.#records.history(caller, id);
  }

  search(caller: MemoryCaller, input: SearchMemory): Promise<MemoryHits> {
    return this.#search.search(caller, input);
  }

  blocks(caller: MemoryCaller): Promise<MemoryBlocks> {
    return this.#blocks.all(caller);
  }

  block(caller: MemoryCaller, label: string): Promise<Memory> {
    return this.#blocks.get(caller, label);
  }

  /** `version`: that of the block, 0 when there is to be none yet, undefined for whichever. Problems: `memory.changed`, `memory.untrusted`, `memory.read_only`, `memory.quota`. */
  setBlock(caller: MemoryCaller, label: string, input: SetBlock, version?: number): Promise<Memory> {
    return this.#blocks.set(caller, label, input, version);
  }

  /** Erases it. Problem `memory.read_only`. */
  removeBlock(caller: MemoryCaller, label: string): Promise<void> {
    return this.#blocks.remove(caller, label);
  }

  /** Problems: `memory.quota`, `request.idempotency_reused`. */
  addEvent(caller: MemoryCaller, input: AddMemoryEvent, options: { idempotencyKey?: string } = {}): Promise<{ event: MemoryEvent; repeated: boolean }> {
    return this.#events.add(caller, input, options);
  }

  events(caller: MemoryCaller, query: ListMemoryEvents): Promise<MemoryEventPage> {
    return this.#events.list(caller, query);
  }

  /** Erases an event, and what was derived from it. */
  removeEvent(caller: MemoryCaller, id: string): Promise<MemoryRemoved> {
    return this.#events.remove(caller, id);
  }

  /** Begins; the job reports in `consolidation`. */
  consolidate(caller: MemoryCaller): Promise<Consolidation> {
    return this.#consolidations.begin(caller);
  }

  consolidation(caller: MemoryCaller, id: string): Promise<Consolidation> {
    return this.#consolidations.get(caller, id);
  }

  /** All records, their versions and events as JSON lines, each ended by a line feed; the last one is `{"end":true}`. */
  export(caller: MemoryCaller): AsyncIterable<string> {
    return exportLines(this.#parts, this.#records, this.#events, caller);
  }

  /** The same, sealed to the owner of a certificate (CMS, DER). Problems: `request.invalid` for the certificate, `request.too_large`. */
  sealedExport(caller: MemoryCaller, certificatePem: string): Promise<Buffer> {
    return sealedExport(this.export(caller), certificatePem, this.#parts.clock.now());
  }

  async usage(caller: MemoryCaller): Promise<MemoryUsage> {
    const policy = await this.#parts.policies.of(caller.tenantId);
    return this.#parts.units.reading(caller, async (unit) => {
      const byKind = await unit.catalogue((catalogue) => catalogue.countByKind());
      const [oldest] = await unit.tx.$queryRaw<{ version: number | null }[]>`
        select least((select min(key_version) from memory_record where tenant_id = ${caller.tenantId}::uuid and user_id = ${caller.userId}),
          (select min(key_version) from memory_event where tenant_id = ${caller.tenantId}::uuid and user_id = ${caller.userId})) as version`;
      const { records, bytes } = unit.head;
      return { records, bytes, events: await countEvents(unit.tx, unit.owner), byKind, limits: { records: policy.recordsPerUser, bytes: policy.bytesPerUser, events: policy.eventsPerUser }, keyVersion: oldest?.version ?? null };
    });
  }

  /** The newest first. To look at it leaves no line in it. */
  async accesses(caller: MemoryCaller, query: ListMemoryAccesses): Promise<MemoryAccessPage> {
    const before = query.cursor === undefined ? null : Number(decodeCursor(query.cursor, 1)[0]);
    if (before !== null && !Number.isSafeInteger(before)) throw new Problem('request.invalid', { errors: [{ path: 'query.cursor', message: 'not a cursor of this list' }] });
    return this.#parts.units.reading(caller, async (unit) => {
      const rows = await pageOfAccesses(unit.tx, unit.owner, before, query.limit + 1);
      const shown = rows.slice(0, query.limit);
      const last = shown.at(-1);
      return { accesses: shown.map(({ access }) => access), nextCursor: rows.length > query.limit && last ? encodeCursor([String(last.number)]) : null };
    });
  }

  /** Problems: `auth.scope`, `tenant.not_found`. */
  policy(principal: Principal, tenantId: string): Promise<MemoryPolicy> {
    return this.#parts.policies.get(principal, tenantId);
  }

  /** From now on; vectors of another space are made anew by jobs. Problems: `auth.scope`, `tenant.not_found`, `vault.key_unavailable`. */
  async setPolicy(principal: Principal, tenantId: string, input: SetMemoryPolicy): Promise<MemoryPolicy> {
    const answer = await this.#parts.policies.set(principal, tenantId, input);
    if (answer.embeddings) {
      await this.given.db.withTenantSql(tenantId, async (tx) => {
        const rows = await tx.$queryRaw<{ userId: string }[]>`select user_id as "userId" from memory_head where tenant_id = ${tenantId}::uuid and records > 0`;
        for (const { userId } of rows) await this.#parts.outbox.enqueue(tx, 'memory.embed', { tenantId, userId });
      });
    }
    await this.#parts.qdrant?.policyChanged(tenantId);
    return answer;
  }

  /** The job `memory.consolidate`. A user that is gone has nothing to consolidate. Problem `memory.model`: it is tried again. */
  runConsolidation(owner: KeyOwner, id: string): Promise<void> {
    return unlessGone(() => this.#consolidations.run(systemFor(owner, 'consolidate'), id));
  }

  /** The job `memory.embed`. Problem `memory.embeddings`: it is tried again. */
  runEmbedding(owner: KeyOwner): Promise<void> {
    return unlessGone(async () => void (await this.#reEmbedding.run(systemFor(owner, 'embed'))));
  }

  /** The job `memory.index`. Problems `memory.index` and `unavailable`: it is tried again. */
  async runIndexing(owner: KeyOwner): Promise<void> {
    const { qdrant, policies } = this.#parts;
    const { index, embeddings } = await policies.now(owner.tenantId);
    await unlessGone(async () => qdrant?.bring(owner, index === 'qdrant' && embeddings ? [spaceOf(embeddings)] : []));
  }

  /** What this lib does when a user is erased. */
  erasePurge(): ErasePurge {
    return new MemoryPurge(this.given.db, this.#opened, this.#parts.qdrant);
  }

  /** What this lib does after a user's key was compromised. */
  reseal(): Reseal {
    return new MemoryReseal(this.#parts.units);
  }

  reconcilers(): Reconciler[] {
    const { qdrant } = this.#parts;
    return [...memoryReconcilers(this.#parts, this.given.db, this.#records), ...(qdrant ? [qdrant.reconciler()] : [])];
  }

  /** What is open of memories in this process. */
  get open(): { users: number; bytes: number } {
    return { users: this.#opened.size, bytes: this.#opened.bytes };
  }

  /** Overwrites what is open of one memory, as when it is pushed out. */
  close(owner: KeyOwner): void {
    this.#opened.close(owner);
  }

  /** Nest's hook. */
  onApplicationShutdown(): void {
    this.#opened.closeAll();
  }
}

const systemFor = (owner: KeyOwner, purpose: string): MemoryCaller => ({ ...owner, actor: 'system', channel: 'system', purpose });

async function unlessGone(run: () => Promise<void>): Promise<void> {
  try {
    await run();
  } catch (error) {
    if (!isProblem(error, 'user.gone') && !isProblem(error, 'user.not_found')) throw error;
  }
}
