/** Maps in order with up to `ahead` items under way: the source is read on while earlier items are still being worked on. */
export async function* mapAhead<A, B>(source: AsyncIterable<A> | Iterable<A>, ahead: number, work: (item: A) => Promise<B>): AsyncGenerator<B> {
  const pending: Promise<B>[] = [];
  try {
    for await (const item of source) {
      const result = work(item);
      // A failure is seen where the result is awaited, in order; until then it is not an unhandled one.
      result.catch(() => undefined);
      pending.push(result);
      if (pending.length >= ahead) yield await (pending.shift() as Promise<B>);
    }
    while (pending.length > 0) yield await (pending.shift() as Promise<B>);
  } finally {
    await Promise.allSettled(pending);
  }
}

/**
 * Reads a source ahead of who consumes it, up to `bytes` of what `sizeOf` counts. `drained` settles when the source has ended (or failed), which may be long before the
 * consumer is done.
 */
export class ReadAhead<T> implements AsyncIterable<T> {
  readonly #source: AsyncIterable<T>;
  readonly #bytes: number;
  readonly #sizeOf: (item: T) => number;
  readonly #items: T[] = [];
  #held = 0;
  #state: 'reading' | 'ended' | 'cancelled' = 'reading';
  #failure: unknown;
  #wakeReader: () => void = () => undefined;
  #wakeConsumer: () => void = () => undefined;
  readonly drained: Promise<void>;

  constructor(source: AsyncIterable<T>, bytes: number, sizeOf: (item: T) => number) {
    this.#source = source;
    this.#bytes = bytes;
    this.#sizeOf = sizeOf;
    this.drained = this.#read();
  }

  async #read(): Promise<void> {
    try {
      for await (const item of this.#source) {
        this.#items.push(item);
        this.#held += this.#sizeOf(item);
        this.#wakeConsumer();
        while (this.#held >= this.#bytes && this.#state === 'reading') {
          await new Promise<void>((resolve) => {
            this.#wakeReader = resolve;
          });
        }
        if (this.#state !== 'reading') return;
      }
    } catch (error) {
      this.#failure = error;
    } finally {
      if (this.#state === 'reading') this.#state = 'ended';
      this.#wakeConsumer();
    }
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T> {
    try {
      for (;;) {
        const item = this.#items.shift();
        if (item !== undefined) {
          this.#held -= this.#sizeOf(item);
          this.#wakeReader();
          yield item;
        } else if (this.#state === 'reading') {
          await new Promise<void>((resolve) => {
            this.#wakeConsumer = resolve;
          });
        } else {
          break;
        }
      }
      if (this.#failure !== undefined) throw this.#failure;
    } finally {
      void this.cancel();
    }
  }

  /** Stops reading; resolves when the source is closed. What was read is forgotten. */
  cancel(): Promise<void> {
    if (this.#state === 'reading') this.#state = 'cancelled';
    this.#items.length = 0;
    this.#wakeReader();
    return this.drained;
  }
}
