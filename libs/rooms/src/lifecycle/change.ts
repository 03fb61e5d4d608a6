import { limits, unreachable } from '@alcove/base';
import type { ImageRef, ResumedFrom, RoomEvent, RoomState } from '@alcove/contracts';
import type { RoomRecord } from '../room';
import { decide, isMoving, type Effect, type LifecycleEvent, type Verdict } from './lifecycle';

/** The row after an event, what to tell, and what to do. Pure data: the store saves it, the service acts on `effect`. */
export interface Change {
  readonly verdict: Verdict;
  /** Null when the event leaves no trace in the row. */
  readonly next: RoomRecord | null;
  /** Numbered from the room's last one on. */
  readonly news: readonly RoomEvent[];
  readonly effect: Effect | null;
}

/** What an event needs from outside: the wall clock, and the host chosen for an incarnation that is to be opened. */
export interface ChangeFacts {
  /** Milliseconds since 1970. */
  readonly now: number;
  readonly host?: { readonly id: string; readonly storeGroup: string };
}

/** The row that follows from `event`, by the lifecycle's verdict. Pure; the caller saves it by compare-and-set on the generation it started from. */
export function change(room: RoomRecord, event: LifecycleEvent, facts: ChangeFacts): Change {
  const verdict = decide(room, event);
  switch (verdict.kind) {
    case 'deny':
      return { verdict, next: null, news: [], effect: null };
    case 'ignore': {
      const wished = verdict.why === 'no_room' ? null : wish(room, event, verdict.why === 'kept');
      return { verdict, next: wished && { ...wished, generation: room.generation + 1 }, news: [], effect: null };
    }
    case 'move': {
      const next = moved(wish(room, event, false) ?? room, event, verdict, facts);
      const news = tell(room, next, event, facts.now).map((one, i): RoomEvent => ({ id: String(room.eventCount + i + 1), ...one }));
      return { verdict, next: { ...next, eventCount: room.eventCount + news.length }, news, effect: verdict.effect };
    }
    default:
      return unreachable(verdict);
  }
}

/** What an asking event writes apart from the state; null when that is there already. The last to ask wins. */
function wish(room: RoomRecord, event: LifecycleEvent, kept: boolean): RoomRecord | null {
  const asked = wishOf(room, event, kept);
  return asked.wanted === room.wanted && asked.wakePending === room.wakePending ? null : { ...room, ...asked };
}

function wishOf(room: RoomRecord, event: LifecycleEvent, kept: boolean): Pick<RoomRecord, 'wanted' | 'wakePending'> {
  if (event.kind === 'wake') return { wanted: 'available', wakePending: kept };
  if (event.kind === 'sleep' && event.reason === askedReason) return { wanted: 'asleep', wakePending: false };
  if (event.kind === 'destroy') return { wanted: 'gone', wakePending: false };
  return { wanted: room.wanted, wakePending: room.wakePending };
}

/** The reason of a `sleep` that somebody asked for: such a room shall stay asleep until somebody wakes it. */
export const askedReason = 'asked';

function moved(room: RoomRecord, event: LifecycleEvent, verdict: Verdict & { kind: 'move' }, facts: ChangeFacts): RoomRecord {
  const generation = room.generation + 1;
  const entered: RoomRecord = {
    ...room,
    state: verdict.to,
    stateSince: facts.now,
    move: generation,
    deadlineAt: isMoving(verdict.to) ? facts.now + deadlineMs(verdict.to) : null,
    generation,
    incarnation: verdict.incarnation,
    hostId: facts.host?.id ?? room.hostId,
    storeGroup: facts.host?.storeGroup ?? room.storeGroup,
  };
  switch (event.kind) {
    case 'up':
      return running(entered, event, room, facts.now);
    case 'sealed':
      return sealed(entered, event.image, event.engine, facts.now);
    case 'gone':
      return failed(entered, { code: event.reason, detail: null, at: facts.now }, room.state, null);
    case 'moveFailed':
      return failed(entered, { code: event.code, detail: event.detail, at: facts.now }, room.state, room.hostId);
    case 'discarded':
      return { ...entered, hostId: null, hasDisk: false, image: null, previous: null, sealedAt: null, envNames: [], envSealed: null, failure: null, failures: 0 };
    default:
      return entered;
  }
}

