import { assert, type Clock, type Log } from '@alcove/base';
import { Problem } from '@alcove/contracts';
import type { Json, SqlTx } from '@alcove/db';
import { type FleetService, type HostRecord, storeGroupOf } from '@alcove/fleet';
import type { Outbox, Saga, SagaRunner, StartedSaga } from '@alcove/jobs';
import { change, freshImageOf, type Change } from './lifecycle/change';
import { decide, type LifecycleEvent, type SagaKind, type Verdict } from './lifecycle/lifecycle';
import { reconcile } from './lifecycle/reconcile';
import type { RoomAudit } from './ports';
import type { RoomRecord } from './room';
import type { RoomWatchers } from './room-watchers';
import type { IncarnationReport, RoomKey, RoomLimit, RoomsStore, RoomWithIncarnations } from './rooms.store';
import { moveParams, type MoveParams } from './sagas/move';

export interface MoverParts<Scope = SqlTx> {
  readonly store: RoomsStore<Scope>;
  readonly runner: SagaRunner<Scope>;
  readonly outbox: Outbox<Scope>;
  readonly audit: RoomAudit<Scope>;
  readonly fleet: FleetService;
  readonly watchers: RoomWatchers;
  readonly clock: Clock;
  readonly log: Log;
}

export interface ApplyOptions {
  /** For the audit record: `key:<id>`, `system`, `host:<id>`. */
  readonly actor: string;
  /** The sequence of the host's report behind the event. */
  readonly sequence?: number;
  /** The row as it was read a moment ago: spares reading it again. */
  readonly known?: RoomWithIncarnations;
}

export interface Applied {
  /** The row after the event; null when there is no such room. */
  readonly room: RoomRecord | null;
  readonly verdict: Verdict;
}

/** What `edit` may change. */
export type RoomEdit = Partial<Pick<RoomRecord, 'envNames' | 'envSealed' | 'metadata' | 'lifecycle' | 'endsAt' | 'network' | 'holders' | 'hold'>>;

type RoomSagas = Readonly<Record<SagaKind, Saga<MoveParams>>>;

/** How often an event is decided anew because another save came first. */
const casAttempts = 12;
/** Rows of moves that this process began and has not seen end. */
const recentMax = 10_000;

/**
 * The one place where an event meets a room: decide, save with everything that belongs to it in one transaction, then act. A saga is run at once in this
 * process; its retry, and what is left when this process dies, come through the queue and the reconcilers.
 */
export class RoomMover<Scope = SqlTx> {
  readonly #parts: MoverParts<Scope>;
  /** The newest row of rooms on the move, as saved here: spares a read. Never trusted to refuse anything. */
  readonly #recent = new Map<string, RoomWithIncarnations>();
  #sagas: RoomSagas | null = null;

  constructor(parts: MoverParts<Scope>) {
    this.#parts = parts;
  }

