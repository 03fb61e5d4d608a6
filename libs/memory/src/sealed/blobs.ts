import { assert } from '@alcove/base';
import { readBlobs, type SqlTx } from '@alcove/db';
import type { KeyOwner, KeyPurpose } from '@alcove/keys';
import { commitmentBytes, commitmentInSql, type Sealing } from './sealing';

/** A stream is a list of entries, one per record at most, of one use: `catalogue`, `words`, or `vectors/<space>`. */
export type StreamName = string;
export const purposeOf = (stream: StreamName): KeyPurpose => (stream.startsWith('vectors/') ? 'memory.vectors' : 'memory.content');

/** An entry that lies by itself: `sealed` null when the record was removed. `segment`: where an older one of it lies, −1 for nowhere. */
export interface LooseRow {
  id: string;
  segment: number;
  seq: number;
  keyVersion: number;
  sealed: Buffer | null;
}

export interface SegmentRow {
  number: number;
  seq: number;
  keyVersion: number;
  /** Where only the change matters: its commitment. */
  sealed: Buffer;
}

export const entryPlace = (stream: StreamName, id: string, seq: number) => ({ id, field: `entry/${stream}`, version: seq });
export const segmentPlace = (stream: StreamName, number: number, seq: number) => ({ id: String(number), field: `segment/${stream}`, version: seq });

const removed = Buffer.alloc(commitmentBytes);

/** What stands for an entry or a segment in its stream's digest. Nobody without the key can make one, or find others with the same sum. */
export function blobMac(sealing: Sealing, keyVersion: number, stream: StreamName, kind: 'entry' | 'segment', name: string | number, seq: number, commitment: Buffer | null): Buffer {
  return sealing.blind(keyVersion, ['blob', stream, kind, String(name), String(seq), commitment ?? removed]);
}

export function xorInto(sum: Buffer, mac: Buffer): void {
  for (let i = 0; i < sum.length; i++) sum[i] = (sum[i] ?? 0) ^ (mac[i] ?? 0);
}

function number(column: Buffer | null | undefined): number {
  assert(column && (column.length === 4 || column.length === 8), 'a number is four or eight bytes');
  return column.length === 4 ? column.readInt32BE() : Number(column.readBigInt64BE());
}

/** What a stream has come to hold after the write `since`; −1: all of it. Of segments only the commitments, unless all is read. */
export async function readStream(tx: SqlTx, owner: KeyOwner, stream: StreamName, since: number): Promise<{ loose: LooseRow[]; segments: SegmentRow[] }> {
  const { tenantId, userId } = owner;
  const rows =
    since < 0
      ? await readBlobs(tx)`
          select record_id, coalesce(segment, -1), seq, key_version, sealed from memory_entry
          where tenant_id = ${tenantId}::uuid and user_id = ${userId} and stream = ${stream} and (sealed is not null or segment is null)
          union all
          select '', number, seq, key_version, sealed from memory_segment where tenant_id = ${tenantId}::uuid and user_id = ${userId} and stream = ${stream}`
      : await readBlobs(tx)`
          select record_id, coalesce(segment, -1), seq, key_version, sealed from memory_entry
          where tenant_id = ${tenantId}::uuid and user_id = ${userId} and stream = ${stream} and (sealed is not null or segment is null) and seq > ${since}
          union all
          select '', number, seq, key_version, substr(sealed, ${commitmentInSql}, ${commitmentBytes}) from memory_segment
          where tenant_id = ${tenantId}::uuid and user_id = ${userId} and stream = ${stream} and seq > ${since}`;
  const isSegment = ([name]: (Buffer | null)[]): boolean => name?.length === 0;
  return { loose: rows.filter((row) => !isSegment(row)).map(toLoose), segments: rows.filter(isSegment).map(toSegment).sort((a, b) => a.number - b.number) };
}

/** All entries that lie by themselves. */
export async function readLoose(tx: SqlTx, { tenantId, userId }: KeyOwner, stream: StreamName): Promise<LooseRow[]> {
  const rows = await readBlobs(tx)`
    select record_id, coalesce(segment, -1), seq, key_version, sealed from memory_entry
    where tenant_id = ${tenantId}::uuid and user_id = ${userId} and stream = ${stream} and (sealed is not null or segment is null)`;
  return rows.map(toLoose);
}

export function toLoose([id, segment, seq, keyVersion, sealed]: (Buffer | null)[]): LooseRow {
  return { id: id?.toString('utf8') ?? '', segment: number(segment), seq: number(seq), keyVersion: number(keyVersion), sealed: sealed ?? null };
}

export function toSegment([, place, seq, keyVersion, sealed]: (Buffer | null)[]): SegmentRow {
  return { number: number(place), seq: number(seq), keyVersion: number(keyVersion), sealed: sealed ?? Buffer.alloc(0) };
}

/** These segments, whole. */
export async function readSegments(tx: SqlTx, { tenantId, userId }: KeyOwner, stream: StreamName, numbers: readonly number[]): Promise<SegmentRow[]> {
  if (numbers.length === 0) return [];
  const rows = await readBlobs(tx)`
    select '', number, seq, key_version, sealed from memory_segment
    where tenant_id = ${tenantId}::uuid and user_id = ${userId} and stream = ${stream} and number = any(${`{${numbers.join(',')}}`}::int[]) order by number`;
  return rows.map(toSegment);
}
