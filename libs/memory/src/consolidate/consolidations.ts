import { newId } from '@alcove/base';
import { type Consolidation, isProblem, type TrustLabel, trustLabels } from '@alcove/contracts';
import { logAccess } from '../access-log';
import type { MemoryCaller } from '../caller';
import { type EventRow, openEvent } from '../events/event-rows';
import { featuresOf } from '../lexical/words';
import type { WordsStore } from '../lexical/words-store';
import type { MemoryUnit } from '../memory-unit';
import type { MemoryParts } from '../parts';
import type { MemoryRecord } from '../records/record';
import type { RecordWrites } from '../records/record-writes';
import { notFound, type Records } from '../records/records';
import { trustFor } from '../records/trust';
import type { CatalogueStore } from '../sealed/catalogue-store';
import { catalogueStream, wordsStream } from '../sealed/open-users';
import { type Proposal, sameText } from './extract';
import type { Extracted } from './extractor';
import type { SaidEvent } from './model';

/** Events of one transaction. */
const batch = 50;
/** How many records a proposal is compared with. */
const compared = 20;
const slotTag = (slot: string): string => `slot:${slot}`;

interface Counts {
  read: number;
  added: number;
  known: number;
  superseded: number;
  refused: number;
}

/** Makes records of what was said: extract, propose, leave out what is known, let the newer take the place of the older. */
export class Consolidations {
  constructor(
    private readonly parts: MemoryParts,
    private readonly records: Records,
  ) {}

  begin(caller: MemoryCaller): Promise<Consolidation> {
    const { units, clock, outbox } = this.parts;
    return units.reading(caller, async (unit) => {
      const { tenantId, userId } = caller;
      const [id, now] = [newId('mco'), clock.now()];
      await unit.tx.$executeRaw`
        insert into memory_consolidation (tenant_id, user_id, id, state, read_count, added, known, superseded, refused, created_at)
        values (${tenantId}::uuid, ${userId}, ${id}, 'waiting', 0, 0, 0, 0, 0, ${new Date(now)}::timestamptz)`;
      await outbox.enqueue(unit.tx, 'memory.consolidate', { tenantId, userId, consolidationId: id });
      await logAccess(unit.tx, caller, 'consolidate', 0, now);
      return { id, state: 'waiting', extraction: 'rules', read: 0, added: 0, known: 0, superseded: 0, refused: 0, createdAt: new Date(now).toISOString(), endedAt: null };
    });
  }

  get(caller: MemoryCaller, id: string): Promise<Consolidation> {
    return this.parts.units.reading(caller, async ({ tx }) => {
      const [row] = await tx.$queryRaw<(Omit<Consolidation, 'createdAt' | 'endedAt'> & { createdAt: Date; endedAt: Date | null })[]>`
        select id, state, extraction, read_count as read, added, known, superseded, refused, created_at as "createdAt", ended_at as "endedAt" from memory_consolidation
        where tenant_id = ${caller.tenantId}::uuid and user_id = ${caller.userId} and id = ${id}`;
      if (!row) throw notFound();
      return { ...row, createdAt: row.createdAt.toISOString(), endedAt: row.endedAt?.toISOString() ?? null };
    });
  }

  /**
   * The job. The end of each batch is a transaction of its own, with its events marked and its counts added: done twice it does nothing the second time. Problem `memory.model`: it is tried
   * again, and what was done stays.
   */
  async run(caller: MemoryCaller, id: string): Promise<void> {
    for (let read = batch; read === batch; ) read = await this.#batch(caller, id);
    await this.parts.units.reading(caller, async ({ tx }) => {
      await tx.$executeRaw`
        update memory_consolidation set state = 'done', ended_at = ${new Date(this.parts.clock.now())}::timestamptz
        where tenant_id = ${caller.tenantId}::uuid and user_id = ${caller.userId} and id = ${id} and state = 'waiting'`;
    });
  }

