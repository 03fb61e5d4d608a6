import { limits } from '@alcove/base';
import { ManualClock } from '@alcove/testing';
import type { GuestSession, GuestStats } from '@alcove/runtime';
import fc from 'fast-check';
import { LiveGuest } from '../rooms/live-guest';
import { Figures, figuresOf } from './figures';

const stats = (more: Partial<GuestStats> = {}): GuestStats => ({ memTotal: 100, memAvailable: 40, processes: 3, load1: 0, diskTotal: 50, diskFree: 20, uptimeMs: 1, ...more });
const room = { roomId: 'room_00000000000000000001', incarnation: 1 };
const tick = () => Promise.resolve();
const settle = () => new Promise<void>((resolve) => setImmediate(resolve));

describe('figures', () => {
  it('say what is used, and of the processors since the sample before', () => {
    const before = stats({ cpuBusyMs: 1000, cpuTotalMs: 10_000 });
    const now = stats({ cpuBusyMs: 3500, cpuTotalMs: 20_000, memCached: 7 });
    expect(figuresOf(now, before, 2, 0)).toEqual({ at: '1970-01-01T00:00:00.000Z', cpuCount: 2, cpuUsedPct: 50, memTotal: 100, memUsed: 60, memCache: 7, diskTotal: 50, diskUsed: 30, processes: 3 });
  });
  it('of a guest that does not count, or of a first sample, say 0', () => {
    expect(figuresOf(stats(), stats(), 2, 0)).toMatchObject({ cpuUsedPct: 0, memCache: 0 });
    expect(figuresOf(stats({ cpuBusyMs: 5, cpuTotalMs: 10 }), null, 2, 0)).toMatchObject({ cpuUsedPct: 0 });
  });
  it('stay within what there is, whatever a guest says', () => {
    const number = fc.nat(2 ** 40);
    fc.assert(
      fc.property(fc.record({ memTotal: number, memAvailable: number, diskTotal: number, diskFree: number, cpuBusyMs: number, cpuTotalMs: number }), fc.record({ cpuBusyMs: number, cpuTotalMs: number }), (now, before) => {
        const { cpuUsedPct, memUsed, diskUsed } = figuresOf(stats(now), stats(before), 3, 0);
        expect(cpuUsedPct >= 0 && cpuUsedPct <= 300 && memUsed >= 0 && diskUsed >= 0).toBe(true);
      }),
    );
  });
});

/** One room whose guest counts how often it is asked, on the real hold of a host on it. */
function oneRoom() {
  const clock = new ManualClock();
  const asked: boolean[] = [];
  let paused = false;
  let answer: () => Promise<GuestStats> = async () => stats();
  const guest = { closed: new Promise<Error>(() => undefined), close: () => undefined, ping: async () => undefined, stats: () => (asked.push(paused), answer()) } as unknown as GuestSession;
  const live = new LiveGuest({ guest, stalled: () => false }, null, clock, () => undefined);
  let running = [{ ...room, cpuCount: async () => 2 }];
  const figures = new Figures({ running: () => running, openStream: async () => (await Promise.resolve(), live.open()) }, clock);
  return {
    clock, live, figures, asked,
    pause: () => ((paused = true), live.pause()),
    answerWith: (next: () => Promise<GuestStats>) => (answer = next),
    gone: () => (running = []),
  };
}

describe('sampling', () => {
  it('keeps so many, the newest last, and forgets a room that is gone', async () => {
    const world = oneRoom();
    const stop = new AbortController();
    const run = world.figures.run(stop.signal);
    let sample = 0;
    world.answerWith(async () => stats({ processes: (sample += 1) }));
    for (let i = 0; i < limits.hostAgent.figuresKept + 3; i += 1) {
      world.clock.advance(limits.hostAgent.figuresMs);
      await settle();
    }
    const kept = await world.figures.of(room);
    expect(kept).toHaveLength(limits.hostAgent.figuresKept);
    expect(kept.at(-1)?.processes).toBe(sample);
    expect(kept[0]?.processes).toBe(4);
    world.gone();
    world.clock.advance(limits.hostAgent.figuresMs);
    await settle();
    expect((await world.figures.of(room)).map(({ processes }) => processes)).toEqual([sample]);
    stop.abort();
    await run;
    expect(world.live.streamCount).toBe(0);
    world.live.end();
  });
  it('never asks a guest that is put to sleep, wherever in a sample that begins', async () => {
    for (let steps = 0; steps < 40; steps += 1) {
      const world = oneRoom();
      const stop = new AbortController();
      const run = world.figures.run(stop.signal);
      world.clock.advance(limits.hostAgent.figuresMs);
      for (let i = 0; i < steps; i += 1) await tick();
      world.pause();
      for (let i = 0; i < 3; i += 1) {
        world.clock.advance(limits.hostAgent.figuresMs);
        await settle();
      }
      expect(world.asked).not.toContain(true);
      await expect(world.figures.of(room)).rejects.toMatchObject({ code: 'room.not_running' });
      world.live.resume();
      world.clock.advance(limits.hostAgent.figuresMs);
      await settle();
      expect(world.asked.length).toBeGreaterThan(0);
      stop.abort();
      await run;
      world.live.end();
    }
  });
  it('does not ask again who has not answered', async () => {
    const world = oneRoom();
    const stop = new AbortController();
    const run = world.figures.run(stop.signal);
    world.answerWith(() => new Promise(() => undefined));
    for (let i = 0; i < 5; i += 1) {
      world.clock.advance(limits.hostAgent.figuresMs);
      await settle();
    }
    expect(world.asked).toHaveLength(1);
    stop.abort();
    await run;
    world.live.end();
  });
});
