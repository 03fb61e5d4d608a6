import { assert } from '@alcove/base';

/** A record's id is `mem_` and ten bytes in hexadecimal; in RAM and in segments only the bytes are kept. */
export const idBytes = 10;
const prefix = 'mem_';
export const idToBytes = (id: string): Buffer => Buffer.from(id.slice(prefix.length), 'hex');
export const bytesToId = (bytes: Buffer): string => prefix + bytes.toString('hex');

const empty = 0;

/**
 * From ids to slots 0, 1, 2 …, as open addressing over flat arrays: a Map of a hundred thousand strings takes longer to fill than all else that opening an index does.
 * Ids are random or made by HMAC, so their first bytes are hash enough; whoever could choose them would only slow down one user.
 */
export class IdTable {
  #ids = Buffer.alloc(0);
  /** Slot + 1, or empty. */
  #buckets = new Int32Array(16);
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get bytes(): number {
    return this.#ids.length + this.#buckets.byteLength;
  }

  /** The slot of this id (its bytes at `offset`), or −1. */
  find(source: Buffer, offset = 0): number {
    const mask = this.#buckets.length - 1;
    for (let at = source.readUInt32LE(offset) & mask; ; at = (at + 1) & mask) {
      const slot = (this.#buckets[at] ?? empty) - 1;
      if (slot < 0) return -1;
      if (this.#ids.compare(source, offset, offset + idBytes, slot * idBytes, (slot + 1) * idBytes) === 0) return slot;
    }
  }

  /** The slot of this id, a new one at the end when it is not known. */
  add(source: Buffer, offset = 0): number {
    const known = this.find(source, offset);
    if (known >= 0) return known;
    const slot = this.#size;
    this.#makeRoom();
    source.copy(this.#ids, slot * idBytes, offset, offset + idBytes);
    this.#size += 1;
    this.#link(slot);
    return slot;
  }

  idOf(slot: number): string {
    assert(slot >= 0 && slot < this.#size, 'a slot that exists');
    return bytesToId(this.#ids.subarray(slot * idBytes, (slot + 1) * idBytes));
  }

  /** Where the bytes of an id lie, for find() of another table. */
  source(slot: number): [Buffer, number] {
    return [this.#ids, slot * idBytes];
  }

  #link(slot: number): void {
    const mask = this.#buckets.length - 1;
    let at = this.#ids.readUInt32LE(slot * idBytes) & mask;
    while (this.#buckets[at] !== empty) at = (at + 1) & mask;
    this.#buckets[at] = slot + 1;
  }

  #makeRoom(): void {
    if ((this.#size + 1) * idBytes > this.#ids.length) {
      const wider = Buffer.alloc(Math.max(64, this.#size * 2) * idBytes);
      this.#ids.copy(wider);
      this.#ids = wider;
    }
    if ((this.#size + 1) * 2 <= this.#buckets.length) return;
    this.#buckets = new Int32Array(this.#buckets.length * 4);
    for (let slot = 0; slot < this.#size; slot++) this.#link(slot);
  }
}
