import { limits, newId } from '@alcove/base';
import { type Memory, type MemoryBlocks, Problem, type SetBlock } from '@alcove/contracts';
import { logAccess } from '../access-log';
import type { MemoryCaller } from '../caller';
import type { MemoryUnit } from '../memory-unit';
import type { MemoryParts } from '../parts';
import { type MemoryRecord, toMemory } from './record';
import { notFound, type Records, requireWritable } from './records';
import { trustFor } from './trust';

/** Blocks: records with a label that are meant to stand in every prompt. */
export class Blocks {
  constructor(
    private readonly parts: MemoryParts,
    private readonly records: Records,
  ) {}

  /** By label. */
  all(caller: MemoryCaller): Promise<MemoryBlocks> {
    return this.parts.units.reading(caller, async (unit) => {
      const ids = await unit.catalogue((catalogue) => [...catalogue.blocks()].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, id]) => id));
      const records = await this.records.read(unit, ids);
      await logAccess(unit.tx, caller, 'read', records.length, this.parts.clock.now());
      return { blocks: records.map((record) => toMemory(caller.userId, record)) };
    });
  }

  get(caller: MemoryCaller, label: string): Promise<Memory> {
    return this.parts.units.reading(caller, async (unit) => {
      const record = await this.#find(unit, label);
      if (!record) throw notFound();
      await logAccess(unit.tx, caller, 'read', 1, this.parts.clock.now());
      return toMemory(caller.userId, record);
    });
  }

  async set(caller: MemoryCaller, label: string, input: SetBlock, version?: number): Promise<Memory> {
    const policy = await this.parts.policies.of(caller.tenantId);
    const vector = await this.records.vectorFor(caller, { title: input.title, tags: [], content: input.content });
    return this.parts.units.writing(
      caller,
      async (unit) => {
        const before = await this.#find(unit, label);
        if (version !== undefined && version !== (before?.version ?? 0)) throw new Problem('memory.changed', { detail: before ? `It has version ${before.version}.` : 'There is no such block.' });
        if (before) requireWritable(caller, before);
        const next = await this.#next(unit, caller, label, input, before);
        const writes = this.records.writes(unit, policy);
        if (before) await writes.replace(next, vector ?? undefined);
        else await writes.insert([{ record: next, vector: vector ?? undefined }]);
        await this.records.later(unit, policy, vector);
        await logAccess(unit.tx, caller, before ? 'change' : 'add', 1, this.parts.clock.now());
        return toMemory(caller.userId, next);
      },
      { create: true },
    );
  }

  async remove(caller: MemoryCaller, label: string): Promise<void> {
    const policy = await this.parts.policies.of(caller.tenantId);
    await this.parts.units.writing(caller, async (unit) => {
      const before = await this.#find(unit, label);
      if (!before) throw notFound();
      requireWritable(caller, before);
      const ids = await this.records.writes(unit, policy).erase([before.id]);
      await logAccess(unit.tx, caller, 'erase', ids.length, this.parts.clock.now());
    });
  }

  async #next(unit: MemoryUnit, caller: MemoryCaller, label: string, input: SetBlock, before: MemoryRecord | undefined): Promise<MemoryRecord> {
    const now = this.parts.clock.now();
    if (!before && (await unit.catalogue((catalogue) => catalogue.blocks().size)) >= limits.memory.blocks) throw new Problem('memory.quota', { detail: `At most ${limits.memory.blocks} blocks.` });
    const trust = trustFor('block', input.source.trust, caller.channel, await this.records.evidenceTrust(unit, input.evidence));
    return {
      id: before?.id ?? newId('mem'), version: (before?.version ?? 0) + 1, kind: 'block', state: 'live', content: input.content, title: input.title, tags: [], source: { ...input.source, trust },
      // Only who may write a read-only block may make one.
      confidence: 1, evidence: before?.evidence ?? input.evidence, supersedes: null, label, readOnly: caller.channel === 'room' ? false : input.readOnly,
      validFrom: null, validTo: null, expiresAt: null, createdAt: before?.createdAt ?? now, updatedAt: now,
    };
  }

  async #find(unit: MemoryUnit, label: string): Promise<MemoryRecord | undefined> {
    const id = await unit.catalogue((catalogue) => catalogue.blocks().get(label));
    return id === undefined ? undefined : (await this.records.read(unit, [id]))[0];
  }
}
