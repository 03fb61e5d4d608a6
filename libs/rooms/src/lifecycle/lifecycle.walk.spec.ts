import type { Random } from '@alcove/base';
import type { ImageRef, RoomLifecycle } from '@alcove/contracts';
import { absentRoom, personalLifecycle, sandboxLifecycle, type NewRoom, type RoomRecord } from '../room';
import { change, freshImageOf, keptReason, snapshotReason, timeoutReason } from './change';
import { eventKinds, isBeingCopied, isHeld, isMoving, mayLive, table, type LifecycleEvent } from './lifecycle';
import { reconcile } from './reconcile';

/** Seeds that once found something stay here for ever; the rest are the plain first ones. */
const savedSeeds = [7, 1194, 1234, 90210];
const walks = 20_000;
const eventsPerWalk = 25;
const start = 1_000_000;

/** Mulberry32 (Tommy Ettinger, 2017): a million walks' worth of chance without big integers. */
function fastRandom(seed: number): Random {
  let state = seed >>> 0;
  const below = (bound: number): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * bound);
  };
  return { below, bytes: (n) => Buffer.from(Array.from({ length: n }, () => below(256))) };
}

const someLifecycle: readonly RoomLifecycle[] = [
  personalLifecycle,
  sandboxLifecycle,
  { timeoutMs: 2_000, onTimeout: 'pause', keepMemory: true, autoResume: true },
  { timeoutMs: 500, onTimeout: 'pause', keepMemory: false, autoResume: false },
  { timeoutMs: 1, onTimeout: 'kill', keepMemory: true, autoResume: false },
];

/** A user's own, a sandbox, a fork, or a snapshot. */
function newRoom(random: Random): RoomRecord {
  const size = { memoryMiB: 512, vcpus: 1, diskMiB: 4096 };
  const named = { id: 'room_00000000000000000001', tenantId: 't', userId: 'u', template: 'default', templateId: 'tpl_1', size, metadata: {}, envNames: [], envSealed: null };
  const copied = { origin: { roomId: 'room_00000000000000000009', fresh: true }, storeGroup: 'g' };
  const as: readonly Partial<NewRoom>[] = [{}, { kind: 'sandbox' }, { ...copied, kind: 'sandbox', wakePending: true }, { ...copied, kind: 'snapshot' }];
  return absentRoom({ ...named, ...pick(random, as), lifecycle: pick(random, someLifecycle) }, start);
}

/** What is changed beside the lifecycle: somebody begins or ends to copy the room. */
function edited(random: Random, room: RoomRecord): RoomRecord {
  if (room.state === 'absent' || room.state === 'destroyed' || room.wanted === 'gone') return room;
  return { ...room, holders: room.holders.length > 0 && random.below(3) > 0 ? [] : [...room.holders, 'room_00000000000000000007'], generation: room.generation + 1 };
}

function imageOf(room: RoomRecord, incarnation: number, generation: number): ImageRef {
  const id = `img_${generation.toString(16).padStart(20, '0')}`;
  return { id, roomId: room.id, incarnation, generation, templateId: 'tpl_1', compatibility: 'c', diskState: `d${generation}`, bytes: 1, pages: 1, sha256: '0'.repeat(64) };
}

function pick<T>(random: Random, from: readonly T[]): T {
  return from[random.below(from.length)] as T;
}

function started(resumedFrom: 'new' | 'memory' | 'disk' | 'checkpoint'): Extract<LifecycleEvent, { kind: 'up' }>['start'] {
  return { resumedFrom, isolation: 'software', fallbacks: [], detail: {} };
}

/** Any event at all, often news of the past. */
function anyEvent(random: Random, room: RoomRecord): LifecycleEvent {
  const incarnation = pick(random, [room.incarnation, room.incarnation, room.incarnation, room.incarnation - 1, room.incarnation + 1]);
  const move = pick(random, [room.move, room.move, room.move - 1]);
  const generation = pick(random, [room.move, room.generation, room.image?.generation ?? 0, room.generation + 1]);
  if (room.state === 'absent' && room.origin) return random.below(4) === 0 ? { kind: 'wake', reason: 'asked' } : { kind: 'copy', reason: 'created' };
  switch (random.below(9)) {
    case 0:
    case 1:
      return { kind: 'wake', reason: pick(random, ['invocation', keptReason]), boot: random.below(4) === 0, ...(random.below(3) === 0 && { liveMs: random.below(5_000) }) };
    case 2:
      return { kind: 'sleep', reason: pick(random, ['asked', 'idle', snapshotReason, timeoutReason]), keepMemory: random.below(3) > 0 };
    case 3:
      if (random.below(6) === 0) return { kind: 'destroy', reason: 'asked' };
      return random.below(6) === 0 ? { kind: 'copy', reason: 'asked' } : { kind: 'wake', reason: 'asked' };
    case 4:
    case 5: {
      const levels = room.hasDisk ? (['memory', 'disk', 'checkpoint'] as const) : (['new'] as const);
      return { kind: 'up', incarnation, reason: 'started', ...(random.below(2) ? { move } : {}), start: started(pick(random, levels)) };
    }
    case 6:
      return { kind: 'sealed', incarnation, image: imageOf(room, incarnation, generation), engine: null, detail: {} };
    case 7:
      return random.below(2) ? { kind: 'gone', incarnation, reason: 'vmm_exited' } : { kind: 'discarded', incarnation, move };
    default:
      return { kind: 'moveFailed', incarnation, move, code: 'engine.failed', detail: null };
  }
}

