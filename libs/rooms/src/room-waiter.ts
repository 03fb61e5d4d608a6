import { type Clock, limits } from '@alcove/base';
import { Problem, problemCodes, type ProblemCode } from '@alcove/contracts';
import type { RoomFailure, RoomRecord } from './room';
import { isMoving } from './lifecycle/lifecycle';
import type { RoomWatchers } from './room-watchers';
import type { RoomKey, RoomsStore } from './rooms.store';

export interface WaiterParts<Scope> {
  readonly store: Pick<RoomsStore<Scope>, 'find'>;
  readonly watchers: RoomWatchers;
  readonly clock: Clock;
}

export interface WaitOptions<T> {
  /** The room is as wished: the result; not yet: undefined; it will not be: throws. */
  readonly judge: (room: RoomRecord) => T | undefined;
  /** True when the move is not one that this caller began: news of it may have come before the waiter listened, so it looks once more. */
  readonly joins: boolean;
  readonly onTimeout: ProblemCode;
  readonly signal: AbortSignal | undefined;
}

/** News from another process can be lost with its connection: a waiter looks for itself this often. Milliseconds. */
const lookMs = 2_000;

/** Waits for a room to become something, by the news of its saves. A save of this process brings the row along, so nothing is read for it. */
export class RoomWaiter<Scope> {
  constructor(private readonly parts: WaiterParts<Scope>) {}

  /** Throws what the judge throws, the signal's reason, `onTimeout` after `limits.move.wakeWaitMs`, `room.not_found`. */
  async until<T>(key: RoomKey, known: RoomRecord, options: WaitOptions<T>): Promise<T> {
    const { store, watchers, clock } = this.parts;
    const { judge, joins, signal, onTimeout } = options;
    let newest = known;
    let unread = joins;
    let ring: () => void = () => undefined;
    const unsubscribe = watchers.subscribe(key.roomId, ({ generation, room }) => {
      if (generation <= newest.generation) return;
      if (room === null) unread = true;
      else newest = room;
      ring();
    });
    const over = new AbortController();
    const giveUpAt = clock.monotonic() + limits.move.wakeWaitMs;
    try {
      for (;;) {
        signal?.throwIfAborted();
        if (unread) {
          unread = false;
          newest = newer(newest, await this.#read(store, key));
        }
        const result = judge(newest);
        if (result !== undefined) return result;
        if (unread) continue;
        if (clock.monotonic() >= giveUpAt) throw new Problem(onTimeout);
        const seen = newest;
        const rung = new Promise<'rung'>((resolve) => (ring = () => resolve('rung')));
        const ended = await Promise.race([rung, clock.sleep(lookMs, AbortSignal.any([over.signal, ...(signal ? [signal] : [])])).then(() => 'looked' as const)]);
        if (ended === 'looked' && newest === seen) unread = true;
      }
    } finally {
      unsubscribe();
      over.abort();
    }
  }

  async #read(store: Pick<RoomsStore<Scope>, 'find'>, key: RoomKey): Promise<RoomRecord> {
    const found = await store.find(key.tenantId, key.roomId);
    if (!found) throw new Problem('room.not_found');
    return found.room;
  }
}

function newer(a: RoomRecord, b: RoomRecord): RoomRecord {
  return b.generation >= a.generation ? b : a;
}

/** Awake: runs. A failure of the wake is thrown; a room that somebody put to sleep again is busy. */
export function judgeAwake(room: RoomRecord): RoomRecord | undefined {
  if (room.state === 'running') return room;
  if (room.state === 'destroyed' || room.wanted === 'gone') throw new Problem('room.gone');
  if (isMoving(room.state) || room.wakePending) return undefined;
  if (room.state === 'failed') throw failureProblem(room.failure);
  throw new Problem('room.busy', { detail: 'the room was put to sleep again' });
}

/** Asleep: an image newer than `before` is in the row, whatever came after it. */
export function judgeAsleep(before: RoomRecord): (room: RoomRecord) => RoomRecord | undefined {
  return (room) => {
    if (room.state === 'hibernated' || (room.image?.generation ?? 0) > (before.image?.generation ?? 0)) return room;
    if (room.state === 'destroyed' || room.wanted === 'gone') throw new Problem('room.gone');
    if (room.state === 'failed') {
      if (before.state === 'failed') return room;
      throw new Problem('room.failed', { detail: `The room could not be put to sleep (${room.failure?.code ?? 'unknown'}); it will wake from its disk.` });
    }
    if (room.state === 'running' && room.move > before.move && room.failures > 0) throw new Problem('room.busy', { detail: 'The room could not be put to sleep now; it goes on running.' });
    if (room.wanted === 'available' && !isMoving(room.state)) throw new Problem('room.busy', { detail: 'the room was woken again' });
    return undefined;
  };
}

/** Codes of a failed start that say to the caller what to do; everything else is `room.failed` with the code in its detail. */
const plainCodes: ReadonlySet<string> = new Set<ProblemCode>(['host.capacity', 'host.unavailable', 'host.disk_full', 'host.fenced', 'engine.missing', 'engine.failed', 'vault.key_unavailable', 'room.held']);

export function failureProblem(failure: RoomFailure | null): Problem {
  const code = failure?.code ?? 'internal';
  if (plainCodes.has(code) && code in problemCodes) return new Problem(code as ProblemCode, failure?.detail ? { detail: failure.detail } : {});
  return new Problem('room.failed', { detail: `The room could not be started (${code}).` });
}
