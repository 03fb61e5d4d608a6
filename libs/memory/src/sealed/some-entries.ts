import { readBlobs } from '@alcove/db';
import { wipe } from '@alcove/vault';
import type { MemoryUnit } from '../memory-unit';
import { blobMac, entryPlace, purposeOf, segmentPlace, type StreamName, toLoose, toSegment, xorInto } from './blobs';
import { newState } from './head';
import { bytesToId, idBytes } from './id-table';
import { Mismatch } from './open-stream';
import { commitmentBytes, commitmentInSql, commitmentOf } from './sealing';
import { eachEntry } from './segment';

/**
 * Hands these entries of a stream to a function, one by one, without opening more than the segments that they lie in and without keeping anything: of all else only the commitments are read, so
 * that the stream is known to be what the head speaks of. Mismatch when it is not. What the function is given is overwritten afterwards.
 */
export async function eachOfSome(unit: MemoryUnit, stream: StreamName, ids: readonly string[], each: (id: string, entry: Buffer) => void): Promise<void> {
  const { tenantId, userId } = unit.owner;
  const array = `{${ids.join(',')}}`;
  const rows = await readBlobs(unit.tx)`
    select record_id, coalesce(segment, -1), seq, key_version, case when record_id = any(${array}::text[]) then sealed else substr(sealed, ${commitmentInSql}, ${commitmentBytes}) end from memory_entry
    where tenant_id = ${tenantId}::uuid and user_id = ${userId} and stream = ${stream} and (sealed is not null or segment is null)
    union all
    select '', s.number, s.seq, s.key_version, case when wanted.segment is null then substr(s.sealed, ${commitmentInSql}, ${commitmentBytes}) else s.sealed end from memory_segment s
    left join (select distinct segment from memory_entry where tenant_id = ${tenantId}::uuid and user_id = ${userId} and stream = ${stream} and record_id = any(${array}::text[]) and sealed is null and segment is not null)
      wanted on wanted.segment = s.number
    where s.tenant_id = ${tenantId}::uuid and s.user_id = ${userId} and s.stream = ${stream}`;
  const isSegment = ([name]: (Buffer | null)[]): boolean => name?.length === 0;
  const loose = rows.filter((row) => !isSegment(row)).map(toLoose);
  const segments = rows.filter(isSegment).map(toSegment);
  const wanted = new Set(ids);
  const whole = (sealed: Buffer): boolean => sealed.length > commitmentBytes;
  const commitment = (sealed: Buffer): Buffer => (whole(sealed) ? commitmentOf(sealed) : sealed);
  await unit.withSealing((sealing) => {
    const sum = Buffer.alloc(commitmentBytes);
    for (const { id, seq, sealed } of loose) xorInto(sum, blobMac(sealing, unit.head.keyVersion, stream, 'entry', id, seq, sealed && commitment(sealed)));
    for (const { number, seq, sealed } of segments) xorInto(sum, blobMac(sealing, unit.head.keyVersion, stream, 'segment', number, seq, commitment(sealed)));
    if (!sum.equals((unit.head.streams.get(stream) ?? newState()).digest)) throw new Mismatch(`the stream ${stream}`);
    for (const { id, seq, keyVersion, sealed } of loose) {
      // A loose entry is newer than the one in a segment, and a removed one has none there.
      if (!wanted.delete(id) || !sealed) continue;
      const plain = sealing.open(purposeOf(stream), entryPlace(stream, id, seq), keyVersion, sealed);
      each(id, plain);
      wipe(plain);
    }
    for (const { number, seq, keyVersion, sealed } of segments) {
      if (!whole(sealed)) continue;
      const plain = sealing.open(purposeOf(stream), segmentPlace(stream, number, seq), keyVersion, sealed);
      eachEntry(plain, (idAt, start, end) => {
        const id = bytesToId(plain.subarray(idAt, idAt + idBytes));
        if (wanted.has(id)) each(id, plain.subarray(start, end));
      });
      wipe(plain);
    }
  });
}
