import type { Secret } from '@alcove/base';
import { wipe } from '@alcove/vault';

/**
 * The keys that were unwrapped lately, least recently used first. Each is overwritten when it leaves, so nobody may hold on to one across an await: take it,
 * derive from it, let go.
 */
export class KeyCache {
  readonly #keys = new Map<string, Secret<Buffer>>();

  constructor(private readonly capacity: number) {}

  get(name: string): Secret<Buffer> | undefined {
    const key = this.#keys.get(name);
    if (!key) return undefined;
    this.#keys.delete(name);
    this.#keys.set(name, key);
    return key;
  }

  /** The cache owns the key from now on. Of two under one name the first stays, because somebody may be about to use it; the second is overwritten. */
  put(name: string, key: Secret<Buffer>): Secret<Buffer> {
    const known = this.get(name);
    if (known) {
      wipe(key.expose());
      return known;
    }
    this.#keys.set(name, key);
    const oldest = this.#keys.keys().next();
    if (this.#keys.size > this.capacity && !oldest.done) this.#drop(oldest.value);
    return key;
  }

  /** Drops those whose name begins so. */
  forget(prefix: string): void {
    for (const name of [...this.#keys.keys()]) if (name.startsWith(prefix)) this.#drop(name);
  }

  get size(): number {
    return this.#keys.size;
  }

  #drop(name: string): void {
    const key = this.#keys.get(name);
    if (!key) return;
    this.#keys.delete(name);
    wipe(key.expose());
  }
}
