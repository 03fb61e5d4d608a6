import { isProblem, type AddMemory, type ChangeMemory, type ListMemories, type Memory, type MemoryHistory, type MemoryPage, type MemoryRemoved, Problem, type RemoveMemory, type TrustLabel } from '@alcove/contracts';
import { canonicalJson } from '@alcove/audit';
import { limits, newId } from '@alcove/base';
import { logAccess } from '../access-log';
import type { MemoryCaller } from '../caller';
import { decodeCursor, encodeCursor } from '@alcove/identity';
import { eventTrust } from '../events/event-rows';
import type { MemoryUnit } from '../memory-unit';
import type { MemoryParts } from '../parts';
import type { Policy } from '../policy';
import { Mismatch } from '../sealed/open-stream';
import { bytesToId, idBytes, idToBytes } from '../sealed/id-table';
import { at, type MemoryRecord, openRecord, searchedText, toMemory } from './record';
import { findRecords, pageOfRecords, type RecordRow, requestOf, versionsOf } from './record-rows';
import { RecordWrites, type RecordVector } from './record-writes';
import { requireTrustToReplace, trustAfter, trustFor } from './trust';

export const notFound = (): Problem => new Problem('memory.not_found');

/** A user's records. */
export class Records {
  constructor(private readonly parts: MemoryParts) {}

  async add(caller: MemoryCaller, input: AddMemory, options: { idempotencyKey?: string }): Promise<{ memory: Memory; repeated: boolean }> {
    const policy = await this.parts.policies.of(caller.tenantId);
    const vector = await this.vectorFor(caller, input);
    return this.parts.units.writing(
      caller,
      async (unit) => {
        const first = options.idempotencyKey === undefined ? null : await this.#first(unit, caller, options.idempotencyKey, input);
        if (first?.memory) return { memory: first.memory, repeated: true };
        const record = await this.build(unit, caller, input, first?.id ?? newId('mem'));
        const writes = this.writes(unit, policy);
        await writes.insert([{ record, vector: vector ?? undefined, request: first?.request }]);
        await this.#supersede(unit, writes, caller, record);
        await this.later(unit, policy, vector);
        await logAccess(unit.tx, caller, 'add', 1, this.parts.clock.now());
        return { memory: toMemory(caller.userId, record), repeated: false };
      },
      { create: true },
    );
  }

  /** All or none, in one transaction. Problem `request.too_large`: more than 500; else as add(). */
  async addMany(caller: MemoryCaller, inputs: readonly AddMemory[]): Promise<Memory[]> {
    if (inputs.length > limits.memory.addedAtOnce) throw new Problem('request.too_large', { detail: `At most ${limits.memory.addedAtOnce} records at once.` });
    const policy = await this.parts.policies.of(caller.tenantId);
    const embedded = await this.#embedded(caller, inputs);
    return this.parts.units.writing(
      caller,
      async (unit) => {
        const records: { record: MemoryRecord; vector: RecordVector | undefined }[] = [];
        for (const [index, input] of inputs.entries()) records.push({ record: await this.build(unit, caller, input, newId('mem')), vector: embedded?.[index] });
        const writes = this.writes(unit, policy);
        await writes.insert(records);
        for (const { record } of records) await this.#supersede(unit, writes, caller, record);
        await this.later(unit, policy, embedded?.[0] ?? null);
        await logAccess(unit.tx, caller, 'add', records.length, this.parts.clock.now());
        return records.map(({ record }) => toMemory(caller.userId, record));
      },
      { create: true },
    );
  }

  get(caller: MemoryCaller, id: string): Promise<Memory> {
    return this.parts.units.reading(caller, async (unit) => {
      const [record] = await this.read(unit, [id]);
      if (!record) throw notFound();
      await logAccess(unit.tx, caller, 'read', 1, this.parts.clock.now());
      return toMemory(caller.userId, record);
    });
  }

  async list(caller: MemoryCaller, query: ListMemories): Promise<MemoryPage> {
    const after = query.cursor === undefined ? null : readCursor(query.cursor);
    return this.parts.units.reading(caller, async (unit) => {
      const rows = await pageOfRecords(unit.tx, unit.owner, { kind: query.kind ?? null, state: query.state ?? null, after, limit: query.limit + 1 });
      const shown = rows.slice(0, query.limit);
      const records = await this.openRows(unit, shown);
      const last = shown.at(-1);
      await logAccess(unit.tx, caller, 'list', records.length, this.parts.clock.now());
      return { memories: records.map((record) => toMemory(caller.userId, record)), nextCursor: rows.length > query.limit && last ? encodeCursor([last.createdAt.toISOString(), last.id]) : null };
    });
  }

