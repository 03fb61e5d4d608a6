import { limits } from '@alcove/base';
import type { SqlTx } from '@alcove/db';
import type { KeyOwner } from '@alcove/keys';
import { wipe } from '@alcove/vault';
import { blobMac, entryPlace, type LooseRow, purposeOf, readLoose, readSegments, type SegmentRow, segmentPlace, type StreamName, xorInto } from './blobs';
import { type Head, stateOf } from './head';
import { idToBytes } from './id-table';
import { commitmentBytes, commitmentInSql, commitmentOf, type Sealed, type Sealing } from './sealing';
import { eachEntry, encodeSegment, type SegmentEntry } from './segment';

/** An entry to be written: `payload` null removes it, from its segment too, so that no ciphertext of it is left. Payloads are the caller's to wipe. */
export interface Change {
  readonly stream: StreamName;
  readonly id: string;
  readonly payload: Buffer | null;
}

/** Runs a function with the user's keys, in the transaction at hand. */
export type WithSealing = <T>(use: (sealing: Sealing) => T) => Promise<T>;

interface Known {
  stream: string;
  id: string;
  seq: string;
  segment: number | null;
  loose: boolean;
  commitment: Uint8Array | null;
}

/**
 * Writes entries under the number that the head now has. The head's row is locked by the caller, who saves the head afterwards: its digests are brought up to date here. A stream with
 * many loose entries is put into segments in the same step.
 */
export async function writeStreams(tx: SqlTx, owner: KeyOwner, withSealing: WithSealing, head: Head, changes: readonly Change[]): Promise<void> {
  if (changes.length === 0) return;
  const known = await readKnown(tx, owner, [...new Set(changes.map(({ id }) => id))]);
  const rewritten = await segmentsOfRemoved(tx, owner, changes, known);
  const sealed = await withSealing((sealing) => {
    for (const change of changes) forget(sealing, head, change, known.get(`${change.stream}/${change.id}`));
    const entries = changes.map((change) => sealEntry(sealing, head, change));
    const gone = Map.groupBy(changes.filter(({ payload }) => payload === null), ({ stream }) => stream);
    const segments = rewritten.map(({ stream, row }) => ({ stream, number: row.number, sealed: without(sealing, head, stream, row, new Set((gone.get(stream) ?? []).map(({ id }) => idToBytes(id).toString('latin1')))) }));
    return { entries, segments };
  });
  await saveEntries(tx, owner, head, changes, sealed.entries);
  for (const { stream, number, sealed: bytes } of sealed.segments) await saveSegment(tx, owner, head, stream, number, bytes);
  for (const [name, state] of head.streams) if (state.loose >= limits.memory.pendingEntries) await compact(tx, owner, withSealing, head, name);
}

async function readKnown(tx: SqlTx, { tenantId, userId }: KeyOwner, ids: readonly string[]): Promise<Map<string, Known>> {
  const rows = await tx.$queryRaw<Known[]>`
    select stream, record_id as id, seq, segment, (sealed is not null or segment is null) as loose, substr(sealed, ${commitmentInSql}::int, ${commitmentBytes}::int) as commitment
    from memory_entry where tenant_id = ${tenantId}::uuid and user_id = ${userId} and record_id = any(${ids}::text[])`;
  return new Map(rows.map((row) => [`${row.stream}/${row.id}`, row]));
}

async function segmentsOfRemoved(tx: SqlTx, owner: KeyOwner, changes: readonly Change[], known: Map<string, Known>): Promise<{ stream: StreamName; row: SegmentRow }[]> {
  const numbers = new Map<StreamName, Set<number>>();
  for (const { stream, id, payload } of changes) {
    const segment = known.get(`${stream}/${id}`)?.segment ?? null;
    if (payload === null && segment !== null) numbers.set(stream, (numbers.get(stream) ?? new Set()).add(segment));
  }
  const found: { stream: StreamName; row: SegmentRow }[] = [];
  for (const [stream, wanted] of numbers) for (const row of await readSegments(tx, owner, stream, [...wanted])) found.push({ stream, row });
  return found;
}

