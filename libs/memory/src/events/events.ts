import { canonicalJson } from '@alcove/audit';
import { newId } from '@alcove/base';
import { type AddMemoryEvent, type ListMemoryEvents, type MemoryEvent, type MemoryEventPage, type MemoryRemoved, Problem } from '@alcove/contracts';
import { encodeCursor } from '@alcove/identity';
import { logAccess } from '../access-log';
import type { MemoryCaller } from '../caller';
import type { MemoryUnit } from '../memory-unit';
import type { MemoryParts } from '../parts';
import { notFound, readCursor, type Records } from '../records/records';
import { lowest, mostFrom } from '../records/trust';
import { countEvents, type EventRow, insertEvent, keyVersionsOfEvents, openEvent, pageOfEvents, type Said, sealEvent, sessionTag } from './event-rows';

/** Short-term memory: what was said, until it expires. */
export class Events {
  constructor(
    private readonly parts: MemoryParts,
    private readonly records: Records,
  ) {}

  async add(caller: MemoryCaller, input: AddMemoryEvent, options: { idempotencyKey?: string }): Promise<{ event: MemoryEvent; repeated: boolean }> {
    const policy = await this.parts.policies.of(caller.tenantId);
    const now = this.parts.clock.now();
    const said: Said = { ...input, source: { ...input.source, trust: lowest([input.source.trust, mostFrom(caller.channel)]) } };
    return this.parts.units.writing(
      caller,
      async (unit) => {
        const made = await unit.withSealing((sealing) => {
          const key = options.idempotencyKey;
          const id = key === undefined ? newId('mev') : `mev_${sealing.blind(sealing.current, ['idempotency', caller.actor, key]).subarray(0, 10).toString('hex')}`;
          return { id, sealed: sealEvent(sealing, id, said), session: sessionTag(sealing, sealing.current, said.session), request: key === undefined ? null : sealing.blind(sealing.current, ['request', canonicalJson(input)]) };
        });
        const before = made.request && (await this.#before(unit, made.id, made.request));
        if (before) return { event: before, repeated: true };
        if ((await countEvents(unit.tx, unit.owner)) >= policy.eventsPerUser) throw new Problem('memory.quota', { detail: `At most ${policy.eventsPerUser} events.` });
        const times = { createdAt: now, expiresAt: now + policy.eventRetentionMs };
        await insertEvent(unit.tx, unit.owner, { ...made, ...times });
        await logAccess(unit.tx, caller, 'add', 1, now);
        return { event: toEvent(made.id, said, new Date(times.createdAt), new Date(times.expiresAt)), repeated: false };
      },
      { create: true },
    );
  }

  async list(caller: MemoryCaller, query: ListMemoryEvents): Promise<MemoryEventPage> {
    const after = query.cursor === undefined ? null : readCursor(query.cursor);
    return this.parts.units.reading(caller, async (unit) => {
      const versions = query.session === undefined ? [] : await keyVersionsOfEvents(unit.tx, unit.owner);
      const { session } = query;
      const tags = session === undefined ? null : await unit.withSealing((sealing) => versions.map((version) => sessionTag(sealing, version, session)));
      const rows = await pageOfEvents(unit.tx, unit.owner, tags, after, query.limit + 1);
      const shown = rows.slice(0, query.limit);
      const events = await unit.withSealing((sealing) => shown.map((row) => toEvent(row.id, openEvent(sealing, row), row.createdAt, row.expiresAt)));
      const last = shown.at(-1);
      await logAccess(unit.tx, caller, 'list', events.length, this.parts.clock.now());
      return { events, nextCursor: rows.length > query.limit && last ? encodeCursor([last.createdAt.toISOString(), last.id]) : null };
    });
  }

  /** Erases an event, and every record that was derived from it. */
  async remove(caller: MemoryCaller, id: string): Promise<MemoryRemoved> {
    const policy = await this.parts.policies.of(caller.tenantId);
    return this.parts.units.writing(caller, async (unit) => {
      const { tenantId, userId } = caller;
      const gone = await unit.tx.$executeRaw`delete from memory_event where tenant_id = ${tenantId}::uuid and user_id = ${userId} and id = ${id}`;
      if (gone === 0) throw notFound();
      const ids = [id, ...(await this.records.writes(unit, policy).erase([id]))];
      await logAccess(unit.tx, caller, 'erase', ids.length, this.parts.clock.now());
      return { mode: 'erase', ids };
    });
  }

  /** What the same request made before. Problem `request.idempotency_reused`. */
  async #before(unit: MemoryUnit, id: string, request: Buffer): Promise<MemoryEvent | null> {
    const { tenantId, userId } = unit.owner;
    const [row] = await unit.tx.$queryRaw<(EventRow & { request: Uint8Array | null })[]>`
      select id, key_version as "keyVersion", sealed, request, created_at as "createdAt", expires_at as "expiresAt" from memory_event
      where tenant_id = ${tenantId}::uuid and user_id = ${userId} and id = ${id}`;
    if (!row) return null;
    if (!row.request || !Buffer.from(row.request).equals(request)) throw new Problem('request.idempotency_reused');
    return unit.withSealing((sealing) => toEvent(row.id, openEvent(sealing, row), row.createdAt, row.expiresAt));
  }
}

export function toEvent(id: string, { session, role, content, source }: Said, createdAt: Date, expiresAt: Date): MemoryEvent {
  return { id, session, role, content, source, createdAt: createdAt.toISOString(), expiresAt: expiresAt.toISOString() };
}
