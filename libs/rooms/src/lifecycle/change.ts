import { limits, unreachable } from '@alcove/base';
import type { ImageRef, ResumedFrom, RoomEvent, RoomState } from '@alcove/contracts';
import type { RoomEnd, RoomRecord } from '../room';
import { decide, isBeingCopied, isMoving, type Effect, type LifecycleEvent, type Verdict } from './lifecycle';

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
      const wished = verdict.why === 'no_room' ? null : wish(room, event, verdict.why === 'kept', facts.now);
      return { verdict, next: wished && { ...settled(wished), generation: room.generation + 1 }, news: [], effect: null };
    }
    case 'move': {
      const next = settled(moved(wish(room, event, false, facts.now) ?? room, event, verdict, facts));
      const news = tell(room, next, event, facts.now).map((one, i): RoomEvent => ({ id: String(room.eventCount + i + 1), ...one }));
      return { verdict, next: { ...next, eventCount: room.eventCount + news.length }, news, effect: verdict.effect };
    }
    default:
      return unreachable(verdict);
  }
}

type Wish = Pick<RoomRecord, 'wanted' | 'wakePending' | 'bootNext' | 'endsAt' | 'ending'>;

/** What an asking event writes apart from the state; null when that is there already. The last to ask wins. */
function wish(room: RoomRecord, event: LifecycleEvent, kept: boolean, now: number): RoomRecord | null {
  const asked = wishOf(room, event, kept, now);
  const changed = Object.entries(asked).some(([name, value]) => room[name as keyof Wish] !== value);
  return changed ? { ...room, ...asked } : null;
}

function wishOf(room: RoomRecord, event: LifecycleEvent, kept: boolean, now: number): Partial<Wish> {
  switch (event.kind) {
    case 'wake':
      return { wanted: 'available', wakePending: kept, bootNext: room.bootNext || (event.boot === true && isAsleep(room.state)), endsAt: endOfWake(room, event, now) };
    case 'sleep': {
      const bootNext = room.bootNext || (event.keepMemory === false && (room.state === 'running' || isAsleep(room.state)));
      if (event.reason === askedReason) return { wanted: 'asleep', wakePending: false, bootNext };
      // Only for the moment: it comes back by itself, whoever dies meanwhile.
      return (event.reason === snapshotReason || event.reason === holdReason) && room.state === 'running' ? { wakePending: true, bootNext } : { bootNext };
    }
    case 'destroy':
      return room.wanted === 'gone' ? {} : { wanted: 'gone', wakePending: false, ending: { reason: event.reason, at: now } };
    default:
      return {};
  }
}

/** The reason of a `sleep` that somebody asked for: such a room shall stay asleep until somebody wakes it. */
export const askedReason = 'asked';
/** The reason of a `sleep` so that the room can be copied. */
export const snapshotReason = 'snapshot';
/** The reason of a `sleep` because the room is on hold. */
export const holdReason = 'hold';
/** The reason of a `wake` that was asked for before. */
export const keptReason = 'kept';
/** The reason of a `sleep` or `destroy` because the room's time is over. */
export const timeoutReason = 'timeout';

function isAsleep(state: RoomState): boolean {
  return state === 'hibernating' || state === 'hibernated' || state === 'failed';
}

/** When a room that is woken ends by itself: never earlier than it would have, and an end that has passed while it slept counts no more. Null: decided when it is up. */
function endOfWake(room: RoomRecord, event: LifecycleEvent & { kind: 'wake' }, now: number): number | null {
  const { endsAt, lifecycle, state } = room;
  if (event.reason === keptReason) return endsAt;
  if (event.liveMs !== undefined && (lifecycle.timeoutMs !== null || endsAt !== null)) {
    const liveMs = state === 'running' ? event.liveMs : Math.max(event.liveMs, lifecycle.timeoutMs ?? 0);
    return Math.max(endsAt ?? 0, now + liveMs);
  }
  return endsAt !== null && endsAt <= now && state !== 'running' ? null : endsAt;
}

/** A room has an end of its own only while it runs, or is on its way back to that. */
function settled(room: RoomRecord): RoomRecord {
  const rests = (room.state === 'hibernated' && !room.wakePending) || room.wanted === 'gone';
  return rests && room.endsAt !== null ? { ...room, endsAt: null } : room;
}

