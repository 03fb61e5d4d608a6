import { type Clock, Secret } from '@alcove/base';
import { wipe } from '@alcove/vault';

interface Kept {
  readonly key: Secret<Buffer>;
  /** On the monotonic clock, milliseconds. */
  readonly until: number;
}

/** A key of one's own: to be wiped when done. */
export interface CopiedKey {
  readonly key: Secret<Buffer>;
  readonly until: number;
}

/**
 * The keys that were unwrapped lately: so many at most, least recently used leave first, and none for longer than its time, used or not. Each is overwritten when it
 * leaves. What goes in and comes out are copies, so that no holder is surprised by that.
 */
export class KeyCache {
  readonly #keys = new Map<string, Kept>();

  constructor(
    private readonly capacity: number,
    private readonly clock: Pick<Clock, 'monotonic'>,
  ) {}

  /** A copy. */
  get(name: string): CopiedKey | undefined {
    const kept = this.#keys.get(name);
    if (!kept) return undefined;
    if (kept.until <= this.clock.monotonic()) {
      this.#drop(name);
      return undefined;
    }
    this.#keys.delete(name);
    this.#keys.set(name, kept);
    return { key: copyOf(kept.key), until: kept.until };
  }

  /** Keeps a copy until then, unless one is kept already: nobody can make its time longer. */
  put(name: string, key: Secret<Buffer>, until: number): void {
    if (this.#keys.has(name) || until <= this.clock.monotonic()) return;
    this.#keys.set(name, { key: copyOf(key), until });
    const oldest = this.#keys.keys().next();
    if (this.#keys.size > this.capacity && !oldest.done) this.#drop(oldest.value);
  }

  /** Drops those whose name begins so. */
  forget(prefix: string): void {
    for (const name of [...this.#keys.keys()]) if (name.startsWith(prefix)) this.#drop(name);
  }

  /** Drops those whose time is over; also what nobody asks for must not stay in memory. */
  sweep(): void {
    const now = this.clock.monotonic();
    for (const [name, { until }] of [...this.#keys]) if (until <= now) this.#drop(name);
  }

  get size(): number {
    return this.#keys.size;
  }

  #drop(name: string): void {
    const kept = this.#keys.get(name);
    if (!kept) return;
    this.#keys.delete(name);
    wipe(kept.key.expose());
  }
}

function copyOf(key: Secret<Buffer>): Secret<Buffer> {
  return new Secret(Buffer.from(key.expose()));
}
