import { limits } from '@alcove/base';
import type { Principal, RoomEvent } from '@alcove/contracts';

/** What following a room needs of libs/rooms. */
export interface RoomHistory {
  /** The room's events with numbers above `after`, in order. */
  events(principal: Principal, roomId: string, query: { after?: string; limit: number }): Promise<RoomEvent[]>;
  /** Calls back whenever the room may have a new event; the result ends it. */
  subscribe(roomId: string, onNews: () => void): () => void;
}

/**
 * A room's events from `after` on, for as long as somebody listens. News is only a nudge to read on from the last number sent: so nothing can be left out
 * between replay and live, nothing comes twice, and what waits for a slow listener is a flag. Ends once the room is destroyed, or at the signal.
 */
export async function* followRoom(rooms: RoomHistory, principal: Principal, roomId: string, after: string | undefined, signal: AbortSignal): AsyncGenerator<RoomEvent> {
  const bell = new Bell(signal);
  const unsubscribe = rooms.subscribe(roomId, () => bell.ring());
  try {
    let last = after;
    while (!signal.aborted) {
      const page = await rooms.events(principal, roomId, { limit: limits.page.max, ...(last === undefined ? {} : { after: last }) });
      for (const event of page) {
        yield event;
        last = event.id;
        if (event.to === 'destroyed') return;
      }
      if (page.length < limits.page.max) await bell.rung();
    }
  } finally {
    unsubscribe();
    bell.close();
  }
}

/** Remembers that it was rung until somebody has heard it. Rings for ever once the signal is aborted. */
class Bell {
  #rung = false;
  #wake: (() => void) | undefined;
  readonly #onAbort = (): void => this.ring();

  constructor(private readonly signal: AbortSignal) {
    signal.addEventListener('abort', this.#onAbort, { once: true });
  }

  ring(): void {
    this.#rung = true;
    this.#wake?.();
  }

  async rung(): Promise<void> {
    if (!this.#rung && !this.signal.aborted) await new Promise<void>((resolve) => (this.#wake = resolve));
    this.#rung = false;
    this.#wake = undefined;
  }

  close(): void {
    this.signal.removeEventListener('abort', this.#onAbort);
  }
}
