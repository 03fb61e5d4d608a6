import { createHash } from 'node:crypto';
import { type MemoryKind, memoryKinds, type TrustLabel, trustLabels } from '@alcove/contracts';
import { IdTable } from './id-table';
import type { StreamStore } from './open-stream';

/** What is known of every record of an open memory: enough to filter by, and to tell whether a row is the newest. */
export interface CatalogueEntry {
  readonly version: number;
  readonly kind: MemoryKind;
  readonly state: 'live' | 'retired';
  readonly trust: TrustLabel;
  readonly tags: readonly string[];
  /** Of a block. */
  readonly label: string | null;
  /** Milliseconds since 1970; null: no such bound. */
  readonly createdAt: number;
  readonly validFrom: number | null;
  readonly validTo: number | null;
  readonly expiresAt: number | null;
}

/** u32 version, u8 kind, u8 trust, u8 retired, u8 label's length, 4 × f64 times, u16 number of tags, u32 per tag, the label. Times that are not there: NaN. */
const fixedBytes = 8 + 32 + 2;
const none = Number.NaN;

/** 32 bits of a tag: a filter lets through a wrong one in four thousand million, and the record itself is asked afterwards. */
export function tagHash(tag: string): number {
  return createHash('sha256').update(tag, 'utf8').digest().readUInt32LE();
}

export function encodeEntry(entry: CatalogueEntry): Buffer {
  const label = Buffer.from(entry.label ?? '', 'utf8');
  const out = Buffer.alloc(fixedBytes + entry.tags.length * 4 + label.length);
  out.writeUInt32LE(entry.version, 0);
  out.writeUInt8(memoryKinds.indexOf(entry.kind), 4);
  out.writeUInt8(trustLabels.indexOf(entry.trust), 5);
  out.writeUInt8(entry.state === 'retired' ? 1 : 0, 6);
  out.writeUInt8(label.length, 7);
  [entry.createdAt, entry.validFrom, entry.validTo, entry.expiresAt].forEach((time, index) => out.writeDoubleLE(time ?? none, 8 + index * 8));
  out.writeUInt16LE(entry.tags.length, 40);
  entry.tags.forEach((tag, index) => out.writeUInt32LE(tagHash(tag), fixedBytes + index * 4));
  label.copy(out, fixedBytes + entry.tags.length * 4);
  return out;
}

export interface CatalogueFilter {
  readonly kinds?: readonly MemoryKind[] | undefined;
  readonly tags?: readonly string[] | undefined;
  readonly minTrust?: TrustLabel | undefined;
  readonly after?: number | undefined;
  readonly before?: number | undefined;
  /** Valid then. */
  readonly asOf: number;
  /** Not expired now. */
  readonly now: number;
}

/** What the catalogue says of one record. */
export interface CatalogueFacts {
  readonly version: number;
  readonly state: 'live' | 'retired';
  readonly kind: MemoryKind;
  readonly label: string | null;
}

const aliveFlag = 1;
const retiredFlag = 2;
const timesPerSlot = 4;

/** The catalogue in RAM: flat arrays, a slot per record. */
export class CatalogueStore implements StreamStore {
  readonly ids = new IdTable();
  #versions = new Uint32Array(64);
  #kinds = new Uint8Array(64);
  #trusts = new Uint8Array(64);
  #flags = new Uint8Array(64);
  #times = new Float64Array(64 * timesPerSlot);
  readonly #tags: (Uint32Array | undefined)[] = [];
  readonly #labels = new Map<number, string>();
  #alive = 0;

  /** Records that are there, retired ones included. */
  get size(): number {
    return this.#alive;
  }

  get bytes(): number {
    return this.ids.bytes + this.#versions.length * (4 + 3 + 32) + this.#tags.length * 16;
  }

