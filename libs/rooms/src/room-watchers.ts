import type { RoomRecord } from './room';

/** Null: the room changed in another process, and must be read. */
export type RoomListener = (room: RoomRecord | null) => void;

/** Who in this process waits for news of a room. Saves of this process bring the row along; those of others only say that there is one. */
export class RoomWatchers {
  readonly #listeners = new Map<string, Set<RoomListener>>();

  /** Calls back at every change from now on, until the result is called. */
  subscribe(roomId: string, listener: RoomListener): () => void {
    const listeners = this.#listeners.get(roomId) ?? new Set();
    this.#listeners.set(roomId, listeners.add(listener));
    return () => {
      listeners.delete(listener);
      if (listeners.size === 0 && this.#listeners.get(roomId) === listeners) this.#listeners.delete(roomId);
    };
  }

  changed(room: RoomRecord): void {
    for (const listener of this.#listeners.get(room.id) ?? []) listener(room);
  }

  changedElsewhere(roomId: string): void {
    for (const listener of this.#listeners.get(roomId) ?? []) listener(null);
  }

  /** News may have been missed: everybody reads again. */
  mayHaveMissed(): void {
    for (const roomId of [...this.#listeners.keys()]) this.changedElsewhere(roomId);
  }
}
