import { limits } from '@alcove/base';
import type { RoomRecord } from '../room';
import { holdReason, keptReason, snapshotReason, timeoutReason } from './change';
import { isHeld, isMoving, mayLive, type LifecycleEvent } from './lifecycle';

/** What the room's row cannot know of itself. */
export interface ReconcileFacts {
  /** The host of the live incarnation has lost its lease for longer than the margin: it has ended everything it ran. */
  readonly hostLost: boolean;
}

/**
 * The event that a room needs, if any: an expired deadline, a lost host, a time that is over, or a conflict of `wanted` and `state`. Pure; `now` in milliseconds since 1970.
 * Called by the reconcilers for every room that may need one, and at the end of every move, so that a wish does not wait for the clock.
 */
export function reconcile(room: RoomRecord, now: number, facts: ReconcileFacts): LifecycleEvent | null {
  if (facts.hostLost && mayLive(room.state)) return { kind: 'gone', incarnation: room.incarnation, reason: 'host_lost' };
  if (isMoving(room.state)) return expired(room, now);
  return wished(room, now);
}

function expired(room: RoomRecord, now: number): LifecycleEvent | null {
  if (room.deadlineAt === null || now < room.deadlineAt) return null;
  return { kind: 'moveFailed', incarnation: room.incarnation, move: room.move, code: 'saga.stuck', detail: `${room.state} took longer than its deadline` };
}

function wished(room: RoomRecord, now: number): LifecycleEvent | null {
  if (room.state === 'absent' || room.state === 'destroyed' || now < retryAt(room)) return null;
  if (room.wanted === 'gone') return isHeld(room) ? null : { kind: 'destroy', reason: room.ending?.reason ?? 'wanted' };
  if (room.state === 'running') return endOfRun(room, now);
  if (room.state === 'failed' && isOver(room, now)) return { kind: 'destroy', reason: timeoutReason };
  return room.wakePending && !isHeld(room) && room.hold === null ? { kind: 'wake', reason: keptReason } : null;
}

/** Why a room that runs should not: it shall sleep, its time is over, it is to be copied, or it is on hold. What is to be copied is killed after that only. */
function endOfRun(room: RoomRecord, now: number): LifecycleEvent | null {
  const { onTimeout, keepMemory } = room.lifecycle;
  const over = isOver(room, now);
  if (room.wanted === 'asleep') return { kind: 'sleep', reason: 'wanted' };
  if (over && onTimeout === 'pause') return { kind: 'sleep', reason: timeoutReason, keepMemory };
  if (room.holders.length > 0) return { kind: 'sleep', reason: snapshotReason };
  if (room.hold) return { kind: 'sleep', reason: holdReason };
  return over ? { kind: 'destroy', reason: timeoutReason } : null;
}

function isOver({ endsAt }: RoomRecord, now: number): boolean {
  return endsAt !== null && now >= endsAt;
}

/** A move that failed is tried again after a pause that doubles each time. Milliseconds since 1970. */
export function retryAt(room: RoomRecord): number {
  if (room.failures === 0) return room.stateSince;
  return room.stateSince + Math.min(limits.retry.maxDelayMs, limits.retry.firstDelayMs * 2 ** (room.failures - 1));
}
