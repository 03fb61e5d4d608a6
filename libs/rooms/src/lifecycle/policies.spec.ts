import type { ImageRef, RoomLifecycle } from '@alcove/contracts';
import { absentRoom, sandboxLifecycle, type NewRoom, type RoomRecord } from '../room';
import { moveParams } from '../sagas/move';
import { change, checkpointOf, freshImageOf, holdReason, snapshotReason, timeoutReason } from './change';
import { decide, type LifecycleEvent } from './lifecycle';
import { reconcile, retryAt } from './reconcile';

const start = 1_700_000_000_000;
const host = { id: 'host_1', storeGroup: 'g' };
const wake: LifecycleEvent = { kind: 'wake', reason: 'asked' };
const sleep: LifecycleEvent = { kind: 'sleep', reason: 'asked' };
const pausing: RoomLifecycle = { timeoutMs: 60_000, onTimeout: 'pause', keepMemory: true, autoResume: true };

function absent(also: Partial<NewRoom> = {}): RoomRecord {
  const size = { memoryMiB: 512, vcpus: 1, diskMiB: 4096 };
  return absentRoom({ id: 'room_00000000000000000001', tenantId: 't', userId: 'u', template: 'default', templateId: 'tpl_1', size, metadata: {}, envNames: [], envSealed: null, ...also }, start);
}

function image(room: RoomRecord): ImageRef {
  const id = `img_${room.move.toString(16).padStart(20, '0')}`;
  return { id, roomId: room.id, incarnation: room.incarnation, generation: room.move, templateId: 'tpl_1', compatibility: 'c', diskState: 'd', bytes: 9, pages: 3, sha256: 'a'.repeat(64) };
}

const up = (room: RoomRecord): LifecycleEvent => {
  const resumedFrom = freshImageOf(room) ? 'memory' : room.hasDisk ? 'disk' : 'new';
  return { kind: 'up', incarnation: room.incarnation, move: room.move, reason: 'started', start: { resumedFrom, isolation: 'emulated', fallbacks: [], detail: {} } };
};
const sealed = (room: RoomRecord): LifecycleEvent => ({ kind: 'sealed', incarnation: room.incarnation, image: image(room), engine: 'e', detail: {} });
const gone = (room: RoomRecord): LifecycleEvent => ({ kind: 'gone', incarnation: room.incarnation, reason: 'vmm_exited' });
const sealFailed = (room: RoomRecord): LifecycleEvent => ({ kind: 'up', incarnation: room.incarnation, move: room.move, reason: 'seal_failed', start: null });

type Step = LifecycleEvent | ((room: RoomRecord) => LifecycleEvent);

/** One event after the other, `at` milliseconds after the start. */
function after(room: RoomRecord, at: number, ...steps: Step[]): RoomRecord {
  return steps.reduce((row, step) => change(row, typeof step === 'function' ? step(row) : step, { now: start + at, host }).next ?? row, room);
}

const running = (also: Partial<NewRoom> = {}): RoomRecord => after(absent(also), 0, wake, up);
const held = (room: RoomRecord): RoomRecord => ({ ...room, holders: ['room_00000000000000000009'], generation: room.generation + 1 });
const asks = (room: RoomRecord, at: number): LifecycleEvent | null => reconcile(room, start + at, { hostLost: false });