  /** Makes the sagas known, which themselves need the mover. Once, when the process is put together. */
  learn(sagas: RoomSagas): void {
    assert(this.#sagas === null, 'the sagas are known already');
    this.#sagas = sagas;
    for (const saga of Object.values(sagas)) this.#parts.runner.register(saga);
  }

  /** Makes a room and starts it, or begins to copy it from its origin, for which any host does that sees both. Throws `room.limit`, `user.gone`, `host.capacity`, `host.unavailable`. */
  async create(absent: RoomRecord, actor: string, admit: (scope: Scope) => Promise<RoomLimit>): Promise<RoomRecord> {
    const event: LifecycleEvent = { kind: absent.origin ? 'copy' : 'wake', reason: 'created' };
    const host = absent.origin && absent.storeGroup !== null ? await this.#parts.fleet.anyOf(absent.storeGroup, absent.templateId) : await this.#place(absent);
    const made = change(absent, event, { now: this.#parts.clock.now(), host: placeOf(host) });
    assert(made.next, 'a new room starts');
    const also = this.#also({ room: absent, open: [] }, made, event, { actor });
    await this.#parts.store.create({ next: made.next, news: made.news, opens: { incarnation: made.next.incarnation, hostId: host.id }, reports: [] }, admit, also.write);
    this.#saved(made.next, [], also.started());
    return made.next;
  }

  /** Brings an event to a room. Throws `room.busy` when others keep coming first, and what placement throws; then nothing has changed. */
  async apply(key: RoomKey, event: LifecycleEvent, options: ApplyOptions): Promise<Applied> {
    const recent = this.#recent.get(key.roomId) ?? options.known;
    if (recent?.room.tenantId === key.tenantId) {
      const applied = await this.#attempt(recent, event, options);
      if (applied && (applied.verdict.kind === 'move' || recent === options.known)) return applied;
    }
    for (let attempt = 0; attempt < casAttempts; attempt++) {
      const found = await this.#parts.store.find(key.tenantId, key.roomId);
      if (!found) return { room: null, verdict: { kind: 'ignore', why: 'no_room' } };
      const applied = await this.#attempt(found, event, options);
      if (applied) return applied;
    }
    throw new Problem('room.busy');
  }

  /** Changes what no event does: what a room is to have, and who holds it. A wish that this brings up is acted on. Null when there is no such room. */
  async edit(key: RoomKey, actor: string, action: string, edit: (room: RoomRecord) => Promise<RoomEdit>): Promise<RoomRecord | null> {
    for (let attempt = 0; attempt < casAttempts; attempt++) {
      const found = await this.#parts.store.find(key.tenantId, key.roomId);
      if (!found) return null;
      const edited = await edit(found.room);
      const next: RoomRecord = { ...found.room, ...edited, generation: found.room.generation + 1 };
      const record = { tenantId: key.tenantId, actor, action, resource: `room:${key.roomId}`, facts: editFacts(edited) };
      const saved = await this.#parts.store.save({ next, news: [], opens: null, reports: [] }, async (scope) => {
        await this.#remind(scope, next);
        await this.#parts.audit.append(scope, record);
      });
      if (!saved) continue;
      this.#saved(next, found.open, null);
      return next;
    }
    throw new Problem('room.busy');
  }

  /** Gives a room the event it needs, if any. For the reconcilers and the end of every move. */
  async reconcile(key: RoomKey): Promise<Applied | null> {
    const found = await this.#parts.store.find(key.tenantId, key.roomId);
    if (!found) return null;
    const { hostId } = found.room;
    const event = reconcile(found.room, this.#parts.clock.now(), { hostLost: hostId !== null && (await this.#parts.fleet.isLost(hostId)) });
    return event ? this.apply(key, event, { actor: 'system' }) : null;
  }

  async #attempt(found: RoomWithIncarnations, event: LifecycleEvent, options: ApplyOptions): Promise<Applied | null> {
    const { room } = found;
    const expected = decide(room, event);
    const opens = expected.kind === 'move' && expected.incarnation > room.incarnation;
    const host = opens ? await this.#place(room) : null;
    const made = change(room, event, { now: this.#parts.clock.now(), ...(host && { host: placeOf(host) }) });
    const { next, verdict } = made;
    if (!next) return { room, verdict };
    const also = this.#also(found, made, event, options);
    const reports = reportsOf(event, options.sequence ?? null);
    const saved = await this.#parts.store.save({ next, news: made.news, opens: host && { incarnation: next.incarnation, hostId: host.id }, reports }, also.write);
    if (!saved) {
      this.#recent.delete(room.id);
      return null;
    }
    const closed = new Set(reports.filter(({ phase }) => phase === 'gone').map(({ incarnation }) => incarnation));
    this.#saved(next, found.open.filter(({ incarnation }) => !closed.has(incarnation)), also.started());
    return { room: next, verdict };
  }

  #place(room: RoomRecord): Promise<HostRecord> {
    const { templateId, storeGroup, size } = room;
    return this.#parts.fleet.place({ templateId, storeGroup, memoryMiB: size.memoryMiB, engine: freshImageOf(room) ? room.engine : null });
  }

  /** What is written in the transaction of a save. It may run more than once; the last run counts. */
  #also(found: RoomWithIncarnations, made: Change, event: LifecycleEvent, options: ApplyOptions): { write: (scope: Scope) => Promise<void>; started: () => StartedSaga | null } {
    const { runner, audit } = this.#parts;
    const next = made.next;
    assert(next, 'nothing to save');
    let started: StartedSaga | null = null;
    const write = async (scope: Scope): Promise<void> => {
      const { effect } = made;
      if (effect) {
        assert(this.#sagas, 'the sagas are not known yet');
        const params = moveParams(next, effect.incarnation, found.open);
        started = await runner.start(scope, this.#sagas[effect.saga], { tenantId: next.tenantId, params });
      } else {
        await this.#remind(scope, next);
      }
      // Last: it holds the tenant's chain until the transaction ends.
      await audit.append(scope, { tenantId: next.tenantId, actor: options.actor, action: `room.${event.kind}`, resource: `room:${next.id}`, facts: auditFacts(found.room, next, event) });
    };
    return { write, started: () => started };
  }

  /** A wish that the row brings up is not forgotten when this process dies. */
  async #remind(scope: Scope, room: RoomRecord): Promise<void> {
    if (reconcile(room, this.#parts.clock.now(), { hostLost: false })) await this.#parts.outbox.enqueue(scope, 'room.reconcile', { roomId: room.id, tenantId: room.tenantId });
  }

  #saved(room: RoomRecord, open: RoomWithIncarnations['open'], started: StartedSaga | null): void {
    const { runner, watchers, log, clock } = this.#parts;
    this.#remember(room, open);
    watchers.changed(room);
    if (started) {
      runner.advance(started).catch((err: unknown) => log.warn({ err, roomId: room.id }, 'a move could not go on here; it goes on after its lease'));
    } else if (reconcile(room, clock.now(), { hostLost: false })) {
      this.reconcile({ tenantId: room.tenantId, roomId: room.id }).catch((err: unknown) => log.info({ err, roomId: room.id }, 'a wish could not be honoured yet'));
    }
  }

  #remember(room: RoomRecord, open: RoomWithIncarnations['open']): void {
    this.#recent.delete(room.id);
    if (room.deadlineAt === null) return;
    this.#recent.set(room.id, { room, open });
    const oldest = this.#recent.size > recentMax ? this.#recent.keys().next().value : undefined;
    if (oldest !== undefined) this.#recent.delete(oldest);
  }
}

function placeOf(host: HostRecord): { id: string; storeGroup: string } {
  return { id: host.id, storeGroup: storeGroupOf(host) };
}

/** What an event says about the row of its incarnation. */
function reportsOf(event: LifecycleEvent, sequence: number | null): IncarnationReport[] {
  switch (event.kind) {
    case 'up':
      return [{ incarnation: event.incarnation, phase: 'running', sequence, reason: null }];
    case 'sealed':
      return [{ incarnation: event.incarnation, phase: 'sealed', sequence, reason: null }];
    case 'gone':
      return [{ incarnation: event.incarnation, phase: 'gone', sequence, reason: event.reason }];
    case 'discarded':
      return [{ incarnation: event.incarnation, phase: 'gone', sequence, reason: 'discarded' }];
    default:
      return [];
  }
}

/** Names of what was changed; values are the tenant's own business. */
function editFacts(edited: RoomEdit): { [name: string]: Json } {
  const { envNames, holders, lifecycle } = edited;
  return { changed: Object.keys(edited), ...(envNames && { envNames: [...envNames] }), ...(holders && { holders: [...holders] }), ...(lifecycle && { lifecycle: { ...lifecycle } }) };
}

function auditFacts(before: RoomRecord, after: RoomRecord, event: LifecycleEvent): { [name: string]: Json } {
  const reason = 'reason' in event ? event.reason : event.kind === 'moveFailed' ? event.code : null;
  return { from: before.state, to: after.state, wanted: after.wanted, incarnation: after.incarnation, generation: after.generation, reason };
}