  put(source: Buffer, idAt: number, start: number, end: number): void {
    const slot = this.ids.add(source, idAt);
    this.#makeRoom(slot + 1);
    if (!this.#has(slot)) this.#alive += 1;
    this.#versions[slot] = source.readUInt32LE(start);
    this.#kinds[slot] = source[start + 4] ?? 0;
    this.#trusts[slot] = source[start + 5] ?? 0;
    this.#flags[slot] = aliveFlag | (source[start + 6] === 1 ? retiredFlag : 0);
    for (let index = 0; index < timesPerSlot; index++) this.#times[slot * timesPerSlot + index] = source.readDoubleLE(start + 8 + index * 8);
    const count = source.readUInt16LE(start + 40);
    this.#tags[slot] = count === 0 ? undefined : Uint32Array.from({ length: count }, (_, index) => source.readUInt32LE(start + fixedBytes + index * 4));
    const labelBytes = source[start + 7] ?? 0;
    // The label of a block that was retired is free again.
    if (labelBytes > 0 && source[start + 6] !== 1) this.#labels.set(slot, source.toString('utf8', end - labelBytes, end));
    else this.#labels.delete(slot);
  }

  drop(id: Buffer): void {
    const slot = this.ids.find(id);
    if (slot < 0 || !this.#has(slot)) return;
    this.#flags[slot] = 0;
    this.#alive -= 1;
    this.#tags[slot] = undefined;
    this.#labels.delete(slot);
  }

  /** Undefined: there is no such record. */
  facts(id: Buffer): CatalogueFacts | undefined {
    const slot = this.ids.find(id);
    if (slot < 0 || !this.#has(slot)) return undefined;
    const kind = memoryKinds[this.#kinds[slot] ?? 0] ?? 'fact';
    return { version: this.#versions[slot] ?? 0, state: ((this.#flags[slot] ?? 0) & retiredFlag) === 0 ? 'live' : 'retired', kind, label: this.#labels.get(slot) ?? null };
  }

  trustOf(id: Buffer): TrustLabel | undefined {
    const slot = this.ids.find(id);
    return slot < 0 || !this.#has(slot) ? undefined : trustLabels[this.#trusts[slot] ?? 0];
  }

  /** The ids of the blocks that are not retired, by label. */
  blocks(): Map<string, string> {
    return new Map([...this.#labels].map(([slot, label]) => [label, this.ids.idOf(slot)]));
  }

  /** Every record that is not retired. */
  *live(): Generator<{ id: () => string; source: Buffer; at: number; version: number }> {
    for (let slot = 0; slot < this.ids.size; slot++) {
      if (this.#flags[slot] !== aliveFlag) continue;
      const [source, at] = this.ids.source(slot);
      yield { id: () => this.ids.idOf(slot), source, at, version: this.#versions[slot] ?? 0 };
    }
  }

  /** How many there are of each kind, retired ones left out. */
  countByKind(): Record<string, number> {
    const counts: Record<string, number> = Object.fromEntries(memoryKinds.map((kind) => [kind, 0]));
    for (let slot = 0; slot < this.ids.size; slot++) {
      const kind = memoryKinds[this.#kinds[slot] ?? 0] ?? 'fact';
      if (this.#flags[slot] === aliveFlag) counts[kind] = (counts[kind] ?? 0) + 1;
    }
    return counts;
  }

  /** Whether a record may be found, asked by the bytes of its id. */
  filter(filter: CatalogueFilter): (source: Buffer, at: number) => boolean {
    const kinds = filter.kinds && new Set(filter.kinds.map((kind) => memoryKinds.indexOf(kind)));
    const tags = filter.tags?.map(tagHash) ?? [];
    const minTrust = filter.minTrust ? trustLabels.indexOf(filter.minTrust) : 0;
    const [after, before] = [filter.after ?? -Infinity, filter.before ?? Infinity];
    return (source, at) => {
      const slot = this.ids.find(source, at);
      if (slot < 0 || this.#flags[slot] !== aliveFlag) return false;
      if (kinds && !kinds.has(this.#kinds[slot] ?? 0)) return false;
      if ((this.#trusts[slot] ?? 0) < minTrust) return false;
      const [createdAt = 0, validFrom = none, validTo = none, expiresAt = none] = this.#times.subarray(slot * timesPerSlot, (slot + 1) * timesPerSlot);
      // A comparison with NaN is false: a bound that is not there refuses nothing.
      if (createdAt < after || createdAt >= before || validFrom > filter.asOf || validTo <= filter.asOf || expiresAt <= filter.now) return false;
      return tags.every((tag) => this.#tags[slot]?.includes(tag) ?? false);
    };
  }

  wipe(): void {
    for (const array of [this.#versions, this.#kinds, this.#trusts, this.#flags, this.#times]) array.fill(0);
    for (const tags of this.#tags) tags?.fill(0);
    this.#labels.clear();
    this.#alive = 0;
  }

  #has(slot: number): boolean {
    return ((this.#flags[slot] ?? 0) & aliveFlag) !== 0;
  }

  #makeRoom(slots: number): void {
    if (slots <= this.#versions.length) return;
    const size = Math.max(slots, this.#versions.length * 2);
    const versions = new Uint32Array(size);
    versions.set(this.#versions);
    this.#versions = versions;
    const wider = (before: Uint8Array): Uint8Array<ArrayBuffer> => {
      const after = new Uint8Array(size);
      after.set(before);
      return after;
    };
    this.#kinds = wider(this.#kinds);
    this.#trusts = wider(this.#trusts);
    this.#flags = wider(this.#flags);
    const times = new Float64Array(size * timesPerSlot);
    times.set(this.#times);
    this.#times = times;
  }
}
