import { assert, limits } from '@alcove/base';
import { wipe } from '@alcove/vault';
import { blobMac, entryPlace, type LooseRow, purposeOf, type SegmentRow, segmentPlace, type StreamName, xorInto } from './blobs';
import { newState, type Head } from './head';
import { idToBytes } from './id-table';
import { commitmentOf, type Sealing } from './sealing';
import { eachEntry } from './segment';

/** What a stream's entries become in RAM. */
export interface StreamStore {
  /** Adds or replaces the entry of a record: its id's bytes at `idAt` of `source`, the entry from `start` to `end`. */
  /** That so many will be put, at most. */
  expect?(entries: number): void;
  put(source: Buffer, idAt: number, start: number, end: number): void;
  drop(id: Buffer): void;
  readonly bytes: number;
  wipe(): void;
}

/** The rows that were read do not belong to the head that was read: somebody wrote in between, or somebody put back what was there before. */
export class Mismatch extends Error {
  override readonly name = 'Mismatch';
}

/** One stream of one user, opened into RAM, and the MACs of what it was opened from. */
export class OpenStream<S extends StreamStore = StreamStore> {
  /** The write up to which it is known; −1: nothing is. */
  seq = -1;
  #store: S;
  #macs = new Map<string, Buffer>();

  constructor(
    readonly name: StreamName,
    private readonly make: () => S,
  ) {
    this.#store = make();
  }

  get store(): S {
    return this.#store;
  }

  get bytes(): number {
    return this.#store.bytes + this.#macs.size * 64;
  }

  /** From which write on rows must be read to know it as it is under this head. */
  since(head: Head): number {
    const floor = head.streams.get(this.name)?.floor ?? 0;
    return this.seq < floor ? -1 : this.seq;
  }

  /**
   * Takes in what was read since then. Nothing is opened, and nothing changes, unless the rows are exactly those that the head speaks of: else Mismatch. Problem `vault.corrupt`: a row
   * that is the right one does not open.
   */
  absorb(sealing: Sealing, head: Head, since: number, rows: { loose: readonly LooseRow[]; segments: readonly SegmentRow[] }): void {
    assert(since < 0 || since === this.seq, 'rows are taken in where the ones before ended');
    const macs = since < 0 ? new Map<string, Buffer>() : new Map(this.#macs);
    const mac = (kind: 'entry' | 'segment', name: string | number, seq: number, commitment: Buffer | null): void => {
      macs.set(`${kind}/${name}`, blobMac(sealing, head.keyVersion, this.name, kind, name, seq, commitment));
    };
    for (const { id, seq, sealed } of rows.loose) mac('entry', id, seq, sealed && commitmentOf(sealed));
    for (const { number, seq, sealed } of rows.segments) mac('segment', number, seq, since < 0 ? commitmentOf(sealed) : sealed);
    const sum = Buffer.alloc(32);
    for (const one of macs.values()) xorInto(sum, one);
    const state = head.streams.get(this.name) ?? newState();
    if (!sum.equals(state.digest)) throw new Mismatch(`the stream ${this.name}`);
    if (since < 0) this.#reopen(sealing, rows.segments);
    for (const row of rows.loose) this.#loose(sealing, row);
    this.#macs = macs;
    this.seq = head.seq;
  }

  wipe(): void {
    this.#store.wipe();
    this.#store = this.make();
    this.#macs.clear();
    this.seq = -1;
  }

  #reopen(sealing: Sealing, segments: readonly SegmentRow[]): void {
    this.wipe();
    this.#store.expect?.(segments.length * limits.memory.segmentEntries);
    for (const { number, seq, keyVersion, sealed } of segments) {
      const plain = sealing.open(purposeOf(this.name), segmentPlace(this.name, number, seq), keyVersion, sealed);
      eachEntry(plain, (idAt, start, end) => this.#store.put(plain, idAt, start, end));
      wipe(plain);
    }
  }

  #loose(sealing: Sealing, { id, seq, keyVersion, sealed }: LooseRow): void {
    const bytes = idToBytes(id);
    if (!sealed) return this.#store.drop(bytes);
    const plain = sealing.open(purposeOf(this.name), entryPlace(this.name, id, seq), keyVersion, sealed);
    const source = Buffer.concat([bytes, plain]);
    this.#store.put(source, 0, bytes.length, source.length);
    wipe(plain);
    wipe(source);
  }
}
