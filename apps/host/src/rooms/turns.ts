import { limits } from '@alcove/base';
import { Problem } from '@alcove/contracts';

/** One room's queue: one thing at a time, in the order in which it was asked for. */
export class Turns {
  #tail: Promise<unknown> = Promise.resolve();
  #queued = 0;
  #current = new AbortController();

  get busy(): boolean {
    return this.#queued > 0;
  }
  /** Aborted to end what is being done now: a start that nobody wants any more, a seal that may not go on. Another one in every turn. */
  get signal(): AbortSignal {
    return this.#current.signal;
  }
  abort(reason: Problem): void {
    this.#current.abort(reason);
  }
  /** Settles when everything that was asked for so far is done. */
  idle(): Promise<unknown> {
    return this.#tail;
  }
  /** Does the work when its turn has come. Problem `room.busy` when too much waits already. */
  take<T>(work: () => Promise<T>): Promise<T> {
    if (this.#queued >= limits.hostAgent.queuePerRoom) return Promise.reject(new Problem('room.busy'));
    this.#queued += 1;
    const mine = this.#tail.then(() => {
      this.#current = new AbortController();
      return work();
    });
    this.#tail = mine.then(
      () => void (this.#queued -= 1),
      () => void (this.#queued -= 1),
    );
    return mine;
  }
}

/**
 * The turns of two rooms at once. Every caller takes them in the same order, that of the rooms' ids, so two that want the same rooms never hold one each and wait for the
 * other.
 */
export function takeBoth<T>(one: { roomId: string; turns: Turns }, other: { roomId: string; turns: Turns }, work: () => Promise<T>): Promise<T> {
  const [first, second] = one.roomId < other.roomId ? [one, other] : [other, one];
  return first.turns.take(() => second.turns.take(work));
}
