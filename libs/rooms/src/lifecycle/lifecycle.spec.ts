import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ImageRef } from '@alcove/contracts';
import { absentRoom, type RoomRecord } from '../room';
import { change, type Change } from './change';
import { decide, type LifecycleEvent } from './lifecycle';
import { lifecycleText } from './lifecycle.text';
import { reconcile, retryAt } from './reconcile';

const now = 1_700_000_000_000;
const facts = { now, host: { id: 'host_1', storeGroup: 'g' } };
const wake: LifecycleEvent = { kind: 'wake', reason: 'asked' };
const sleep: LifecycleEvent = { kind: 'sleep', reason: 'asked' };
const idle: LifecycleEvent = { kind: 'sleep', reason: 'idle' };
const destroy: LifecycleEvent = { kind: 'destroy', reason: 'asked' };

function absent(): RoomRecord {
  const size = { memoryMiB: 512, vcpus: 1, diskMiB: 4096 };
  return absentRoom({ id: 'room_00000000000000000001', tenantId: 't', userId: 'u', template: 'default', templateId: 'tpl_1', size, metadata: {}, envNames: [], envSealed: null }, now);
}

function up(room: RoomRecord, resumedFrom: 'new' | 'memory' | 'disk' | 'checkpoint'): LifecycleEvent {
  return { kind: 'up', incarnation: room.incarnation, move: room.move, reason: 'started', start: { resumedFrom, isolation: 'emulated', fallbacks: [], detail: { ms: 1 } } };
}

function image(room: RoomRecord, generation = room.move): ImageRef {
  const id = `img_${generation.toString(16).padStart(20, '0')}`;
  return { id, roomId: room.id, incarnation: room.incarnation, generation, templateId: 'tpl_1', compatibility: 'c', diskState: 'd', bytes: 9, pages: 3, sha256: 'a'.repeat(64) };
}

function sealed(room: RoomRecord, generation?: number): LifecycleEvent {
  return { kind: 'sealed', incarnation: room.incarnation, image: image(room, generation), engine: 'e', detail: { stallMs: 5 } };
}

function gone(room: RoomRecord, reason = 'vmm_exited'): LifecycleEvent {
  return { kind: 'gone', incarnation: room.incarnation, reason };
}

function after(room: RoomRecord, ...events: ((room: RoomRecord) => LifecycleEvent)[]): RoomRecord {
  return events.reduce((row, event) => change(row, event(row), facts).next ?? row, room);
}

const running = (): RoomRecord => after(absent(), () => wake, (room) => up(room, 'new'));
const asleep = (): RoomRecord => after(running(), () => sleep, sealed);

function wish(done: Change): { wanted?: string; pending?: boolean } {
  return { ...(done.next && { wanted: done.next.wanted, pending: done.next.wakePending }) };
}

