import { type Clock, limits, type Log } from '@alcove/base';
import { doorNames, doors, isProblem } from '@alcove/contracts';
import type { GuestSession } from '@alcove/runtime';
import type { DoorConnection, DoorRoom, DoorServer } from './door-server';
import { MinuteCount } from './minute-count';

const names = doorNames.map((name) => doors[name].hostName);

export interface RoomDoorsParts {
  guest: Pick<GuestSession, 'openDoor'>;
  server: DoorServer;
  clock: Clock;
  log: Log;
}

/**
 * The doors of one running guest: one stream waits in the guest for the next connection, at most `limits.doors.connections` have one. States: open ⇄ paused (before a
 * seal: nothing waits, nothing is connected), over. A guest that is too old to have doors is asked once.
 */
export class RoomDoors {
  readonly #connections = new Set<DoorConnection>();
  readonly #accepted = new MinuteCount(limits.doors.connectionsPerMinute);
  readonly #room: DoorRoom;
  #open = new AbortController();
  #tooOld = false;

  constructor(
    private readonly parts: RoomDoorsParts,
    room: Omit<DoorRoom, 'requests'>,
  ) {
    this.#room = { ...room, requests: new MinuteCount(limits.doors.requestsPerMinute) };
    void this.#take(this.#open.signal);
  }

  /** Ends every connection: at once those that are idle, the others once they are answered or `limits.doors.drainMs` are over. */
  async pause(): Promise<void> {
    this.#open.abort();
    for (const connection of this.#connections) connection.finish();
    const busy = [...this.#connections].filter((connection) => connection.busy);
    if (busy.length > 0) {
      const answered = new AbortController();
      const late = this.parts.clock.sleep(limits.doors.drainMs, answered.signal).catch(() => undefined);
      await Promise.race([Promise.all(busy.map((connection) => connection.answered())), late]);
      answered.abort();
    }
    this.#cut();
  }
  resume(): void {
    if (!this.#open.signal.aborted) return;
    this.#open = new AbortController();
    void this.#take(this.#open.signal);
  }
  end(): void {
    this.#open.abort();
    this.#cut();
  }

  #cut(): void {
    for (const connection of this.#connections) connection.destroy();
    this.#connections.clear();
  }
  async #take(signal: AbortSignal): Promise<void> {
    const { guest, server, clock, log } = this.parts;
    while (!signal.aborted && !this.#tooOld) {
      try {
        const wait = this.#accepted.take(clock.monotonic());
        if (wait > 0) {
          await clock.sleep(wait, signal);
          continue;
        }
        const socket = await guest.openDoor(names, signal);
        const connection = server.take(socket, this.#room);
        this.#connections.add(connection);
        void connection.closed.then(() => this.#connections.delete(connection));
        while (this.#connections.size >= limits.doors.connections && !signal.aborted) await Promise.race([...this.#connections].map(({ closed }) => closed));
      } catch (err) {
        if (signal.aborted) return;
        this.#tooOld = isProblem(err, 'guest.unsupported');
        if (this.#tooOld) return;
        log.debug({ err, ...this.#room.key }, 'the doors of a room are shut');
        await clock.sleep(limits.doors.retryMs, signal).catch(() => undefined);
      }
    }
  }
}
