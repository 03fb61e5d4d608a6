/** One at a time per key, in order of arrival: the "one queue, one loop" of a room. Memory is bounded by the keys that are busy. */
export class KeyedQueue {
  readonly #tails = new Map<string, Promise<unknown>>();
  /** Runs work after everything queued before it under the same key; its outcome is the result. */
  run<T>(key: string, work: () => Promise<T>): Promise<T> {
    const before = this.#tails.get(key) ?? Promise.resolve();
    const mine = before.then(work, work);
    const tail = mine.catch(() => undefined).then(() => {
      if (this.#tails.get(key) === tail) this.#tails.delete(key);
    });
    this.#tails.set(key, tail);
    return mine;
  }
  get busyKeys(): number {
    return this.#tails.size;
  }
}
