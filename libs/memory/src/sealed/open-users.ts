import type { KeyOwner } from '@alcove/keys';
import { WordsStore } from '../lexical/words-store';
import type { StreamName } from './blobs';
import { CatalogueStore } from './catalogue-store';
import type { Head } from './head';
import { OpenStream, type StreamStore } from './open-stream';
import { VectorStore } from './vector-store';

export const catalogueStream = 'catalogue';
export const wordsStream = 'words';
export const vectorStream = (space: string): StreamName => `vectors/${space}`;

function storeFor(stream: StreamName): StreamStore {
  if (stream === catalogueStream) return new CatalogueStore();
  return stream === wordsStream ? new WordsStore() : new VectorStore();
}

/** What of one user's memory is open in this process. */
export class OpenUser {
  /** The newest head that was seen. */
  head: Head | undefined;
  readonly #streams = new Map<StreamName, OpenStream>();

  stream(name: StreamName): OpenStream {
    const known = this.#streams.get(name);
    if (known) return known;
    const made = new OpenStream(name, () => storeFor(name));
    this.#streams.set(name, made);
    return made;
  }

  get bytes(): number {
    return [...this.#streams.values()].reduce((sum, stream) => sum + stream.bytes, 0);
  }

  wipe(): void {
    for (const stream of this.#streams.values()) stream.wipe();
    this.#streams.clear();
    this.head = undefined;
  }
}

/** Of how many users the last number is kept. */
const seenUsers = 100_000;

/**
 * The memories that are open in this process, used last come last. Above the bound the ones longest unused are overwritten and let go of. Nobody may hold on to a part of one across an
 * await.
 */
export class OpenUsers {
  readonly #users = new Map<string, OpenUser>();

  /** The highest write that was seen of each user; outlives what is open, so that an older state is known for one. */
  readonly #seen = new Map<string, number>();

  constructor(private readonly maxBytes: number) {}

  /** 0 where none was, or too long ago. */
  seen({ tenantId, userId }: KeyOwner): number {
    return this.#seen.get(`${tenantId}/${userId}`) ?? 0;
  }

  /** A head that was committed. */
  see(owner: KeyOwner, seq: number): void {
    const name = `${owner.tenantId}/${owner.userId}`;
    const before = this.seen(owner);
    this.#seen.delete(name);
    this.#seen.set(name, Math.max(before, seq));
    const oldest = this.#seen.keys().next();
    if (this.#seen.size > seenUsers && !oldest.done) this.#seen.delete(oldest.value);
  }

  get({ tenantId, userId }: KeyOwner): OpenUser {
    const name = `${tenantId}/${userId}`;
    const user = this.#users.get(name) ?? new OpenUser();
    this.#users.delete(name);
    this.#users.set(name, user);
    return user;
  }

  /** After a use: makes room. The one used last stays, whatever it takes. */
  trim(): void {
    let total = this.bytes;
    for (const [name, user] of this.#users) {
      if (total <= this.maxBytes || this.#users.size === 1) return;
      total -= user.bytes;
      user.wipe();
      this.#users.delete(name);
    }
  }

  close({ tenantId, userId }: KeyOwner): void {
    const name = `${tenantId}/${userId}`;
    this.#users.get(name)?.wipe();
    this.#users.delete(name);
  }

  closeAll(): void {
    for (const user of this.#users.values()) user.wipe();
    this.#users.clear();
  }

  get size(): number {
    return this.#users.size;
  }

  get bytes(): number {
    return [...this.#users.values()].reduce((sum, user) => sum + user.bytes, 0);
  }
}
