import type { RoomRecord } from './room';

/** A room was saved at this generation; null: in another process, so that it must be read. */
export interface RoomNotice {
  readonly generation: number;
  readonly room: RoomRecord | null;
}

/** Who in this process waits for news of a room. Saves of this process bring the row along; those of others only say that there is one. */
export class RoomWatchers {
  readonly #listeners = new Map<string, Set<(notice: RoomNotice) => void>>();

  /** Calls back at every change from now on, until the result is called. */
  subscribe(roomId: string, listener: (notice: RoomNotice) => void): () => void {
    const listeners = this.#listeners.get(roomId) ?? new Set();
    this.#listeners.set(roomId, listeners.add(listener));
    return () => {
      listeners.delete(listener);
      if (listeners.size === 0 && this.#listeners.get(roomId) === listeners) this.#listeners.delete(roomId);
    };
  }

  changed(room: RoomRecord): void {
    this.#tell(room.id, { generation: room.generation, room });
  }

  /** What a process that saved a room tells the others: also heard by itself. */
  heard(payload: string): void {
    const [roomId = '', generation] = payload.split(' ');
    this.#tell(roomId, { generation: Number(generation), room: null });
  }

  /** News may have been missed: everybody reads again. */
  mayHaveMissed(): void {
    for (const roomId of [...this.#listeners.keys()]) this.#tell(roomId, { generation: Number.POSITIVE_INFINITY, room: null });
  }

  #tell(roomId: string, notice: RoomNotice): void {
    for (const listener of this.#listeners.get(roomId) ?? []) listener(notice);
  }
}

/** The text that others hear of a save. */
export function noticeOf(room: RoomRecord): string {
  return `${room.id} ${room.generation}`;
}