  /** A model is asked between the two transactions, so that nobody waits for it; what is gone by then was erased, and leaves nothing. */
  async #batch(caller: MemoryCaller, id: string): Promise<number> {
    const said = await this.parts.units.reading(caller, (unit) => this.#said(unit, null));
    if (said.length === 0) return 0;
    const { extraction, proposals } = await this.parts.extractor.extract(caller.tenantId, said);
    const policy = await this.parts.policies.of(caller.tenantId);
    const { tenantId, userId } = caller;
    await this.parts.units.writing(caller, async (unit) => {
      const events = await this.#said(unit, said.map((event) => event.id));
      const counts: Counts = { read: events.length, added: 0, known: 0, superseded: 0, refused: 0 };
      const writes = this.records.writes(unit, policy);
      for (const event of events) for (const proposal of proposals.get(event.id) ?? []) await this.#take(unit, writes, event, proposal, extraction, counts);
      await unit.tx.$executeRaw`update memory_event set consolidated = true where tenant_id = ${tenantId}::uuid and user_id = ${userId} and id = any(${events.map((event) => event.id)}::text[])`;
      await unit.tx.$executeRaw`
        update memory_consolidation set extraction = ${extraction}, read_count = read_count + ${counts.read}, added = added + ${counts.added}, known = known + ${counts.known},
          superseded = superseded + ${counts.superseded}, refused = refused + ${counts.refused} where tenant_id = ${tenantId}::uuid and user_id = ${userId} and id = ${id}`;
      if (counts.added > 0 && policy.embeddings) await this.parts.outbox.enqueue(unit.tx, 'memory.embed', { tenantId, userId });
      await logAccess(unit.tx, caller, 'consolidate', counts.added, this.parts.clock.now());
    });
    return said.length;
  }

  /** The oldest that were not consolidated yet, of these where some are named. */
  async #said(unit: MemoryUnit, ids: readonly string[] | null): Promise<SaidEvent[]> {
    const { tenantId, userId } = unit.owner;
    const rows = await unit.tx.$queryRaw<EventRow[]>`
      select id, key_version as "keyVersion", sealed from memory_event
      where tenant_id = ${tenantId}::uuid and user_id = ${userId} and not consolidated and (${ids}::text[] is null or id = any(${ids}::text[]))
      order by created_at, id limit ${batch}::int`;
    return unit.withSealing((sealing) => rows.map((row) => ({ id: row.id, said: openEvent(sealing, row) })));
  }

  async #take(unit: MemoryUnit, writes: RecordWrites, event: SaidEvent, proposal: Proposal, extraction: Extracted['extraction'], counts: Counts): Promise<void> {
    const trust = trustOrNull(proposal, event.said.source.trust, extraction);
    if (trust === null) {
      counts.refused += 1;
      return;
    }
    const near = await this.#near(unit, proposal);
    // Known already, unless only somebody less trusted said so.
    if (near.some((record) => sameText(record.content, proposal.content) && rank(record.source.trust) >= rank(trust))) {
      counts.known += 1;
      return;
    }
    const { slot } = proposal;
    const older = slot === null ? undefined : near.find((record) => record.tags.includes(slotTag(slot)));
    // What was said by somebody who is trusted less takes the place of nothing.
    if (older && rank(older.source.trust) > rank(trust)) {
      counts.refused += 1;
      return;
    }
    const record = this.#record(proposal, event.id, trust, older?.id ?? null);
    await writes.insert([{ record }]);
    counts.added += 1;
    if (!older) return;
    await writes.replace({ ...older, state: 'retired', version: older.version + 1, updatedAt: this.parts.clock.now() });
    counts.superseded += 1;
  }

  /** Live records that share words with a proposal, or its slot. */
  async #near(unit: MemoryUnit, { content, slot }: Proposal): Promise<MemoryRecord[]> {
    const now = this.parts.clock.now();
    const ids = await unit.open([catalogueStream, wordsStream], ([catalogue, words]) => {
      const accepts = (tags: string[] | undefined) => (catalogue as CatalogueStore).filter({ asOf: now, now, tags });
      const found = (words as WordsStore).byWords(featuresOf(content), compared, accepts(undefined));
      const same = slot === null ? [] : (words as WordsStore).byWords(featuresOf(`${content} ${slotTag(slot)}`), compared, accepts([slotTag(slot)]));
      return [...new Set([...same, ...found].map(({ id }) => id))];
    });
    return this.records.read(unit, ids);
  }

  #record({ kind, content, slot }: Proposal, eventId: string, trust: TrustLabel, supersedes: string | null): MemoryRecord {
    const now = this.parts.clock.now();
    return {
      id: newId('mem'), version: 1, kind, state: 'live', content, title: null, tags: slot === null ? [] : [slotTag(slot)], source: { kind: 'consolidation', ref: null, trust }, confidence: 0.7,
      evidence: [eventId], supersedes, label: null, readOnly: false, validFrom: null, validTo: null, expiresAt: null, createdAt: now, updatedAt: now,
    };
  }
}

const rank = (label: TrustLabel): number => trustLabels.indexOf(label);

/** Null: too little trust for what it would become. */
function trustOrNull({ kind }: Proposal, said: TrustLabel, extraction: Extracted['extraction']): TrustLabel | null {
  try {
    // What a model makes of the user's words is the model's word; a rule repeats them.
    return trustFor(kind, extraction === 'model' ? 'agent' : 'user', 'system', [said]);
  } catch (error) {
    if (isProblem(error, 'memory.untrusted')) return null;
    throw error;
  }
}
