import { IdTable } from '../sealed/id-table';
import type { StreamStore } from '../sealed/open-stream';
import { partBuckets, type TextFeatures } from './words';

/** BM25 with the usual constants (Robertson and Zaragoza, "The Probabilistic Relevance Framework", 2009, equation 3.15). */
export const bm25 = { k1: 1.2, b: 0.75 };

/** ln(1 + (N − n + ½)/(n + ½)): never negative. */
export const inverseFrequency = (documents: number, withWord: number): number => Math.log(1 + (documents - withWord + 0.5) / (withWord + 0.5));

/** A word's part of a document's score. */
export function bm25Term(idf: number, frequency: number, length: number, averageLength: number): number {
  return (idf * frequency * (bm25.k1 + 1)) / (frequency + bm25.k1 * (1 - bm25.b + (bm25.b * length) / averageLength));
}

/** u16 length in words, u16 number of words, u16 number of parts; then u32 hashes, u8 counts, u16 buckets, i8 weights (in sixteenths). */
const headerBytes = 6;
const weightStep = 1 / 16;
const clamp = (value: number, low: number, high: number): number => Math.max(low, Math.min(high, value));

export function encodeWords({ length, words, parts }: TextFeatures): Buffer {
  const kept = [...parts].map(([bucket, weight]): [number, number] => [bucket, clamp(Math.round(weight / weightStep), -127, 127)]).filter(([, weight]) => weight !== 0);
  const out = Buffer.alloc(headerBytes + words.size * 5 + kept.length * 3);
  out.writeUInt16LE(clamp(length, 0, 65_535), 0);
  out.writeUInt16LE(words.size, 2);
  out.writeUInt16LE(kept.length, 4);
  let at = headerBytes;
  for (const hash of words.keys()) at = out.writeUInt32LE(hash, at);
  for (const count of words.values()) at = out.writeUInt8(Math.min(255, count), at);
  for (const [bucket] of kept) at = out.writeUInt16LE(bucket, at);
  for (const [, weight] of kept) at = out.writeInt8(weight, at);
  return out;
}

export interface LexicalHit {
  readonly id: string;
  readonly score: number;
}

/** A pool of numbers that grows. */
class Pool<A extends Uint32Array | Uint16Array | Uint8Array | Int8Array> {
  length = 0;

  constructor(
    public numbers: A,
    private readonly make: (length: number) => A,
  ) {}

  push(value: number): void {
    if (this.length === this.numbers.length) {
      const wider = this.make(this.length * 2);
      wider.set(this.numbers);
      this.numbers = wider;
    }
    this.numbers[this.length] = value;
    this.length += 1;
  }
}

/** The words and parts of every record of an open memory. What was replaced stays in the pools until it is opened anew. */
export class WordsStore implements StreamStore {
  readonly #ids = new IdTable();
  readonly #hashes = new Pool<Uint32Array>(new Uint32Array(256), (length) => new Uint32Array(length));
  readonly #counts = new Pool<Uint8Array>(new Uint8Array(256), (length) => new Uint8Array(length));
  readonly #buckets = new Pool<Uint16Array>(new Uint16Array(1024), (length) => new Uint16Array(length));
  readonly #weights = new Pool<Int8Array>(new Int8Array(1024), (length) => new Int8Array(length));
  /** Per slot: where its words begin, how many, where its parts begin, how many, its length. */
  readonly #slots: { words: number; wordCount: number; parts: number; partCount: number; length: number; norm: number; alive: boolean }[] = [];
  #documents = 0;
  #totalLength = 0;

  get bytes(): number {
    return this.#ids.bytes + this.#hashes.numbers.byteLength + this.#counts.numbers.byteLength + this.#buckets.numbers.byteLength + this.#weights.numbers.byteLength + this.#slots.length * 96;
  }