function isStale(room: RoomRecord, event: LifecycleEvent): boolean {
  if (event.kind === 'wake' || event.kind === 'sleep' || event.kind === 'destroy' || event.kind === 'copy') return false;
  return event.incarnation !== room.incarnation || ('move' in event && event.move !== undefined && event.move !== room.move);
}

function checkRow(room: RoomRecord): void {
  if (isMoving(room.state) !== (room.deadlineAt !== null)) throw new Error(`deadline of ${room.state}`);
  if (room.state === 'failed' && room.failure === null) throw new Error('failed without a failure');
  if (mayLive(room.state) && room.hostId === null) throw new Error('a live room without a host');
  if (room.endsAt !== null && (room.wanted === 'gone' || (room.state === 'hibernated' && !room.wakePending))) throw new Error('an end of its own while it rests');
  if (room.state === 'running' && room.wanted !== 'gone' && room.lifecycle.timeoutMs !== null && room.endsAt === null) throw new Error('runs for ever');
  if (room.state === 'running' && room.bootNext) throw new Error('shall boot though it runs');
  if (room.kind === 'snapshot' && (room.wakePending || room.state === 'resuming' || room.state === 'running')) throw new Error('a snapshot woke');
  if (isBeingCopied(room) && !['absent', 'provisioning', 'failed', 'destroying', 'destroyed'].includes(room.state)) throw new Error('an unfinished copy rests');
  if (room.state === 'failed' && isBeingCopied(room) && room.wanted !== 'gone') throw new Error('a failed copy may start blank');
  if (room.state !== 'absent' && room.wanted === 'gone' && room.ending === null) throw new Error('gone for no reason');
  if (room.previous && room.image && room.previous.generation >= room.image.generation) throw new Error('previous is not older');
}

/** What policies promise, whatever happens. */
function checkPolicies(before: RoomRecord, event: LifecycleEvent, after: RoomRecord, now: number): void {
  if (isHeld(before) && after.state !== 'hibernated') throw new Error(`${event.kind} moved a room that is being copied`);
  if (after.lifecycle !== before.lifecycle || after.network !== before.network || after.kind !== before.kind) throw new Error('a policy was lost');
  if (before.origin?.fresh && !after.origin?.fresh && event.kind !== 'up') throw new Error('a copy lost its newness before it ran');
  if (event.kind === 'wake' && before.endsAt !== null && before.endsAt > now && (after.endsAt ?? Infinity) < before.endsAt) throw new Error('a wake shortened a life');
  if (event.kind === 'wake' && event.liveMs !== undefined && event.reason !== keptReason && after.lifecycle.timeoutMs !== null && (after.endsAt ?? 0) < now + event.liveMs) throw new Error('a wake was not given its time');
  if (event.kind === 'sleep' && event.keepMemory === false && after.state === 'hibernating' && freshImageAfterSeal(after)) throw new Error('memory was kept though it should not be');
  if (before.bootNext && !after.bootNext && event.kind !== 'up' && after.state !== 'destroyed') throw new Error('a boot was forgotten');
  if (before.ending !== null && after.ending !== before.ending) throw new Error('the reason of the end changed');
}

function freshImageAfterSeal(room: RoomRecord): boolean {
  const sealed = change(room, { kind: 'sealed', incarnation: room.incarnation, image: imageOf(room, room.incarnation, room.move), engine: null, detail: {} }, { now: start });
  return sealed.next !== null && freshImageOf(sealed.next) !== null;
}