describe('the lifecycle', () => {
  it('is shown in the README as it is', () => {
    const readme = readFileSync(join(__dirname, '../../README.md'), 'utf8');
    expect(/<!-- lifecycle -->\n([\s\S]*?)\n?<!-- \/lifecycle -->/.exec(readme)?.[1]).toBe(lifecycleText());
  });

  it('provisions, runs, sleeps and wakes', () => {
    const made = change(absent(), wake, facts);
    expect(made.verdict).toEqual({ kind: 'move', to: 'provisioning', incarnation: 1, effect: { saga: 'provision', incarnation: 1 } });
    expect(made.next).toMatchObject({ state: 'provisioning', generation: 1, incarnation: 1, hostId: 'host_1', deadlineAt: now + 120_000 });
    const slept = asleep();
    expect(slept).toMatchObject({ state: 'hibernated', wanted: 'asleep', imageSpent: false, hasDisk: true, deadlineAt: null });
    const woken = change(slept, wake, facts);
    expect(woken.effect).toEqual({ saga: 'resume', incarnation: 2 });
    expect(woken.next).toMatchObject({ state: 'resuming', wanted: 'available', wakePending: false });
  });

  it('numbers what it tells, and says from where a room came back', () => {
    const room = after(asleep(), () => wake);
    const told = change(room, { ...up(room, 'disk'), start: { resumedFrom: 'disk', isolation: 'emulated', fallbacks: [{ level: 'memory', code: 'image.corrupt' }], detail: {} } } as LifecycleEvent, facts).news;
    expect(told.map((news) => [news.type, news.reason, news.to])).toEqual([['fallback', 'image.corrupt', 'running'], ['state', 'started', 'running']]);
    expect(told.map((news) => Number(news.id))).toEqual([room.eventCount + 1, room.eventCount + 2]);
    expect(told[1]?.resumedFrom).toBe('disk');
  });

  it('keeps a wake that comes while the room falls asleep', () => {
    const room = after(running(), () => sleep);
    const done = change(room, wake, facts);
    expect(done.verdict).toEqual({ kind: 'ignore', why: 'kept' });
    expect(wish(done)).toEqual({ wanted: 'available', pending: true });
    const rested = after(room, () => wake, (row) => sealed(row, room.move));
    expect(reconcile(rested, now, { hostLost: false })).toEqual({ kind: 'wake', reason: 'kept' });
  });

  it('lets the last to ask win', () => {
    const room = after(running(), () => sleep);
    expect(wish(change(after(room, () => wake), sleep, facts))).toEqual({ wanted: 'asleep', pending: false });
    expect(change(after(room, () => wake), idle, facts).next).toBeNull();
    const starting = after(asleep(), () => wake, () => sleep);
    expect(starting).toMatchObject({ state: 'resuming', wanted: 'asleep' });
    expect(reconcile(after(starting, (row) => up(row, 'memory')), now, { hostLost: false })).toEqual({ kind: 'sleep', reason: 'wanted' });
  });

  it('lets an idle room wake on demand, and one that was sent to sleep stay asleep', () => {
    expect(after(running(), () => idle)).toMatchObject({ state: 'hibernating', wanted: 'available' });
    expect(reconcile(asleep(), now + 1e9, { hostLost: false })).toBeNull();
  });

  it('ignores news of the past', () => {
    const room = after(asleep(), () => wake);
    expect(decide(room, { ...gone(room), incarnation: 1 } as LifecycleEvent)).toEqual({ kind: 'ignore', why: 'stale_incarnation' });
    expect(decide(room, { kind: 'moveFailed', incarnation: 2, move: room.move - 1, code: 'engine.failed', detail: null })).toEqual({ kind: 'ignore', why: 'stale_move' });
    const again = after(running(), () => sleep);
    expect(decide(again, { ...sealed(again), image: { ...image(again), roomId: 'room_00000000000000000002' } } as LifecycleEvent)).toEqual({ kind: 'ignore', why: 'stale_image' });
    expect(decide(again, { ...sealed(again), image: { ...image(again), incarnation: 7 } } as LifecycleEvent)).toEqual({ kind: 'ignore', why: 'stale_image' });
    expect(decide(again, sealed(again, again.generation + 1))).toEqual({ kind: 'ignore', why: 'stale_image' });
  });

  it('takes an image that is late but of the newest incarnation', () => {
    const room = after(running(), () => sleep);
    const givenUp = after(room, (row) => ({ kind: 'moveFailed', incarnation: 1, move: row.move, code: 'saga.stuck', detail: null }));
    expect(givenUp).toMatchObject({ state: 'failed', failure: { code: 'saga.stuck' } });
    expect(change(givenUp, sealed(givenUp, room.move), facts).next).toMatchObject({ state: 'hibernated', image: { generation: room.move }, failure: null });
  });

  it('keeps the image before until the new one has been restored', () => {
    const first = asleep().image;
    const second = after(asleep(), () => wake, (row) => up(row, 'memory'), () => sleep, sealed);
    expect(second.previous).toEqual(first);
    expect(after(second, () => wake)).toMatchObject({ previous: first });
    expect(after(second, () => wake, (row) => up(row, 'memory'))).toMatchObject({ image: second.image, previous: null, imageSpent: true });
    expect(after(second, () => wake, (row) => up(row, 'disk'))).toMatchObject({ image: second.image, previous: first });
    expect(after(second, () => wake, (row) => up(row, 'checkpoint'))).toMatchObject({ image: first, previous: null });
  });

  it('goes on running when a seal failed and the VM lives', () => {
    const room = after(running(), () => sleep);
    expect(after(room, (row) => ({ kind: 'up', incarnation: 1, move: row.move, reason: 'seal_failed', start: null }))).toMatchObject({ state: 'running', resumedFrom: 'new' });
  });

  it('wakes a room whose VM died, and destroys one that failed', () => {
    const dead = after(running(), gone);
    expect(dead).toMatchObject({ state: 'failed', hostId: null, failure: { code: 'vmm_exited' } });
    expect(decide(dead, wake)).toMatchObject({ kind: 'move', to: 'resuming', incarnation: 2 });
    expect(decide(dead, destroy)).toMatchObject({ kind: 'move', to: 'destroying' });
  });

  it('refuses wishes for a room that shall go', () => {
    const doomed = after(running(), () => destroy);
    expect(decide(doomed, wake)).toEqual({ kind: 'deny', code: 'room.gone' });
    const failed = after(doomed, (row) => ({ kind: 'moveFailed', incarnation: 1, move: row.move, code: 'host.unavailable', detail: null }));
    expect(decide(failed, wake)).toEqual({ kind: 'deny', code: 'room.gone' });
    expect(reconcile(failed, retryAt(failed), { hostLost: false })).toEqual({ kind: 'destroy', reason: 'asked' });
    expect(after(doomed, (row) => ({ kind: 'discarded', incarnation: 1, move: row.move }))).toMatchObject({ state: 'destroyed', image: null, hasDisk: false });
  });

  it('notices an expired deadline and a lost host', () => {
    const room = after(asleep(), () => wake);
    expect(reconcile(room, now, { hostLost: false })).toBeNull();
    expect(reconcile(room, now + 60_000, { hostLost: false })).toMatchObject({ kind: 'moveFailed', code: 'saga.stuck' });
    expect(reconcile(running(), now, { hostLost: true })).toEqual({ kind: 'gone', incarnation: 1, reason: 'host_lost' });
    expect(reconcile(asleep(), now, { hostLost: true })).toBeNull();
  });
});