  put(source: Buffer, idAt: number, start: number): void {
    const slot = this.#ids.add(source, idAt);
    this.#forget(slot);
    const [length, words, parts] = [source.readUInt16LE(start), source.readUInt16LE(start + 2), source.readUInt16LE(start + 4)];
    const countsAt = start + headerBytes + words * 4;
    const bucketsAt = countsAt + words;
    const weightsAt = bucketsAt + parts * 2;
    const entry = { words: this.#hashes.length, wordCount: words, parts: this.#buckets.length, partCount: parts, length, norm: 0, alive: true };
    for (let i = 0; i < words; i++) {
      this.#hashes.push(source.readUInt32LE(start + headerBytes + i * 4));
      this.#counts.push(source[countsAt + i] ?? 0);
    }
    let squares = 0;
    for (let i = 0; i < parts; i++) {
      const weight = source.readInt8(weightsAt + i);
      this.#buckets.push(source.readUInt16LE(bucketsAt + i * 2));
      this.#weights.push(weight);
      squares += weight * weight;
    }
    entry.norm = Math.sqrt(squares) || 1;
    this.#slots[slot] = entry;
    this.#documents += 1;
    this.#totalLength += length;
  }

  drop(id: Buffer): void {
    const slot = this.#ids.find(id);
    if (slot >= 0) this.#forget(slot);
  }

  /** By BM25, the best first; only what shares a word with the query. */
  byWords(query: TextFeatures, k: number, accepts: (source: Buffer, at: number) => boolean): LexicalHit[] {
    const wanted = [...query.words.keys()];
    if (wanted.length === 0) return [];
    // Most words of a document are none of the query's: a small table of low bits says so at once.
    const mask = 4095;
    const maybe = new Uint8Array(mask + 1);
    for (const hash of wanted) maybe[hash & mask] = 1;
    const place = new Map(wanted.map((hash, index) => [hash, index]));
    const inDocuments = new Uint32Array(wanted.length);
    const found: { slot: number; counts: [number, number][] }[] = [];
    const [hashes, frequencies] = [this.#hashes.numbers, this.#counts.numbers];
    this.#slots.forEach(({ words, wordCount }, slot) => {
      let counts: [number, number][] | undefined;
      for (let at = words; at < words + wordCount; at++) {
        const hash = hashes[at] ?? 0;
        if (maybe[hash & mask] !== 1) continue;
        const index = place.get(hash);
        if (index === undefined) continue;
        inDocuments[index] = (inDocuments[index] ?? 0) + 1;
        (counts ??= []).push([index, frequencies[at] ?? 0]);
      }
      if (counts) found.push({ slot, counts });
    });
    const average = this.#totalLength / Math.max(1, this.#documents) || 1;
    const idf = [...inDocuments].map((n) => inverseFrequency(this.#documents, n));
    const scored = found.map(({ slot, counts }) => ({ slot, score: counts.reduce((sum, [index, count]) => sum + bm25Term(idf[index] ?? 0, count, this.#slots[slot]?.length ?? 0, average), 0) }));
    return this.#best(scored, k, accepts);
  }

  /** By the cosine of hashed features, the best first; only what is positive. */
  byParts(query: TextFeatures, k: number, accepts: (source: Buffer, at: number) => boolean): LexicalHit[] {
    if (query.parts.size === 0) return [];
    const dense = new Float32Array(partBuckets);
    let squares = 0;
    for (const [bucket, weight] of query.parts) {
      dense[bucket] = weight;
      squares += weight * weight;
    }
    const queryNorm = Math.sqrt(squares) || 1;
    const [buckets, weights] = [this.#buckets.numbers, this.#weights.numbers];
    const scored: { slot: number; score: number }[] = [];
    this.#slots.forEach(({ parts, partCount, norm }, slot) => {
      let sum = 0;
      for (let at = parts; at < parts + partCount; at++) sum += (dense[buckets[at] ?? 0] ?? 0) * (weights[at] ?? 0);
      const score = sum / (norm * queryNorm);
      if (score > leastCosine) scored.push({ slot, score });
    });
    return this.#best(scored, k, accepts);
  }

  wipe(): void {
    for (const pool of [this.#hashes, this.#counts, this.#buckets, this.#weights]) {
      pool.numbers.fill(0);
      pool.length = 0;
    }
    this.#slots.length = 0;
    this.#documents = 0;
    this.#totalLength = 0;
  }

  #forget(slot: number): void {
    const entry = this.#slots[slot];
    if (!entry?.alive) return;
    this.#hashes.numbers.fill(0, entry.words, entry.words + entry.wordCount);
    this.#weights.numbers.fill(0, entry.parts, entry.parts + entry.partCount);
    this.#documents -= 1;
    this.#totalLength -= entry.length;
    this.#slots[slot] = { words: 0, wordCount: 0, parts: 0, partCount: 0, length: 0, norm: 1, alive: false };
  }

  #best(scored: { slot: number; score: number }[], k: number, accepts: (source: Buffer, at: number) => boolean): LexicalHit[] {
    const hits: LexicalHit[] = [];
    for (const { slot, score } of scored.sort((a, b) => b.score - a.score || a.slot - b.slot)) {
      if (!accepts(...this.#ids.source(slot))) continue;
      hits.push({ id: this.#ids.idOf(slot), score });
      if (hits.length === k) break;
    }
    return hits;
  }
}

/** Below this, features agree by chance: a few grams of long texts. */
const leastCosine = 0.08;
