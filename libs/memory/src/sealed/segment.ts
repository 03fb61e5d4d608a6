import { Problem } from '@alcove/contracts';
import { idBytes } from './id-table';

/**
 * Entries that are sealed together, before they are: u32 count, then per entry the ten bytes of its id, u32 length, its bytes. Little-endian. One seal per some hundreds of
 * records instead of one each is what makes opening ten thousand of them a matter of milliseconds.
 */
const countBytes = 4;
const entryHeaderBytes = idBytes + 4;

export interface SegmentEntry {
  /** The ten bytes of the id. */
  readonly id: Buffer;
  readonly payload: Buffer;
}

export function encodeSegment(entries: readonly SegmentEntry[]): Buffer {
  const total = entries.reduce((sum, { payload }) => sum + entryHeaderBytes + payload.length, countBytes);
  const out = Buffer.alloc(total);
  out.writeUInt32LE(entries.length);
  let at = countBytes;
  for (const { id, payload } of entries) {
    id.copy(out, at, 0, idBytes);
    out.writeUInt32LE(payload.length, at + idBytes);
    payload.copy(out, at + entryHeaderBytes);
    at += entryHeaderBytes + payload.length;
  }
  return out;
}

/** Calls back for each entry with where its id and its bytes lie; nothing is copied. Problem `vault.corrupt`: not what encodeSegment made. */
export function eachEntry(segment: Buffer, each: (idAt: number, start: number, end: number) => void): void {
  let at = countBytes;
  const count = segment.length >= countBytes ? segment.readUInt32LE() : -1;
  for (let index = 0; index < count; index++) {
    const start = at + entryHeaderBytes;
    const end = start <= segment.length ? start + segment.readUInt32LE(at + idBytes) : Infinity;
    if (end > segment.length) throw new Problem('vault.corrupt', { detail: 'a segment ends early' });
    each(at, start, end);
    at = end;
  }
  if (count < 0 || at !== segment.length) throw new Problem('vault.corrupt', { detail: 'a segment has not the form of one' });
}