/** Takes what lay there before out of the digest. */
function forget(sealing: Sealing, head: Head, { stream }: Change, known: Known | undefined): void {
  if (!known?.loose) return;
  const state = stateOf(head, stream);
  xorInto(state.digest, blobMac(sealing, head.keyVersion, stream, 'entry', known.id, Number(known.seq), known.commitment && Buffer.from(known.commitment)));
  state.loose -= 1;
}

function sealEntry(sealing: Sealing, head: Head, { stream, id, payload }: Change): Sealed | null {
  const state = stateOf(head, stream);
  const sealed = payload && sealing.seal(purposeOf(stream), entryPlace(stream, id, head.seq), payload);
  xorInto(state.digest, blobMac(sealing, head.keyVersion, stream, 'entry', id, head.seq, sealed && commitmentOf(sealed.bytes)));
  state.loose += 1;
  return sealed;
}

/** The segment without these, sealed anew. */
function without(sealing: Sealing, head: Head, stream: StreamName, row: SegmentRow, gone: ReadonlySet<string>): Sealed {
  const plain = openSegment(sealing, stream, row);
  const entries = entriesOf(plain).filter(({ id }) => !gone.has(id.toString('latin1')));
  const sealed = sealSegment(sealing, head, stream, row.number, row, entries);
  if (row.number === stateOf(head, stream).segments - 1) stateOf(head, stream).tail = entries.length;
  wipe(plain);
  return sealed;
}

function openSegment(sealing: Sealing, stream: StreamName, row: SegmentRow): Buffer {
  return sealing.open(purposeOf(stream), segmentPlace(stream, row.number, row.seq), row.keyVersion, row.sealed);
}

function entriesOf(segment: Buffer): SegmentEntry[] {
  const entries: SegmentEntry[] = [];
  eachEntry(segment, (idAt, start, end) => entries.push({ id: segment.subarray(idAt, idAt + 10), payload: segment.subarray(start, end) }));
  return entries;
}

function sealSegment(sealing: Sealing, head: Head, stream: StreamName, number: number, before: SegmentRow | undefined, entries: readonly SegmentEntry[]): Sealed {
  const state = stateOf(head, stream);
  const plain = encodeSegment(entries);
  const sealed = sealing.seal(purposeOf(stream), segmentPlace(stream, number, head.seq), plain);
  wipe(plain);
  if (before) xorInto(state.digest, blobMac(sealing, head.keyVersion, stream, 'segment', number, before.seq, commitmentOf(before.sealed)));
  xorInto(state.digest, blobMac(sealing, head.keyVersion, stream, 'segment', number, head.seq, commitmentOf(sealed.bytes)));
  return sealed;
}

async function saveEntries(tx: SqlTx, { tenantId, userId }: KeyOwner, head: Head, changes: readonly Change[], sealed: readonly (Sealed | null)[]): Promise<void> {
  const [streams, ids] = [changes.map(({ stream }) => stream), changes.map(({ id }) => id)];
  const keyVersions = sealed.map((one) => one?.keyVersion ?? head.keyVersion);
  await tx.$executeRaw`
    insert into memory_entry as e (tenant_id, user_id, stream, record_id, seq, segment, key_version, sealed)
    select ${tenantId}::uuid, ${userId}, given.stream, given.id, ${head.seq}, null, given.key_version, given.sealed
    from unnest(${streams}::text[], ${ids}::text[], ${keyVersions}::int[], ${sealed.map((one) => one?.bytes ?? null)}::bytea[]) as given (stream, id, key_version, sealed)
    on conflict (tenant_id, user_id, stream, record_id) do update set seq = excluded.seq, key_version = excluded.key_version, sealed = excluded.sealed,
      segment = case when excluded.sealed is null then null else e.segment end`;
}