function running(entered: RoomRecord, event: LifecycleEvent & { kind: 'up' }, before: RoomRecord, now: number): RoomRecord {
  const rested: RoomRecord = { ...entered, wakePending: false, failures: 0, failure: null, hasDisk: true, imageSpent: true };
  if (event.start) return { ...rested, ...keptImages(before, event.start.resumedFrom), resumedFrom: event.start.resumedFrom, isolation: event.start.isolation };
  if (before.state !== 'hibernating') return rested;
  // The seal failed: told, and not tried again at once.
  return { ...rested, failures: before.failures + 1, failure: { code: event.reason, detail: null, at: now } };
}

/** After a restore from `image` the one before is of no more use; a restore from a checkpoint makes newer ones useless: their disk state is gone. */
function keptImages(before: RoomRecord, from: ResumedFrom): Pick<RoomRecord, 'image' | 'previous'> {
  if (from === 'memory') return { image: before.image, previous: null };
  if (from === 'checkpoint') return { image: checkpointOf(before) ?? before.image, previous: null };
  return { image: before.image, previous: before.previous };
}

/** The image to restore from, if the room has not run since it was sealed. */
export function freshImageOf(room: RoomRecord): ImageRef | null {
  return room.imageSpent ? null : room.image;
}

/** The image to go back to, with its disk state, when neither memory nor disk will do. */
export function checkpointOf(room: RoomRecord): ImageRef | null {
  return room.imageSpent ? room.image : room.previous;
}

function sealed(room: RoomRecord, image: ImageRef, engine: string | null, now: number): RoomRecord {
  return { ...room, hasDisk: true, image, previous: room.image, imageSpent: false, sealedAt: now, engine, failures: 0, failure: null };
}

/** A wake that was tried has had its answer; one that could not start yet stays wished for. */
function failed(room: RoomRecord, failure: RoomRecord['failure'], from: RoomState, hostId: string | null): RoomRecord {
  const wakePending = from === 'provisioning' || from === 'resuming' ? false : room.wakePending;
  return { ...room, failure, failures: room.failures + 1, wakePending, hostId };
}

/** How long a moving state may last, in milliseconds. */
export function deadlineMs(state: RoomState): number {
  if (state === 'provisioning') return limits.move.provisionMs;
  if (state === 'resuming') return limits.move.resumeMs;
  if (state === 'hibernating') return limits.move.hibernateMs;
  return limits.move.destroyMs;
}

type RoomNews = Omit<RoomEvent, 'id'>;

function tell(before: RoomRecord, after: RoomRecord, event: LifecycleEvent, now: number): RoomNews[] {
  const base: RoomNews = {
    roomId: after.id,
    at: new Date(now).toISOString(),
    type: 'state',
    from: before.state,
    to: after.state,
    reason: reasonOf(event),
    incarnation: after.incarnation,
    generation: after.generation,
    durationMs: before.state === 'absent' ? null : Math.max(0, now - before.stateSince),
    resumedFrom: event.kind === 'up' ? (event.start?.resumedFrom ?? null) : null,
  };
  if (event.kind === 'up' && event.start) {
    const fallbacks = event.start.fallbacks.map((one): RoomNews => ({ ...base, type: 'fallback', reason: one.code, detail: { level: one.level, ...(one.detail === undefined ? {} : { why: one.detail }) } }));
    return [...fallbacks, { ...base, detail: { ...event.start.detail } }];
  }
  if (event.kind === 'sealed') {
    const { id, bytes, pages } = event.image;
    return [{ ...base, type: 'image', detail: { imageId: id, bytes, pages, ...event.detail } }, base];
  }
  if (event.kind === 'moveFailed') return [{ ...base, detail: { ...(event.detail === null ? {} : { why: event.detail }) } }];
  return [base];
}

function reasonOf(event: LifecycleEvent): string {
  if (event.kind === 'moveFailed') return event.code;
  if (event.kind === 'sealed' || event.kind === 'discarded') return event.kind;
  return event.reason;
}
