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

  /** The cache owns the key from now on. */
  put(name: string, key: Secret<Buffer>): void {
    this.#drop(name);
    this.#keys.set(name, key);
    if (this.#keys.size <= this.capacity) return;
    const oldest = this.#keys.keys().next();
    if (!oldest.done) this.#drop(oldest.value);
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