  async change(caller: MemoryCaller, id: string, version: number, input: ChangeMemory): Promise<Memory> {
    const policy = await this.parts.policies.of(caller.tenantId);
    const touchesText = input.content !== undefined || input.title !== undefined || input.tags !== undefined;
    // The vector is of the text as it will be, which is known only with the rest of the record: it is asked for before anything is locked.
    const before = touchesText && policy.embeddings ? await this.get(caller, id) : null;
    const vector = before && (await this.vectorFor(caller, { ...before, ...defined(input) }));
    return this.parts.units.writing(caller, async (unit) => {
      const [record] = await this.read(unit, [id]);
      if (!record) throw notFound();
      requireVersion(record, version);
      requireWritable(caller, record);
      const next = this.#changed(caller, record, input);
      await this.writes(unit, policy).replace(next, vector ?? undefined);
      if (touchesText) await this.later(unit, policy, vector);
      await logAccess(unit.tx, caller, 'change', 1, this.parts.clock.now());
      return toMemory(caller.userId, next);
    });
  }

  async remove(caller: MemoryCaller, id: string, mode: RemoveMemory['mode'], version?: number): Promise<MemoryRemoved> {
    const policy = await this.parts.policies.of(caller.tenantId);
    return this.parts.units.writing(caller, async (unit) => {
      const [record] = await this.read(unit, [id]);
      if (!record) throw notFound();
      if (version !== undefined) requireVersion(record, version);
      requireWritable(caller, record);
      const writes = this.writes(unit, policy);
      const ids = mode === 'erase' ? await writes.erase([id]) : await this.#retire(unit, writes, id);
      await logAccess(unit.tx, caller, mode, ids.length, this.parts.clock.now());
      return { mode, ids };
    });
  }

  history(caller: MemoryCaller, id: string): Promise<MemoryHistory> {
    return this.parts.units.reading(caller, async (unit) => {
      const [record] = await this.read(unit, [id]);
      if (!record) throw notFound();
      const rows = await versionsOf(unit.tx, unit.owner, id);
      const before = await unit.withSealing((sealing) => rows.map((row) => openRecord(sealing, row)));
      await logAccess(unit.tx, caller, 'read', 1, this.parts.clock.now());
      return { versions: [record, ...before].map((one) => toMemory(caller.userId, one)) };
    });
  }

  writes(unit: MemoryUnit, policy: Policy): RecordWrites {
    return new RecordWrites(unit, policy);
  }

  /** The vector of a text; null when the tenant has no endpoint, or it does not answer: then a job asks it again. */
  async vectorFor(caller: MemoryCaller, text: { title: string | null; tags: readonly string[]; content: string }): Promise<RecordVector | null> {
    return (await this.#embedded(caller, [text]))?.[0] ?? null;
  }

  async #embedded(caller: MemoryCaller, texts: readonly { title: string | null; tags: readonly string[]; content: string }[]): Promise<RecordVector[] | null> {
    try {
      const embedded = await this.parts.embedder.embed(caller.tenantId, 'document', texts.map(searchedText));
      return embedded && embedded.vectors.map((vector) => ({ space: embedded.space, vector }));
    } catch (error) {
      if (!isProblem(error, 'memory.embeddings')) throw error;
      this.parts.log.warn({ err: error, tenantId: caller.tenantId }, 'a record is stored without its vector for now');
      return null;
    }
  }

  /** What is to be stored. Problems: `memory.untrusted`, `request.invalid` for evidence that is not there. */
  async build(unit: MemoryUnit, caller: MemoryCaller, input: AddMemory, id: string): Promise<MemoryRecord> {
    const now = this.parts.clock.now();
    const evidence = await this.evidenceTrust(unit, [...input.evidence, ...(input.supersedes === null ? [] : [input.supersedes])]);
    const trust = trustFor(input.kind, input.source.trust, caller.channel, evidence.slice(0, input.evidence.length));
    return {
      id, version: 1, kind: input.kind, state: 'live', content: input.content, title: input.title, tags: input.tags, source: { ...input.source, trust }, confidence: input.confidence,
      evidence: input.evidence, supersedes: input.supersedes, label: null, readOnly: false, validFrom: at(input.validFrom), validTo: at(input.validTo), expiresAt: at(input.expiresAt),
      createdAt: now, updatedAt: now,
    };
  }

  /** The labels of records and events, in the order of their ids. Problem `request.invalid`: one is not there. */
  async evidenceTrust(unit: MemoryUnit, ids: readonly string[]): Promise<TrustLabel[]> {
    if (ids.length === 0) return [];
    const events = await eventTrust(unit, ids.filter((id) => id.startsWith('mev_')));
    const records = await unit.catalogue((catalogue) => new Map(ids.filter((id) => id.startsWith('mem_')).map((id) => [id, catalogue.trustOf(idToBytes(id))])));
    return ids.map((id, index) => {
      const label = events.get(id) ?? records.get(id);
      if (label === undefined) throw new Problem('request.invalid', { errors: [{ path: `body.evidence.${index}`, message: 'no such record or event of this user' }] });
      return label;
    });
  }

