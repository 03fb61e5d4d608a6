import { Problem } from '@alcove/contracts';
import { nearestFirst, type VectorHit } from '../vector-index';
import { IdTable, idToBytes } from './id-table';
import type { StreamStore } from './open-stream';
import { exactDot, VectorMemory } from './vector-memory';

/** u32 the record's version, then the numbers as f32, little-endian. */
const versionBytes = 4;

/** The numbers of an entry. */
export function decodeVector(entry: Buffer): Float32Array {
  return Float32Array.from({ length: (entry.length - versionBytes) / 4 }, (_, index) => entry.readFloatLE(versionBytes + index * 4));
}

export function encodeVector(version: number, vector: Float32Array): Buffer {
  const out = Buffer.alloc(versionBytes + vector.length * 4);
  out.writeUInt32LE(version);
  vector.forEach((value, index) => out.writeFloatLE(value, versionBytes + index * 4));
  return out;
}

/** The vectors of one space of one user, opened. */
export class VectorStore implements StreamStore {
  readonly #ids = new IdTable();
  #memory: VectorMemory | undefined;
  /** Version of the record that a vector is of; 0: there is none. */
  #versions = new Uint32Array(64);
  #count = 0;
  #expected = 0;

  /** How many vectors there are. */
  get size(): number {
    return this.#count;
  }

  get dimensions(): number | undefined {
    return this.#memory?.dimensions;
  }

  get bytes(): number {
    return this.#ids.bytes + this.#versions.byteLength + (this.#memory?.bytes ?? 0);
  }

  expect(entries: number): void {
    this.#expected = entries;
  }

  put(source: Buffer, idAt: number, start: number, end: number): void {
    const dimensions = (end - start - versionBytes) / 4;
    if (!this.#memory) {
      this.#memory = new VectorMemory(dimensions);
      this.#memory.reserve(this.#expected);
    }
    if (this.#memory.dimensions !== dimensions) throw new Problem('vault.corrupt', { detail: 'a vector has not the dimensions of its space' });
    const slot = this.#ids.add(source, idAt);
    if (slot >= this.#versions.length) {
      const wider = new Uint32Array(this.#versions.length * 2);
      wider.set(this.#versions);
      this.#versions = wider;
    }
    this.#count += this.#versions[slot] === 0 ? 1 : 0;
    this.#versions[slot] = source.readUInt32LE(start);
    this.#memory.write(slot, source, start + versionBytes);
  }

  drop(id: Buffer): void {
    const slot = this.#ids.find(id);
    if (slot < 0 || this.#versions[slot] === 0) return;
    this.#versions[slot] = 0;
    this.#count -= 1;
    this.#memory?.clear(slot);
  }

  /** The version of the record that its vector is of; 0: it has none. */
  versionOf(source: Buffer, at: number): number {
    const slot = this.#ids.find(source, at);
    return slot < 0 ? 0 : (this.#versions[slot] ?? 0);
  }

  version(id: string): number {
    return this.versionOf(idToBytes(id), 0);
  }

  /** A copy, with the version of the record that it is of; null: there is none. */
  vector(id: string): { version: number; vector: Float32Array } | null {
    const slot = this.#ids.find(idToBytes(id));
    const version = slot < 0 ? 0 : (this.#versions[slot] ?? 0);
    return version === 0 || !this.#memory ? null : { version, vector: this.#memory.vector(slot).slice() };
  }

  /**
   * The k nearest that are accepted. Exactly those: the scan's f32 scores only choose whom to look at, with a margin wider than their error, and the order is by scores of doubles. `accepts`
   * is asked with the bytes of an id, and only for what is near enough.
   */
  nearest(query: Float32Array, k: number, accepts: (source: Buffer, at: number) => boolean): VectorHit[] {
    const memory = this.#memory;
    if (!memory || this.#count === 0) return [];
    const margin = memory.tolerance * 2;
    const best = new Best(k);
    const near: { slot: number; score: number }[] = [];
    const versions = this.#versions;
    memory.scan(query, this.#ids.size, (scores, first) => {
      for (let index = 0; index < scores.length; index++) {
        const score = scores[index] ?? 0;
        if (score < best.floor - margin || versions[first + index] === 0) continue;
        if (!accepts(...this.#ids.source(first + index))) continue;
        near.push({ slot: first + index, score });
        best.add(score);
      }
    });
    return near
      .filter(({ score }) => score >= best.floor - margin)
      .map(({ slot }) => ({ id: this.#ids.idOf(slot), score: exactDot(query, memory.vector(slot)) }))
      .sort(nearestFirst)
      .slice(0, k);
  }

  wipe(): void {
    this.#memory?.wipe();
    this.#versions.fill(0);
    this.#count = 0;
  }
}

/** The k best scores so far, and the worst of them: k is small, so insertion into a sorted list. */
class Best {
  readonly #scores: number[] = [];
  floor = -Infinity;

  constructor(private readonly k: number) {}

  add(score: number): void {
    if (score <= this.floor) return;
    let at = this.#scores.length;
    while (at > 0 && (this.#scores[at - 1] ?? 0) < score) at -= 1;
    this.#scores.splice(at, 0, score);
    if (this.#scores.length > this.k) this.#scores.pop();
    if (this.#scores.length === this.k) this.floor = this.#scores[this.k - 1] ?? -Infinity;
  }
}
