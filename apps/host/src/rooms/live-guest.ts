import { type Clock, limits } from '@alcove/base';
import { Problem } from '@alcove/contracts';
import type { GuestSession, RoomSpec, Started } from '@alcove/runtime';
import type { RoomDoors } from '../doors/room-doors';

/** What a route gets of a running room: the channel, and a signal that ends with the room. Invariant: `close` is called when the route is done. */
export interface RoomStream {
  readonly guest: GuestSession;
  readonly signal: AbortSignal;
  close(): void;
}

/** The host's hold on one running guest: its channel, the keys of its incarnation, the streams that are open on it, and the watch over its life. */
export class LiveGuest {
  readonly #streams = new Set<AbortController>();
  readonly #over = new AbortController();
  #paused = false;
  #steadyMs = 0;
  constructor(
    private readonly started: Pick<Started, 'guest' | 'stalled'>,
    /** Null after a restart of the host agent, until the control plane sends them again. */
    public keys: RoomSpec['keys'] | null,
    private readonly clock: Clock,
    /** Called at most once: the channel ended or the guest stopped answering. */
    private readonly lost: (reason: 'closed' | 'silent') => void,
    private readonly doors: RoomDoors | null = null,
  ) {
    void this.guest.closed.then(() => this.#report('closed'));
    void this.#ping();
  }

  get guest(): GuestSession {
    return this.started.guest;
  }
  get streamCount(): number {
    return this.#streams.size;
  }
  /** The channel ended or the guest went silent; what that means for the room is being found out. */
  get broken(): boolean {
    return this.#over.signal.aborted;
  }
  /** For how long every ping over this channel has been answered. */
  get steadyMs(): number {
    return this.#steadyMs;
  }
  /** The guest answers, or is held still by its host and could not. */
  async alive(): Promise<boolean> {
    if (this.started.stalled()) return true;
    const answered = await this.guest.ping(limits.hostAgent.guestPingTimeoutMs).then(() => true, () => false);
    return answered || this.started.stalled();
  }
  /** Throws `guest.limit` beyond the bound on streams of one room. */
  open(): RoomStream {
    if (this.#paused || this.#over.signal.aborted) throw new Problem('room.not_running');
    if (this.#streams.size >= limits.hostAgent.streamsPerRoom) throw new Problem('guest.limit', { detail: 'too many requests into this room at once' });
    const ending = new AbortController();
    this.#streams.add(ending);
    return { guest: this.guest, signal: ending.signal, close: () => void this.#streams.delete(ending) };
  }
  /** Before a seal: ends every stream and looks away, because a quiet guest is not a dead one. Waits only for what a program of the room has just asked of a door. */
  async pause(): Promise<void> {
    this.#paused = true;
    this.#cut(new Problem('guest.closed', { detail: 'the room goes to sleep' }));
    await this.doors?.pause();
  }
  resume(): void {
    this.#paused = false;
    this.doors?.resume();
  }
  /** Ends the host's hold. The VM is somebody else's to end. */
  end(): void {
    this.#over.abort(new Problem('guest.closed'));
    this.#cut(new Problem('guest.closed'));
    this.keys = null;
    this.doors?.end();
    this.guest.close();
  }

  #cut(problem: Problem): void {
    for (const stream of this.#streams) stream.abort(problem);
    this.#streams.clear();
  }
  #report(reason: 'closed' | 'silent'): void {
    if (this.#over.signal.aborted) return;
    this.#over.abort(new Problem('guest.closed'));
    this.#cut(new Problem('guest.closed'));
    this.doors?.end();
    this.lost(reason);
  }
  async #ping(): Promise<void> {
    let failures = 0;
    let steadySince = this.clock.monotonic();
    while (failures < limits.hostAgent.guestPingFailures) {
      await this.clock.sleep(limits.hostAgent.guestPingMs, this.#over.signal).catch(() => undefined);
      if (this.#over.signal.aborted) return;
      if (this.#paused) continue;
      const alive = (await this.alive()) || this.#paused;
      failures = alive ? 0 : failures + 1;
      if (!alive) steadySince = this.clock.monotonic();
      this.#steadyMs = this.clock.monotonic() - steadySince;
    }
    this.#report('silent');
  }
}