function moved(room: RoomRecord, event: LifecycleEvent, verdict: Verdict & { kind: 'move' }, facts: ChangeFacts): RoomRecord {
  const generation = room.generation + 1;
  const entered: RoomRecord = {
    ...room,
    state: verdict.to,
    stateSince: facts.now,
    move: generation,
    deadlineAt: isMoving(verdict.to) ? facts.now + deadlineMs(verdict.to, isBeingCopied(room)) : null,
    generation,
    incarnation: verdict.incarnation,
    hostId: facts.host?.id ?? room.hostId,
    storeGroup: facts.host?.storeGroup ?? room.storeGroup,
  };
  switch (event.kind) {
    case 'up':
      return running(entered, event, room, facts.now);
    case 'sealed':
      return sealed(entered, event, facts.now);
    case 'gone':
      return failed(entered, { code: event.reason, detail: null, at: facts.now }, room.state, null);
    case 'moveFailed':
      return failed(entered, { code: event.code, detail: event.detail, at: facts.now }, room.state, room.hostId);
    case 'discarded':
      return { ...entered, hostId: null, hasDisk: false, image: null, previous: null, sealedAt: null, envNames: [], envSealed: null, failure: null, failures: 0, bootNext: false, holders: [], hold: null };
    default:
      return entered;
  }
}

function running(entered: RoomRecord, event: LifecycleEvent & { kind: 'up' }, before: RoomRecord, now: number): RoomRecord {
  const endsAt = entered.endsAt ?? endOfStart(entered, now);
  const origin = entered.origin && { ...entered.origin, fresh: false };
  const rested: RoomRecord = { ...entered, wakePending: false, failures: 0, failure: null, hasDisk: true, imageSpent: true, bootNext: false, endsAt, origin };
  if (event.start) return { ...rested, ...keptImages(before, event.start.resumedFrom), resumedFrom: event.start.resumedFrom, isolation: event.start.isolation };
  if (before.state !== 'hibernating') return rested;
  // The seal failed: told, and not tried again at once.
  return { ...rested, failures: before.failures + 1, failure: { code: event.reason, detail: null, at: now } };
}

function endOfStart({ lifecycle }: RoomRecord, now: number): number | null {
  return lifecycle.timeoutMs === null ? null : now + lifecycle.timeoutMs;
}

/** After a restore from `image` the one before is of no more use; a restore from a checkpoint makes newer ones useless: their disk state is gone. */
function keptImages(before: RoomRecord, from: ResumedFrom): Pick<RoomRecord, 'image' | 'previous'> {
  if (from === 'memory') return { image: before.image, previous: null };
  if (from === 'checkpoint') return { image: checkpointOf(before) ?? before.image, previous: null };
  // A boot that was meant keeps the image that the room slept with, to go back to, and nothing older.
  return { image: before.image, previous: before.bootNext ? null : before.previous };
}

/** The image to restore from, if the room has not run since it was sealed and shall not boot. */
export function freshImageOf(room: RoomRecord): ImageRef | null {
  return room.bootNext ? null : sleepingImageOf(room);
}

/** The image that a room sleeps with, whether its next start is from it or not. */
export function sleepingImageOf(room: RoomRecord): ImageRef | null {
  return room.imageSpent ? null : room.image;
}

/** The image to go back to, with its disk state, when neither memory nor disk will do. */
export function checkpointOf(room: RoomRecord): ImageRef | null {
  return room.imageSpent || room.bootNext ? room.image : room.previous;
}

function sealed(room: RoomRecord, { image, engine, bootNext = room.bootNext }: LifecycleEvent & { kind: 'sealed' }, now: number): RoomRecord {
  return { ...room, hasDisk: true, image, previous: room.image, imageSpent: false, sealedAt: now, engine, bootNext, failures: 0, failure: null };
}

/** A wake that was tried has had its answer; one that could not start yet stays wished for. A copy that has nothing to start from must not stay: its only start would be a blank one. */
function failed(room: RoomRecord, failure: NonNullable<RoomRecord['failure']>, from: RoomState, hostId: string | null): RoomRecord {
  const wakePending = from === 'provisioning' || from === 'resuming' ? false : room.wakePending;
  // What shall be killed in the end does not stay for ever because it failed before.
  const endsAt = room.lifecycle.onTimeout === 'kill' ? (room.endsAt ?? endOfStart(room, failure.at)) : null;
  const next = { ...room, failure, failures: room.failures + 1, wakePending, hostId, endsAt };
  const ending: RoomEnd = room.ending ?? { reason: failure.code, at: failure.at };
  return isBeingCopied(room) ? { ...next, wanted: 'gone', wakePending: false, ending } : next;
}

/** How long a moving state may last, in milliseconds. */
export function deadlineMs(state: RoomState, copies = false): number {
  if (state === 'provisioning' && copies) return limits.move.copyMs;
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
  if (event.kind === 'sleep' && event.keepMemory === false) return [{ ...base, detail: { keepMemory: false } }];
  if (event.kind === 'wake' && event.boot) return [{ ...base, detail: { boot: true } }];
  return [base];
}

function reasonOf(event: LifecycleEvent): string {
  if (event.kind === 'moveFailed') return event.code;
  if (event.kind === 'sealed' || event.kind === 'discarded') return event.kind;
  return event.reason;
}
