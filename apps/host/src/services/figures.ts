import { type Clock, limits } from '@alcove/base';
import type { RoomFigures } from '@alcove/contracts';
import type { GuestSession, GuestStats } from '@alcove/runtime';

/** One sample of a room as the figures that are told of it. `before`: the sample before it, null for the first: then, and from a guest that does not count, the processor was not used. */
export function figuresOf(now: GuestStats, before: GuestStats | null, cpuCount: number, atMs: number): RoomFigures {
  return {
    at: new Date(atMs).toISOString(),
    cpuCount,
    cpuUsedPct: usedPct(now, before, cpuCount),
    memTotal: now.memTotal,
    memUsed: Math.max(0, now.memTotal - now.memAvailable),
    memCache: now.memCached ?? 0,
    diskTotal: now.diskTotal,
    diskUsed: Math.max(0, now.diskTotal - now.diskFree),
    processes: now.processes,
  };
}

/** In percent of one processor, to one hundredth. The counters are the guest's: whatever it says, the answer stays between nothing and all processors. */
function usedPct(now: GuestStats, before: GuestStats | null, cpuCount: number): number {
  const busy = (now.cpuBusyMs ?? 0) - (before?.cpuBusyMs ?? 0);
  const total = (now.cpuTotalMs ?? 0) - (before?.cpuTotalMs ?? 0);
  if (before === null || total <= 0) return 0;
  return Math.round(Math.min(1, Math.max(0, busy / total)) * cpuCount * 10_000) / 100;
}

/** What the figures need of the rooms. */
export interface Measured {
  /** Those that run now, with what their guests are made of. */
  running(): { roomId: string; incarnation: number; cpuCount(): Promise<number> }[];
  /** Throws when the room takes no stream, as while it is put to sleep. */
  openStream(room: { roomId: string; incarnation: number }): Promise<{ guest: Pick<GuestSession, 'stats'>; signal: AbortSignal; close(): void }>;
}

interface Kept {
  incarnation: number;
  cpuCount: number;
  last: GuestStats | null;
  figures: RoomFigures[];
  /** The sample that is being taken. */
  sampling: Promise<void> | null;
}

/**
 * The figures of every running room, sampled every `limits.hostAgent.figuresMs`, the last `figuresKept` of them, in memory. A sample is a stream into the room like any
 * other: a room that is being put to sleep takes none, so a frozen guest is never asked, and one that does not answer holds up no other.
 */
export class Figures {
  readonly #kept = new Map<string, Kept>();

  constructor(
    private readonly rooms: Measured,
    private readonly clock: Clock,
  ) {}

  /** Samples until the signal. */
  async run(signal: AbortSignal): Promise<void> {
    for (;;) {
      await this.clock.sleep(limits.hostAgent.figuresMs, signal).catch(() => undefined);
      if (signal.aborted) return;
      this.#tick();
    }
  }
  /** The newest last; of a room that has none yet, one that is taken now. Throws as `openStream` for a room that does not run here. */
  async of(room: { roomId: string; incarnation: number }): Promise<RoomFigures[]> {
    const stream = await this.rooms.openStream(room);
    stream.close();
    const kept = this.#keep(room);
    if (kept.figures.length === 0) await this.#sample(room, kept);
    return [...kept.figures];
  }
  /** A sample of this moment. */
  async now(room: { roomId: string; incarnation: number }): Promise<RoomFigures> {
    const kept = this.#keep(room);
    await this.#cpuCount(room, kept);
    return figuresOf(await this.#ask(room), kept.last, kept.cpuCount, this.clock.now());
  }

  #tick(): void {
    const running = this.rooms.running();
    const live = new Map(running.map((room) => [room.roomId, room.incarnation]));
    for (const [roomId, kept] of this.#kept) if (live.get(roomId) !== kept.incarnation) this.#kept.delete(roomId);
    for (const room of running) {
      const kept = this.#keep(room);
      // A guest that has not answered the last time is not asked again.
      if (kept.sampling === null) void this.#sample(room, kept).catch(() => undefined);
    }
  }
  #keep({ roomId, incarnation }: { roomId: string; incarnation: number }): Kept {
    let kept = this.#kept.get(roomId);
    if (kept?.incarnation !== incarnation) {
      kept = { incarnation, cpuCount: 0, last: null, figures: [], sampling: null };
      this.#kept.set(roomId, kept);
    }
    return kept;
  }
  #sample(room: { roomId: string; incarnation: number }, kept: Kept): Promise<void> {
    kept.sampling ??= this.#take(room, kept).finally(() => {
      kept.sampling = null;
    });
    return kept.sampling;
  }
  async #take(room: { roomId: string; incarnation: number }, kept: Kept): Promise<void> {
    await this.#cpuCount(room, kept);
    const stats = await this.#ask(room);
    kept.figures.push(figuresOf(stats, kept.last, kept.cpuCount, this.clock.now()));
    kept.last = stats;
    if (kept.figures.length > limits.hostAgent.figuresKept) kept.figures.shift();
  }
  async #ask(room: { roomId: string; incarnation: number }): Promise<GuestStats> {
    const stream = await this.rooms.openStream(room);
    try {
      // Nothing may come between this look and the question: the sleep may have begun since the stream was opened.
      stream.signal.throwIfAborted();
      return await stream.guest.stats();
    } finally {
      stream.close();
    }
  }
  async #cpuCount({ roomId }: { roomId: string }, kept: Kept): Promise<void> {
    if (kept.cpuCount > 0) return;
    const room = this.rooms.running().find((other) => other.roomId === roomId);
    kept.cpuCount = (await room?.cpuCount().catch(() => 1)) ?? 1;
  }
}