describe('a room with a timeout', () => {
  it('ends when its time is over, by the event that its lifecycle names', () => {
    const killed = running({ lifecycle: sandboxLifecycle });
    expect(killed.endsAt).toBe(start + 300_000);
    expect(asks(killed, 299_999)).toBeNull();
    expect(asks(killed, 300_000)).toEqual({ kind: 'destroy', reason: timeoutReason });
    expect(asks(running({ lifecycle: { ...pausing, keepMemory: false } }), 60_000)).toEqual({ kind: 'sleep', reason: timeoutReason, keepMemory: false });
    expect(asks(running(), 1e12)).toBeNull();
  });

  it('has the same time after every resume, however it came to sleep', () => {
    for (const reason of ['asked', 'idle', timeoutReason]) {
      const slept = after(running({ lifecycle: pausing }), 60_000, { kind: 'sleep', reason }, sealed);
      expect(slept).toMatchObject({ state: 'hibernated', endsAt: null, lifecycle: pausing });
      expect(after(slept, 500_000, wake, up)).toMatchObject({ endsAt: start + 560_000, lifecycle: pausing });
    }
  });

  it('goes on when it could not be put to sleep, and is tried again after a pause', () => {
    const room = after(running({ lifecycle: pausing }), 60_000, { kind: 'sleep', reason: timeoutReason }, sealFailed);
    expect(room).toMatchObject({ state: 'running', endsAt: start + 60_000, failures: 1 });
    expect(asks(room, 60_000)).toBeNull();
    expect(reconcile(room, retryAt(room), { hostLost: false })).toEqual({ kind: 'sleep', reason: timeoutReason, keepMemory: true });
  });

  it('is not kept for ever because it failed, if it is to be killed; one that pauses may fail and wait', () => {
    expect(asks(after(running({ lifecycle: sandboxLifecycle }), 1_000, gone), 300_000)).toEqual({ kind: 'destroy', reason: timeoutReason });
    const never = after(absent({ lifecycle: sandboxLifecycle }), 0, wake, (room) => ({ kind: 'moveFailed', incarnation: 1, move: room.move, code: 'engine.failed', detail: null }));
    expect(asks(never, 300_000)).toEqual({ kind: 'destroy', reason: timeoutReason });
    expect(asks(after(running({ lifecycle: pausing }), 1_000, gone), 1e9)).toBeNull();
  });

  it('is never shortened by who wakes it', () => {
    const room = running({ lifecycle: pausing });
    expect(after(room, 10, { ...wake, liveMs: 1_000 }).endsAt).toBe(start + 60_000);
    expect(after(room, 10, { ...wake, liveMs: 90_000 }).endsAt).toBe(start + 90_010);
    const slept = after(room, 20, sleep, sealed);
    expect(after(slept, 100, { ...wake, liveMs: 1 }, up).endsAt).toBe(start + 60_100);
    expect(after(slept, 100, { ...wake, liveMs: 90_000 }, up).endsAt).toBe(start + 90_100);
    // A wake that comes while it is put to sleep by its timeout gives it a new one.
    const meant = after(room, 60_000, { kind: 'sleep', reason: timeoutReason }, wake, sealed);
    expect(after(meant, 60_500, { kind: 'wake', reason: 'kept' }, up).endsAt).toBe(start + 120_500);
    expect(after(running(), 10, { ...wake, liveMs: 5 }).endsAt).toBeNull();
  });

  it('says why it is gone, and the first reason counts', () => {
    const room = after(running({ lifecycle: sandboxLifecycle }), 300_000, { kind: 'destroy', reason: timeoutReason }, { kind: 'destroy', reason: 'asked' });
    expect(room.ending).toEqual({ reason: timeoutReason, at: start + 300_000 });
    expect(after(room, 300_100, (row) => ({ kind: 'discarded', incarnation: 1, move: row.move }))).toMatchObject({ state: 'destroyed', ending: { reason: timeoutReason } });
  });
});

describe('a room without its memory', () => {
  it('starts from its disk once, and falls back to the memory that it slept with', () => {
    const slept = after(running(), 0, { ...sleep, keepMemory: false }, sealed);
    expect(freshImageOf(slept)).toBeNull();
    expect(checkpointOf(slept)).toEqual(slept.image);
    const woken = after(slept, 0, wake);
    expect(moveParams(woken, 2, [])).toMatchObject({ image: null, previous: slept.image, hasDisk: true });
    expect(after(woken, 0, up)).toMatchObject({ resumedFrom: 'disk', bootNext: false, imageSpent: true });
    expect(freshImageOf(after(woken, 0, up, sleep, sealed))).not.toBeNull();
  });

  it('is asked for at the wake as well, and not forgotten when that fails', () => {
    const slept = after(running(), 0, sleep, sealed);
    const woken = after(slept, 0, { ...wake, boot: true });
    expect(moveParams(woken, 2, []).image).toBeNull();
    const failed = after(woken, 0, (room) => ({ kind: 'moveFailed', incarnation: 2, move: room.move, code: 'engine.failed', detail: null }));
    expect(moveParams(after(failed, 0, wake), 3, []).image).toBeNull();
    expect(after(running(), 0, { ...wake, boot: true }).bootNext).toBe(false);
  });

  it('keeps its memory after all when it was not put to sleep', () => {
    expect(after(running(), 0, { ...sleep, keepMemory: false }, sealFailed)).toMatchObject({ state: 'running', bootNext: false });
  });
});

describe('a room on hold', () => {
  const onHold = (room: RoomRecord): RoomRecord => ({ ...room, hold: 'key_unavailable', generation: room.generation + 1 });

  it('is put to sleep, refuses every wake, and comes back by itself when it is let go', () => {
    const room = onHold(running({ lifecycle: pausing }));
    expect(asks(room, 10)).toEqual({ kind: 'sleep', reason: holdReason });
    expect(decide(room, wake)).toEqual({ kind: 'deny', code: 'vault.key_unavailable' });
    const slept = after(room, 10, { kind: 'sleep', reason: holdReason }, sealed);
    expect(slept).toMatchObject({ state: 'hibernated', wakePending: true, hold: 'key_unavailable' });
    expect(asks(slept, 1e9)).toBeNull();
    expect(decide(slept, wake)).toEqual({ kind: 'deny', code: 'vault.key_unavailable' });
    expect(asks({ ...slept, hold: null }, 20)).toEqual({ kind: 'wake', reason: 'kept' });
  });

  it('stays asleep if it slept, and may be destroyed', () => {
    const slept = onHold(after(running(), 0, sleep, sealed));
    expect(asks(slept, 1e9)).toBeNull();
    expect(asks({ ...slept, hold: null }, 10)).toBeNull();
    expect(decide(slept, { kind: 'destroy', reason: 'asked' })).toMatchObject({ kind: 'move', to: 'destroying' });
  });
});