  /** These records in this order, those that are not there left out. Mismatch when a row is not the version that the catalogue has. */
  async read(unit: MemoryUnit, ids: readonly string[]): Promise<MemoryRecord[]> {
    const rows = await findRecords(unit.tx, unit.owner, ids);
    const known = await unit.catalogue((catalogue) => ids.filter((id) => catalogue.facts(idToBytes(id)) !== undefined));
    if (known.some((id) => !rows.has(id))) throw new Mismatch('a record is missing');
    return this.openRows(unit, ids.flatMap((id) => rows.get(id) ?? []));
  }

  /** Opens rows, each of which must be the newest version of its record. */
  async openRows(unit: MemoryUnit, rows: readonly RecordRow[]): Promise<MemoryRecord[]> {
    await unit.catalogue((catalogue) => {
      for (const row of rows) if (catalogue.facts(idToBytes(row.id))?.version !== row.version) throw new Mismatch('a record is not its newest version');
    });
    return unit.withSealing((sealing) => rows.map((row) => openRecord(sealing, row)));
  }

  /** The record that a new one takes the place of is retired. Problems: `memory.not_found`, `memory.read_only`, `memory.untrusted`. */
  async #supersede(unit: MemoryUnit, writes: RecordWrites, caller: MemoryCaller, { supersedes, source }: MemoryRecord): Promise<void> {
    if (supersedes === null) return;
    const [before] = await this.read(unit, [supersedes]);
    if (!before) throw notFound();
    requireWritable(caller, before);
    requireTrustToReplace(source.trust, before.source.trust);
    await this.#retire(unit, writes, supersedes);
  }

  async #retire(unit: MemoryUnit, writes: RecordWrites, id: string): Promise<string[]> {
    const [record] = await this.read(unit, [id]);
    if (!record) throw notFound();
    if (record.state === 'retired') return [];
    await writes.replace({ ...record, state: 'retired', version: record.version + 1, updatedAt: this.parts.clock.now() });
    return [id];
  }

  #changed(caller: MemoryCaller, record: MemoryRecord, input: ChangeMemory): MemoryRecord {
    const { content, title, tags, source, confidence, validFrom, validTo, expiresAt } = input;
    const trust = trustAfter(record.kind, record.source.trust, source?.trust, caller.channel);
    return {
      ...record,
      version: record.version + 1,
      updatedAt: this.parts.clock.now(),
      ...defined({ content, title, tags, confidence }),
      source: { ...(source ?? record.source), trust },
      validFrom: validFrom === undefined ? record.validFrom : at(validFrom),
      validTo: validTo === undefined ? record.validTo : at(validTo),
      expiresAt: expiresAt === undefined ? record.expiresAt : at(expiresAt),
    };
  }

  /** Who asks again with the same key finds the record; its id is made from the key, so that nothing else need be stored. Problem `request.idempotency_reused`. */
  async #first(unit: MemoryUnit, caller: MemoryCaller, key: string, input: AddMemory): Promise<{ id: string; request: Buffer; memory?: Memory }> {
    const { id, request } = await unit.withSealing((sealing) => ({
      id: bytesToId(sealing.blind(sealing.current, ['idempotency', caller.actor, key]).subarray(0, idBytes)),
      request: sealing.blind(sealing.current, ['request', canonicalJson(input)]),
    }));
    const before = await requestOf(unit.tx, unit.owner, id);
    if (before === undefined) return { id, request };
    if (!before?.equals(request)) throw new Problem('request.idempotency_reused');
    const [record] = await this.read(unit, [id]);
    return { id, request, ...(record && { memory: toMemory(caller.userId, record) }) };
  }

  /** What has no vector because the endpoint did not answer gets one by a job. */
  async later(unit: MemoryUnit, policy: Policy, vector: RecordVector | null): Promise<void> {
    if (policy.embeddings && !vector) await this.parts.outbox.enqueue(unit.tx, 'memory.embed', { tenantId: unit.owner.tenantId, userId: unit.owner.userId });
  }
}

function requireVersion(record: MemoryRecord, version: number): void {
  if (record.version !== version) throw new Problem('memory.changed', { detail: `It has version ${record.version}.` });
}

export function requireWritable(caller: MemoryCaller, { readOnly }: MemoryRecord): void {
  if (readOnly && caller.channel === 'room') throw new Problem('memory.read_only');
}

type Defined<T> = { [K in keyof T]?: Exclude<T[K], undefined> };
function defined<T extends object>(given: T): Defined<T> {
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) as Defined<T>;
}

export function readCursor(cursor: string): { createdAt: Date; id: string } {
  const [time = '', id = ''] = decodeCursor(cursor, 2);
  const createdAt = new Date(time);
  if (Number.isNaN(createdAt.getTime())) throw new Problem('request.invalid', { errors: [{ path: 'query.cursor', message: 'not a cursor of this list' }] });
  return { createdAt, id };
}