function checkStep(before: RoomRecord, event: LifecycleEvent, after: RoomRecord): void {
  if (after.generation !== before.generation + 1) throw new Error('generation does not count');
  const opened = after.incarnation - before.incarnation;
  if (opened !== 0 && opened !== 1) throw new Error('incarnation jumps');
  if (opened === 1 && ((event.kind !== 'wake' && event.kind !== 'copy') || mayLive(before.state) || before.state === 'destroying')) throw new Error(`incarnation opened in ${before.state}`);
  if (before.state === 'destroyed') throw new Error('a destroyed room changed');
  if (isStale(before, event)) throw new Error('news of the past changed a row');
  if (before.wanted === 'gone' && after.wanted !== 'gone') throw new Error('a room that shall go was kept');
  if (before.image && after.state !== 'destroyed' && after.image !== before.image && after.previous !== before.image) {
    if (event.kind !== 'up' || event.start?.resumedFrom !== 'checkpoint') throw new Error('the newest image was dropped');
  }
  if (before.previous && after.previous === null && after.state !== 'destroyed' && event.kind !== 'up') throw new Error('the image before was dropped before a restore');
}

/** What a saga that ends well says next. */
function succeed(room: RoomRecord): LifecycleEvent {
  const { incarnation, move } = room;
  if (room.state === 'hibernating') return { kind: 'sealed', incarnation, image: imageOf(room, incarnation, move), engine: 'e', detail: {} };
  if (room.state === 'destroying') return { kind: 'discarded', incarnation, move };
  if (isBeingCopied(room)) return { kind: 'sealed', incarnation, image: imageOf(room, incarnation, move), engine: 'e', detail: {} };
  return { kind: 'up', incarnation, move, reason: 'started', start: started(freshImageOf(room) ? 'memory' : room.hasDisk ? 'disk' : 'new') };
}

/** With no more faults and nobody asking, reconciling must bring the room to a rest that honours what is wanted. */
function settle(room: RoomRecord): RoomRecord {
  let now = start + 1e9;
  for (let i = 0; i < 16; i++) {
    const event = isMoving(room.state) ? succeed(room) : reconcile(room, (now += 1e9), { hostLost: false });
    if (!event && room.holders.length > 0) {
      room = { ...room, holders: [], generation: room.generation + 1 };
      continue;
    }
    if (!event) return room;
    const done = change(room, event, { now, host: { id: 'host_1', storeGroup: 'g' } });
    if (!done.next) throw new Error(`${event.kind} in ${room.state} led nowhere: ${JSON.stringify(done.verdict)}`);
    room = done.next;
    checkRow(room);
  }
  throw new Error(`no rest: ${room.state}, wanted ${room.wanted}`);
}

function checkSettled(before: RoomRecord, after: RoomRecord): void {
  if (isMoving(after.state)) throw new Error('not at rest');
  if (before.state !== 'absent' && before.wanted === 'gone' && after.state !== 'destroyed') throw new Error('not destroyed though wanted gone');
  if (after.state === 'running' && after.lifecycle.timeoutMs !== null) throw new Error('its time is over, and it runs');
  if (before.wanted === 'asleep' && after.state === 'running') throw new Error('runs though wanted asleep');
  if (before.wakePending && before.lifecycle.timeoutMs === null && after.state !== 'running') throw new Error('a kept wake was lost');
}

function walk(seed: number, seen: Set<string>): void {
  const random = fastRandom(seed);
  let room = newRoom(random);
  let now = start;
  for (let i = 0; i < eventsPerWalk; i++) {
    now += random.below(1000);
    if (random.below(8) === 0) room = edited(random, room);
    const event = anyEvent(random, room);
    const done = change(room, event, { now, host: { id: 'host_1', storeGroup: 'g' } });
    if (done.effect && done.effect.incarnation !== done.next?.incarnation) throw new Error('a saga for another incarnation');
    if (!done.next) continue;
    checkStep(room, event, done.next);
    checkPolicies(room, event, done.next, now);
    if (done.verdict.kind === 'move') seen.add(`${room.state} ${event.kind}`);
    room = done.next;
    checkRow(room);
  }
  checkSettled(room, settle(room));
  if (isMoving(room.state) && reconcile(room, now + 1e9, { hostLost: false })?.kind !== 'moveFailed') throw new Error(`no deadline in ${room.state}`);
  if (mayLive(room.state) && reconcile(room, now, { hostLost: true })?.kind !== 'gone') throw new Error(`a lost host is not noticed in ${room.state}`);
}

describe('the life of a room, walked at random', () => {
  it('holds its invariants', () => {
    const broken: string[] = [];
    const seen = new Set<string>();
    for (const seed of [...savedSeeds, ...Array.from({ length: walks }, (_, i) => i)]) {
      try {
        walk(seed, seen);
      } catch (error) {
        broken.push(`seed ${seed}: ${(error as Error).message}`);
      }
    }
    expect(broken.slice(0, 5)).toEqual([]);
    const moves = Object.entries(table).flatMap(([state, row]) => eventKinds.filter((kind) => row[kind].rule === 'move').map((kind) => `${state} ${kind}`));
    expect([...seen].sort()).toEqual(moves.sort());
  });
});