describe('a room that is copied', () => {
  it('is put to sleep, stays so until nobody holds it, and comes back with its time running on', () => {
    const room = held(running({ lifecycle: pausing }));
    expect(asks(room, 10)).toEqual({ kind: 'sleep', reason: snapshotReason });
    const slept = after(room, 10, { kind: 'sleep', reason: snapshotReason }, sealed);
    expect(slept).toMatchObject({ state: 'hibernated', wakePending: true, endsAt: start + 60_000 });
    expect(asks(slept, 1e9)).toBeNull();
    expect(decide(slept, wake)).toEqual({ kind: 'ignore', why: 'kept' });
    expect(decide(slept, { kind: 'destroy', reason: 'asked' })).toEqual({ kind: 'ignore', why: 'kept' });
    const free = { ...slept, holders: [] };
    expect(asks(free, 20)).toEqual({ kind: 'wake', reason: 'kept' });
    expect(after(free, 20, { kind: 'wake', reason: 'kept' }, up)).toMatchObject({ state: 'running', endsAt: start + 60_000 });
  });

  it('stays asleep if it slept, or if somebody wants that meanwhile', () => {
    const slept = held(after(running(), 0, sleep, sealed));
    expect(asks({ ...slept, holders: [] }, 10)).toBeNull();
    const meanwhile = after(held(running()), 0, { kind: 'sleep', reason: snapshotReason }, sleep, sealed);
    expect(asks({ ...meanwhile, holders: [] }, 10)).toBeNull();
  });

  it('is destroyed when it may be, if somebody wants that meanwhile', () => {
    const room = after(held(after(running(), 0, sleep, sealed)), 0, { kind: 'destroy', reason: 'asked' });
    expect(room).toMatchObject({ state: 'hibernated', wanted: 'gone' });
    expect(asks(room, 10)).toBeNull();
    expect(asks({ ...room, holders: [] }, 10)).toEqual({ kind: 'destroy', reason: 'asked' });
  });
});

describe('a copy', () => {
  const origin = { roomId: 'room_00000000000000000009', fresh: true };
  const fork = absent({ origin, storeGroup: 'g', wakePending: true });
  const copy: LifecycleEvent = { kind: 'copy', reason: 'created' };

  it('is made, then wakes, and is new at its first start only', () => {
    const making = change(fork, copy, { now: start, host });
    expect(making.effect).toEqual({ saga: 'copy', incarnation: 1 });
    expect(moveParams(making.next ?? fork, 1, [])).toMatchObject({ source: origin.roomId, hasDisk: false, image: null });
    const made = after(fork, 0, copy, wake, sealed);
    expect(made).toMatchObject({ state: 'hibernated', wakePending: true });
    const woken = after(made, 0, { kind: 'wake', reason: 'kept' });
    expect(moveParams(woken, 2, [])).toMatchObject({ source: null, newIdentity: true, image: made.image });
    const failed = after(woken, 0, gone, wake);
    expect(moveParams(failed, 3, [])).toMatchObject({ newIdentity: true, image: made.image });
    expect(moveParams(after(woken, 0, up, sleep, sealed, wake), 3, [])).toMatchObject({ newIdentity: false });
  });

  it('that failed goes away instead of starting blank', () => {
    const failed = after(fork, 0, copy, (room) => ({ kind: 'moveFailed', incarnation: 1, move: room.move, code: 'image.corrupt', detail: null }));
    expect(failed).toMatchObject({ state: 'failed', wanted: 'gone', wakePending: false, ending: { reason: 'image.corrupt' } });
    expect(decide(failed, wake)).toEqual({ kind: 'deny', code: 'room.gone' });
    expect(reconcile(failed, retryAt(failed), { hostLost: false })).toEqual({ kind: 'destroy', reason: 'image.corrupt' });
    expect(decide(fork, wake)).toEqual({ kind: 'deny', code: 'room.not_found' });
    expect(decide(after(fork, 0, copy), { kind: 'up', incarnation: 1, reason: 'started', start: null })).toEqual({ kind: 'ignore', why: 'unexpected' });
    expect(decide(after(absent(), 0, wake), sealed(after(absent(), 0, wake)))).toEqual({ kind: 'ignore', why: 'unexpected' });
  });

  it('that is a snapshot takes no wake and is no room to be put to sleep', () => {
    const frozen = after(absent({ kind: 'snapshot', origin, storeGroup: 'g' }), 0, copy, sealed);
    expect(frozen).toMatchObject({ state: 'hibernated', wakePending: false });
    expect([decide(frozen, wake), decide(frozen, sleep)]).toEqual(Array(2).fill({ kind: 'deny', code: 'room.frozen' }));
    expect(decide(frozen, { kind: 'destroy', reason: 'asked' })).toMatchObject({ to: 'destroying' });
  });
});
