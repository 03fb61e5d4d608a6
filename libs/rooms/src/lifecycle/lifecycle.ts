import type { Fallback, ImageRef, Isolation, ProblemCode, ResumedFrom, RoomHold, RoomState } from '@alcove/contracts';
import type { RoomRecord } from '../room';

/**
 * The life of a room, as one total table of state × event. Pure: no clock, no store, no chance.
 *
 *            wake, copy             up
 *   absent ───────▶ provisioning ───────▶ running ◀──────────────┐ up
 *                        │ gone            │  ▲ ▲                 │
 *                        │ moveFailed      │  │ └── up ──┐        │
 *                        ▼          gone   │  │          │        │
 *                      failed ◀────────────┤  │     hibernating   │
 *                        │  ▲              └──┼─ sleep ──▲│       │
 *                   wake │  └─ gone, moveFailed from any move     │
 *                        ▼                    │           │sealed │
 *                     resuming ───────────────┼───────────┼───────┘
 *                        ▲        wake        │           ▼
 *                        └────────────────────┴───── hibernated
 *   destroy, from any rest ──▶ destroying ── discarded ──▶ destroyed
 *
 * Ground rules:
 * - Only the control plane moves a room; a host reports about an incarnation. News of another incarnation or of another move is ignored, never an error.
 * - A move that opens an incarnation takes the next number; a number is never used twice.
 * - One move at a time: what is asked for during a move is kept in `wanted` and `wakePending` and honoured at the next rest (`reconcile.ts`).
 * - Every moving state has a deadline; every failed room can be woken (from image or disk) or destroyed.
 * - A copy of another room never starts before its image is there: a copy that failed is destroyed. While a room is copied it sleeps: a wake and a destroy are kept.
 * - A snapshot is such a copy that takes no wake at all.
 * - An image is taken over whenever it is of the live incarnation: a VM seals at most once and never runs again after it.
 */
export type LifecycleEvent =
  /** `boot`: from the disk, though there is an image. `liveMs`: it lives at least this long from now on. */
  | { readonly kind: 'wake'; readonly reason: string; readonly boot?: boolean; readonly liveMs?: number }
  /** `keepMemory` false: the next start is a boot. */
  | { readonly kind: 'sleep'; readonly reason: string; readonly keepMemory?: boolean }
  | { readonly kind: 'destroy'; readonly reason: string }
  /** Makes the room as a copy of the one that its row names as origin. */
  | { readonly kind: 'copy'; readonly reason: string }
  | { readonly kind: 'up'; readonly incarnation: number; readonly move?: number; readonly reason: string; readonly start: StartFacts | null }
  | { readonly kind: 'sealed'; readonly incarnation: number; readonly image: ImageRef; readonly engine: string | null; readonly bootNext?: boolean; readonly detail: Readonly<Record<string, unknown>> }
  | { readonly kind: 'gone'; readonly incarnation: number; readonly move?: number; readonly reason: string }
  | { readonly kind: 'discarded'; readonly incarnation: number; readonly move: number }
  | { readonly kind: 'moveFailed'; readonly incarnation: number; readonly move: number; readonly code: ProblemCode; readonly detail: string | null };

/** What a start told of itself. An `up` without it only says that the incarnation still runs. */
export interface StartFacts {
  readonly resumedFrom: ResumedFrom;
  readonly isolation: Isolation;
  readonly fallbacks: readonly Fallback[];
  readonly detail: Readonly<Record<string, unknown>>;
}

export type EventKind = LifecycleEvent['kind'];
export const eventKinds = ['wake', 'sleep', 'destroy', 'copy', 'up', 'sealed', 'gone', 'discarded', 'moveFailed'] as const satisfies readonly EventKind[];

export type SagaKind = 'provision' | 'copy' | 'resume' | 'hibernate' | 'destroy';

/** Something for the caller to do, as data. `incarnation` is the one the saga works on. */
export interface Effect {
  readonly saga: SagaKind;
  readonly incarnation: number;
}

/**
 * Why an event changes no state. `already` it is so · `under_way` the move is on · `kept` written down as a wish, honoured at the next rest ·
 * `unexpected` nobody asked for it · `stale_*` news of the past · `no_room` there is none.
 */
