import type { Random } from '@alcove/base';
import type { ImageRef } from '@alcove/contracts';
import { absentRoom, type RoomRecord } from '../room';
import { change } from './change';
import { eventKinds, isMoving, mayLive, table, type LifecycleEvent } from './lifecycle';
import { reconcile } from './reconcile';

/** Seeds that once found something stay here for ever; the rest are the plain first ones. */
const savedSeeds = [7, 1234, 90210];
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

function newRoom(): RoomRecord {
  const size = { memoryMiB: 512, vcpus: 1, diskMiB: 4096 };
  return absentRoom({ id: 'room_00000000000000000001', tenantId: 't', userId: 'u', template: 'default', templateId: 'tpl_1', size, metadata: {}, envNames: [], envSealed: null }, start);
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
  switch (random.below(9)) {
    case 0:
    case 1:
      return { kind: 'wake', reason: 'invocation' };
    case 2:
      return { kind: 'sleep', reason: pick(random, ['asked', 'idle']) };
    case 3:
      return random.below(6) === 0 ? { kind: 'destroy', reason: 'asked' } : { kind: 'wake', reason: 'asked' };
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
  if (event.kind === 'wake' || event.kind === 'sleep' || event.kind === 'destroy') return false;
  return event.incarnation !== room.incarnation || ('move' in event && event.move !== undefined && event.move !== room.move);
}

function checkRow(room: RoomRecord): void {
  if (isMoving(room.state) !== (room.deadlineAt !== null)) throw new Error(`deadline of ${room.state}`);
  if (room.state === 'failed' && room.failure === null) throw new Error('failed without a failure');
  if (mayLive(room.state) && room.hostId === null) throw new Error('a live room without a host');
  if (room.previous && room.image && room.previous.generation >= room.image.generation) throw new Error('previous is not older');
}

function checkStep(before: RoomRecord, event: LifecycleEvent, after: RoomRecord): void {
  if (after.generation !== before.generation + 1) throw new Error('generation does not count');
  const opened = after.incarnation - before.incarnation;
  if (opened !== 0 && opened !== 1) throw new Error('incarnation jumps');
  if (opened === 1 && (event.kind !== 'wake' || mayLive(before.state) || before.state === 'destroying')) throw new Error(`incarnation opened in ${before.state}`);
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
  return { kind: 'up', incarnation, move, reason: 'started', start: started(room.image && !room.imageSpent ? 'memory' : room.hasDisk ? 'disk' : 'new') };
}

/** With no more faults and nobody asking, reconciling must bring the room to a rest that honours what is wanted. */
function settle(room: RoomRecord): RoomRecord {
  let now = start + 1e9;
  for (let i = 0; i < 8; i++) {
    const event = isMoving(room.state) ? succeed(room) : reconcile(room, (now += 1e9), { hostLost: false });
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
  if (before.wanted === 'asleep' && after.state === 'running') throw new Error('runs though wanted asleep');
  if (before.wakePending && after.state !== 'running') throw new Error('a kept wake was lost');
}

function walk(seed: number, seen: Set<string>): void {
  const random = fastRandom(seed);
  let room = newRoom();
  let now = start;
  for (let i = 0; i < eventsPerWalk; i++) {
    now += random.below(1000);
    const event = anyEvent(random, room);
    const done = change(room, event, { now, host: { id: 'host_1', storeGroup: 'g' } });
    if (done.effect && done.effect.incarnation !== done.next?.incarnation) throw new Error('a saga for another incarnation');
    if (!done.next) continue;
    checkStep(room, event, done.next);
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