async function saveSegment(tx: SqlTx, { tenantId, userId }: KeyOwner, head: Head, stream: StreamName, number: number, sealed: Sealed): Promise<void> {
  await tx.$executeRaw`
    insert into memory_segment (tenant_id, user_id, stream, number, seq, key_version, sealed)
    values (${tenantId}::uuid, ${userId}, ${stream}, ${number}, ${head.seq}, ${sealed.keyVersion}, ${sealed.bytes})
    on conflict (tenant_id, user_id, stream, number) do update set seq = excluded.seq, key_version = excluded.key_version, sealed = excluded.sealed`;
}

/**
 * Puts the loose entries of a stream into its segments: where an older one of the same record lies, else into the last segment, else into new ones. Marks of removed records go: whoever
 * has not seen them reads the stream anew.
 */
export async function compact(tx: SqlTx, owner: KeyOwner, withSealing: WithSealing, head: Head, stream: StreamName): Promise<void> {
  const { tenantId, userId } = owner;
  const state = stateOf(head, stream);
  const loose = await readLoose(tx, owner, stream);
  const last = state.segments - 1;
  const touched = new Set(loose.filter(({ sealed, segment }) => sealed && segment >= 0).map(({ segment }) => segment));
  if (last >= 0 && state.tail < limits.memory.segmentEntries) touched.add(last);
  const rows = await readSegments(tx, owner, stream, [...touched]);
  const done = await withSealing((sealing) => place(sealing, head, stream, loose, rows));
  for (const { number, sealed } of done.sealed) await saveSegment(tx, owner, head, stream, number, sealed);
  await tx.$executeRaw`delete from memory_entry where tenant_id = ${tenantId}::uuid and user_id = ${userId} and stream = ${stream} and sealed is null and segment is null`;
  await tx.$executeRaw`
    update memory_entry e set sealed = null, segment = placed.segment from unnest(${done.placed.map(({ id }) => id)}::text[], ${done.placed.map(({ segment }) => segment)}::int[]) as placed (id, segment)
    where e.tenant_id = ${tenantId}::uuid and e.user_id = ${userId} and e.stream = ${stream} and e.record_id = placed.id`;
  state.loose = 0;
  state.floor = head.seq;
}

interface Placed {
  placed: { id: string; segment: number }[];
  sealed: { number: number; sealed: Sealed }[];
}

/** Opens the segments that are touched, puts each loose entry into one, and seals them anew. */
function place(sealing: Sealing, head: Head, stream: StreamName, loose: readonly LooseRow[], rows: readonly SegmentRow[]): Placed {
  const state = stateOf(head, stream);
  const before = new Map(rows.map((row) => [row.number, row]));
  const segments = new Map(rows.map((row) => [row.number, new Map(entriesOf(openSegment(sealing, stream, row)).map((entry) => [entry.id.toString('latin1'), entry]))]));
  const placed: Placed['placed'] = [];
  for (const { id, seq, segment, keyVersion, sealed } of loose) {
    xorInto(state.digest, blobMac(sealing, head.keyVersion, stream, 'entry', id, seq, sealed && commitmentOf(sealed)));
    if (!sealed) continue;
    const number = segment >= 0 ? segment : roomIn(segments, state);
    const entry = { id: idToBytes(id), payload: sealing.open(purposeOf(stream), entryPlace(stream, id, seq), keyVersion, sealed) };
    segments.get(number)?.set(entry.id.toString('latin1'), entry);
    if (number === state.segments - 1) state.tail = segments.get(number)?.size ?? 0;
    placed.push({ id, segment: number });
  }
  const sealed = [...segments].map(([number, entries]) => ({ number, sealed: sealSegment(sealing, head, stream, number, before.get(number), [...entries.values()]) }));
  for (const entries of segments.values()) for (const { payload } of entries.values()) wipe(payload);
  return { placed, sealed };
}

/** The last segment, or a new one when it is full. */
function roomIn(segments: Map<number, Map<string, SegmentEntry>>, state: { segments: number; tail: number }): number {
  const last = state.segments - 1;
  if (last >= 0 && state.tail < limits.memory.segmentEntries && segments.has(last)) return last;
  segments.set(state.segments, new Map());
  state.segments += 1;
  state.tail = 0;
  return state.segments - 1;
}