export type IgnoreReason = 'already' | 'under_way' | 'kept' | 'unexpected' | 'stale_incarnation' | 'stale_move' | 'stale_image' | 'no_room';

export type Verdict =
  | { readonly kind: 'move'; readonly to: RoomState; readonly incarnation: number; readonly effect: Effect | null }
  | { readonly kind: 'ignore'; readonly why: IgnoreReason }
  | { readonly kind: 'deny'; readonly code: ProblemCode };

type Rule =
  | { readonly rule: 'move'; readonly to: RoomState; readonly saga?: SagaKind; readonly opens?: true }
  | { readonly rule: 'ignore'; readonly why: IgnoreReason }
  | { readonly rule: 'deny'; readonly code: ProblemCode };

/** A missing cell does not compile. */
type Table = { readonly [S in RoomState]: { readonly [K in EventKind]: Rule } };

const to = (state: RoomState): Rule => ({ rule: 'move', to: state });
const begin = (state: RoomState, saga: SagaKind): Rule => ({ rule: 'move', to: state, saga });
const open = (state: RoomState, saga: SagaKind): Rule => ({ rule: 'move', to: state, saga, opens: true });
const deny = (code: ProblemCode): Rule => ({ rule: 'deny', code });
const ignore = (why: IgnoreReason): Rule => ({ rule: 'ignore', why });

const already = ignore('already');
const underWay = ignore('under_way');
const kept = ignore('kept');
const unexpected = ignore('unexpected');
const noRoom = ignore('no_room');

export const table: Table = {
  absent: {
    wake: open('provisioning', 'provision'),
    sleep: deny('room.not_found'),
    destroy: deny('room.not_found'),
    copy: open('provisioning', 'copy'),
    up: noRoom,
    sealed: noRoom,
    gone: noRoom,
    discarded: noRoom,
    moveFailed: noRoom,
  },
  provisioning: {
    wake: underWay,
    sleep: kept,
    destroy: kept,
    copy: underWay,
    up: to('running'),
    // Of a copy only.
    sealed: to('hibernated'),
    gone: to('failed'),
    discarded: unexpected,
    moveFailed: to('failed'),
  },
  running: {
    wake: already,
    sleep: begin('hibernating', 'hibernate'),
    destroy: begin('destroying', 'destroy'),
    copy: already,
    up: already,
    // A seal that was given up on and ended well after all.
    sealed: to('hibernated'),
    gone: to('failed'),
    discarded: unexpected,
    moveFailed: unexpected,
  },
  hibernating: {
    wake: kept,
    sleep: underWay,
    destroy: kept,
    copy: already,
    // The seal failed and the VM goes on: nothing is lost.
    up: to('running'),
    sealed: to('hibernated'),
    gone: to('failed'),
    discarded: unexpected,
    moveFailed: to('failed'),
  },
  hibernated: {
    wake: open('resuming', 'resume'),
    sleep: already,
    destroy: begin('destroying', 'destroy'),
    copy: already,
    up: unexpected,
    sealed: already,
    gone: already,
    discarded: unexpected,
    moveFailed: unexpected,
  },
  resuming: {
    wake: underWay,
    sleep: kept,
    destroy: kept,
    copy: already,
    up: to('running'),
    sealed: unexpected,
    gone: to('failed'),
    discarded: unexpected,
    moveFailed: to('failed'),
  },
  failed: {
    wake: open('resuming', 'resume'),
    sleep: already,
    destroy: begin('destroying', 'destroy'),
    copy: already,
    // The newest incarnation was given up on and lives after all: adopted, with its memory.
    up: to('running'),
    sealed: to('hibernated'),
    gone: already,
    discarded: unexpected,
    moveFailed: already,
  },
  destroying: {
    wake: deny('room.gone'),
    sleep: deny('room.gone'),
    destroy: underWay,
    copy: already,
    up: unexpected,
    sealed: unexpected,
    // The VM has ended; the move ends when disk and images are removed too.
    gone: underWay,
    discarded: to('destroyed'),
    moveFailed: to('failed'),
  },
  destroyed: {
    wake: deny('room.gone'),
    sleep: deny('room.gone'),
    destroy: already,
    copy: already,
    up: already,
    sealed: already,
    gone: already,
    discarded: already,
    moveFailed: already,
  },
};

