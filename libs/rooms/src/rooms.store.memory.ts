import { Cleanup, KeyedQueue } from '@alcove/base';
import type { RoomEvent } from '@alcove/contracts';
import type { MemoryScope } from '@alcove/jobs';
import { mayLive } from './lifecycle/lifecycle';
import type { RoomRecord } from './room';
import { limitOf, limitReached, RoomsStore, shownKinds, type IncarnationRecord, type IncarnationReport, type LocatedRoom, type RoomKey, type RoomLimit, type RoomQuery, type RoomSave, type RoomWithIncarnations } from './rooms.store';

interface Held {
  room: RoomRecord;
  incarnations: Map<number, IncarnationRecord>;
  events: RoomEvent[];
}

/** RoomsStore without a database: for tests and the simulator. */
export class MemoryRoomsStore extends RoomsStore<MemoryScope | undefined> {
  readonly #rooms = new Map<string, Held>();
  readonly #users = new KeyedQueue();
  /** Called after every save that was kept. */
  onSaved: (room: RoomRecord) => void = () => undefined;

  override async find(tenantId: string, roomId: string): Promise<RoomWithIncarnations | null> {
    const held = this.#of({ tenantId, roomId });
    return held ? { room: held.room, open: openOf(held) } : null;
  }

  override async list(tenantId: string, query: RoomQuery): Promise<RoomRecord[]> {
    return [...this.#rooms.values()]
      .map((held) => held.room)
      .filter((room) => room.tenantId === tenantId && matches(room, query))
      .sort(query.newestFirst ? (a, b) => byAge(b, a) : byAge)
      .slice(0, query.limit);
  }

  override async create(save: RoomSave, admit: (scope: MemoryScope) => Promise<RoomLimit>, also: (scope: MemoryScope) => Promise<unknown>): Promise<void> {
    const { tenantId, userId, id } = save.next;
    await this.#users.run(`${tenantId}/${userId}`, () =>
      atomically(async (scope) => {
        const allowed = limitOf(save.next.kind, await admit(scope));
        const others = [...this.#rooms.values()].filter(({ room }) => room.tenantId === tenantId && room.userId === userId && room.kind === save.next.kind && room.wanted !== 'gone');
        if (others.length >= allowed) throw limitReached(save.next.kind, allowed);
        await also(scope);
        const held: Held = { room: save.next, incarnations: new Map(), events: [] };
        this.#rooms.set(id, held);
        write(held, save);
      }),
    );
    this.onSaved(save.next);
  }

  override async save(save: RoomSave, also: (scope: MemoryScope) => Promise<unknown>): Promise<boolean> {
    const key = { tenantId: save.next.tenantId, roomId: save.next.id };
    const saved = await atomically(async (scope) => {
      if (this.#of(key)?.room.generation !== save.next.generation - 1) return false;
      await also(scope);
      const held = this.#of(key);
      if (held?.room.generation !== save.next.generation - 1) throw new Overtaken();
      write(held, save);
      return true;
    }).catch((error: unknown) => {
      if (error instanceof Overtaken) return false;
      throw error;
    });
    if (saved) this.onSaved(save.next);
    return saved;
  }

  override async locate(roomId: string): Promise<LocatedRoom | null> {
    const held = this.#rooms.get(roomId);
    return held ? { room: held.room, open: openOf(held), newest: held.incarnations.get(held.room.incarnation) ?? null } : null;
  }

  override async report(key: RoomKey, report: IncarnationReport, now: number): Promise<void> {
    const held = this.#of(key);
    if (held) take(held, report, now);
  }

  override async events(tenantId: string, roomId: string, after: number, limit: number, from = 0): Promise<RoomEvent[]> {
    const events = this.#of({ tenantId, roomId })?.events ?? [];
    return events.filter((event) => Number(event.id) > after && Date.parse(event.at) >= from).slice(0, limit);
  }

  override async openOn(hostId: string): Promise<{ room: RoomRecord; incarnation: IncarnationRecord }[]> {
    return this.#open().filter(({ incarnation }) => incarnation.hostId === hostId);
  }

  override async orphans(limit: number): Promise<{ room: RoomRecord; incarnation: IncarnationRecord }[]> {
    return this.#open()
      .filter(({ room, incarnation }) => incarnation.incarnation !== room.incarnation || !(mayLive(room.state) || room.state === 'destroying'))
      .slice(0, limit);
  }

  override async wishing(limit: number): Promise<RoomRecord[]> {
    return this.#where(isWishing, byAge, limit);
  }

  override async overdue(now: number, limit: number): Promise<RoomRecord[]> {
    return this.#where((room) => room.deadlineAt !== null && room.deadlineAt <= now, byAge, limit);
  }

  override async expired(now: number, limit: number): Promise<RoomRecord[]> {
    return this.#where((room) => room.endsAt !== null && room.endsAt <= now && (room.state === 'running' || room.state === 'failed'), (a, b) => (a.endsAt ?? 0) - (b.endsAt ?? 0) || byAge(a, b), limit);
  }

  override async held(limit: number): Promise<RoomRecord[]> {
    return this.#where((room) => room.holders.length > 0, byAge, limit);
  }

  override async onHold(limit: number): Promise<RoomRecord[]> {
    return this.#where((room) => room.hold !== null, byAge, limit);
  }

  override async offHold(tenantIds: readonly string[], limit: number): Promise<RoomRecord[]> {
    return this.#where((room) => room.hold === null && room.state !== 'destroyed' && tenantIds.includes(room.tenantId), byAge, limit);
  }

  /** Everything at once, for the checkers of the simulator. */
  all(): { room: RoomRecord; incarnations: IncarnationRecord[]; events: RoomEvent[] }[] {
    return [...this.#rooms.values()].map((held) => ({ room: held.room, incarnations: [...held.incarnations.values()], events: [...held.events] }));
  }

  #where(is: (room: RoomRecord) => boolean, order: (a: RoomRecord, b: RoomRecord) => number, limit: number): RoomRecord[] {
    return [...this.#rooms.values()].map((held) => held.room).filter(is).sort(order).slice(0, limit);
  }

  #of(key: RoomKey): Held | undefined {
    const held = this.#rooms.get(key.roomId);
    return held?.room.tenantId === key.tenantId ? held : undefined;
  }

  #open(): { room: RoomRecord; incarnation: IncarnationRecord }[] {
    return [...this.#rooms.values()].flatMap((held) => openOf(held).map((incarnation) => ({ room: held.room, incarnation })));
  }
}

/** Another save came first while `also` ran. */
class Overtaken extends Error {}

/** What others wrote in the scope is taken back when the work fails. */
async function atomically<T>(work: (scope: MemoryScope) => Promise<T>): Promise<T> {
  const undo = new Cleanup();
  try {
    return await work({ onRollback: (step) => undo.add('write', step) });
  } catch (error) {
    await undo.run();
    throw error;
  }
}

function write(held: Held, save: RoomSave): void {
  const { next } = save;
  held.room = next;
  if (save.opens) {
    const { incarnation, hostId } = save.opens;
    held.incarnations.set(incarnation, { tenantId: next.tenantId, roomId: next.id, incarnation, hostId, phase: 'starting', sequence: 0, openedAt: next.stateSince, closedAt: null, reason: null });
  }
  for (const report of save.reports) take(held, report, next.stateSince);
  held.events.push(...save.news);
}

function take(held: Held, report: IncarnationReport, now: number): void {
  const known = held.incarnations.get(report.incarnation);
  if (!known || known.closedAt !== null || (report.sequence !== null && report.sequence < known.sequence)) return;
  const gone = report.phase === 'gone';
  held.incarnations.set(report.incarnation, { ...known, phase: report.phase, sequence: report.sequence ?? known.sequence, closedAt: gone ? now : null, reason: report.reason ?? known.reason });
}

function openOf(held: Held): IncarnationRecord[] {
  return [...held.incarnations.values()].filter((one) => one.closedAt === null).sort((a, b) => a.incarnation - b.incarnation);
}

function byAge(a: RoomRecord, b: RoomRecord): number {
  return a.createdAt - b.createdAt || (a.id < b.id ? -1 : 1);
}

function isAfter(room: RoomRecord, after: { createdAt: number; id: string }, newestFirst: boolean): boolean {
  if (newestFirst) return room.createdAt < after.createdAt || (room.createdAt === after.createdAt && room.id < after.id);
  return room.createdAt > after.createdAt || (room.createdAt === after.createdAt && room.id > after.id);
}

function matches(room: RoomRecord, query: RoomQuery): boolean {
  if (query.userId !== undefined && room.userId !== query.userId) return false;
  if (query.states ? !query.states.includes(room.state) : room.state === 'destroyed') return false;
  if (!(query.kinds ?? shownKinds).includes(room.kind)) return false;
  if (query.template !== undefined && room.template !== query.template && room.templateId !== query.template) return false;
  if (query.createdFrom !== undefined && room.createdAt < query.createdFrom) return false;
  if (query.originId !== undefined && room.origin?.roomId !== query.originId) return false;
  if (query.snapshotName !== undefined && room.snapshotName !== query.snapshotName) return false;
  if (query.after && !isAfter(room, query.after, query.newestFirst ?? false)) return false;
  return Object.entries(query.metadata ?? {}).every(([key, value]) => room.metadata[key] === value);
}

function isWishing(room: RoomRecord): boolean {
  if (room.state === 'destroyed' || room.deadlineAt !== null) return false;
  return room.wanted === 'gone' || ((room.wanted === 'asleep' || room.holders.length > 0 || room.hold !== null) && room.state === 'running') || (room.wakePending && room.state !== 'running' && room.hold === null);
}
