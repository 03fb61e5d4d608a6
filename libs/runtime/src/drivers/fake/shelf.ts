import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/**
 * A keyed set of JSON values, in memory and, given a folder, one file each: what a fake machine still has after its host agent was killed. Writes are
 * synchronous and by rename, so a kill leaves the old value or the new one.
 */
export class Shelf<T> {
  readonly #values = new Map<string, T>();
  constructor(private readonly folder?: string) {
    if (!folder) return;
    mkdirSync(folder, { recursive: true });
    for (const name of readdirSync(folder)) {
      if (name.endsWith('.json')) this.#values.set(name.slice(0, -'.json'.length), JSON.parse(readFileSync(join(folder, name), 'utf8')) as T);
    }
  }
  get(key: string): T | undefined {
    return this.#values.get(key);
  }
  /** Every value, in the order of their keys: the same world lists the same way. */
  all(): T[] {
    return [...this.#values.entries()].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, value]) => value);
  }
  set(key: string, value: T): void {
    this.#values.set(key, value);
    if (!this.folder) return;
    const file = join(this.folder, `${key}.json`);
    writeFileSync(`${file}.new`, JSON.stringify(value));
    renameSync(`${file}.new`, file);
  }
  delete(key: string): boolean {
    if (this.folder) rmSync(join(this.folder, `${key}.json`), { force: true });
    return this.#values.delete(key);
  }
}