/** What `event` does to a room: fences first, then one look into the table. Never throws. */
export function decide(room: RoomRecord, event: LifecycleEvent): Verdict {
  const fenced = fence(room, event);
  if (fenced) return fenced;
  const rule = table[room.state][event.kind];
  if (rule.rule === 'ignore') return { kind: 'ignore', why: rule.why };
  if (rule.rule === 'deny') return { kind: 'deny', code: rule.code };
  const incarnation = rule.opens ? room.incarnation + 1 : room.incarnation;
  return { kind: 'move', to: rule.to, incarnation, effect: rule.saga ? { saga: rule.saga, incarnation } : null };
}

function fence(room: RoomRecord, event: LifecycleEvent): Verdict | null {
  if (event.kind === 'wake' || event.kind === 'sleep') return fenceWish(room, event.kind);
  if (event.kind === 'destroy') return isHeld(room) ? keptWish : null;
  if (event.kind === 'copy' || room.state === 'absent') return null;
  if (event.incarnation !== room.incarnation) return { kind: 'ignore', why: 'stale_incarnation' };
  if ('move' in event && event.move !== undefined && event.move !== room.move) return { kind: 'ignore', why: 'stale_move' };
  if (event.kind === 'sealed' && !takesImage(room, event.image)) return { kind: 'ignore', why: 'stale_image' };
  if (event.kind === 'sealed' && room.state === 'provisioning' && !isBeingCopied(room)) return { kind: 'ignore', why: 'unexpected' };
  if (event.kind === 'up' && (isBeingCopied(room) || room.kind === 'snapshot')) return { kind: 'ignore', why: 'unexpected' };
  return null;
}

const keptWish: Verdict = { kind: 'ignore', why: 'kept' };

function fenceWish(room: RoomRecord, kind: 'wake' | 'sleep'): Verdict | null {
  if (room.state === 'absent') return room.origin ? { kind: 'deny', code: 'room.not_found' } : null;
  if (room.wanted === 'gone') return { kind: 'deny', code: 'room.gone' };
  if (room.kind === 'snapshot') return { kind: 'deny', code: 'room.frozen' };
  if (kind === 'wake' && room.hold) return { kind: 'deny', code: holdCodes[room.hold] };
  if (kind === 'wake' && (isHeld(room) || (room.state === 'provisioning' && isBeingCopied(room)))) return keptWish;
  return null;
}

/** What a wake of a room on hold is answered with. */
const holdCodes: Readonly<Record<RoomHold, ProblemCode>> = { key_unavailable: 'vault.key_unavailable' };

/** It sleeps, and others are being made from what it sleeps with: nothing of it may change until they are. */
export function isHeld(room: RoomRecord): boolean {
  return room.state === 'hibernated' && room.holders.length > 0;
}

/** A copy that has nothing yet to start from. */
export function isBeingCopied(room: RoomRecord): boolean {
  return room.origin !== null && !room.hasDisk;
}

/** True when the image is of this room, of its live incarnation, and newer than the one the row has. */
function takesImage(room: RoomRecord, image: ImageRef): boolean {
  if (image.roomId !== room.id || image.incarnation !== room.incarnation) return false;
  return image.generation > (room.image?.generation ?? 0) && image.generation <= room.generation;
}

const moving: Readonly<Record<RoomState, boolean>> = {
  absent: false,
  provisioning: true,
  running: false,
  hibernating: true,
  hibernated: false,
  resuming: true,
  failed: false,
  destroying: true,
  destroyed: false,
};

/** A moving state belongs to a saga and has a deadline; the others rest. */
export function isMoving(state: RoomState): boolean {
  return moving[state];
}

/** True when a VM of the room's newest incarnation may be alive by the row's own word. */
export function mayLive(state: RoomState): boolean {
  return state === 'provisioning' || state === 'running' || state === 'hibernating' || state === 'resuming';
}
