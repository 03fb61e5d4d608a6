import type { KeyOwner, Reseal } from '@alcove/keys';
import { wipe } from '@alcove/vault';
import { openEvent, sealEvent, sessionTag } from './events/event-rows';
import type { MemoryUnit, MemoryUnits } from './memory-unit';
import { openRecord, sealRecord } from './records/record';
import { blobMac, entryPlace, purposeOf, readStream, segmentPlace, type StreamName, xorInto } from './sealed/blobs';
import { commitmentOf, type Sealed } from './sealed/sealing';

/** Rows of one kind that one part takes. */
const part = 200;

/** Seals a user's memory again under the current version of the key: first everything of the sealed index, in one step, because its digests are under one version; then rows, part by part. */
export class MemoryReseal implements Reseal {
  readonly name = 'memory';

  constructor(private readonly units: MemoryUnits) {}

  async reseal(owner: KeyOwner): Promise<{ resealed: number; over: boolean }> {
    let resealed = 0;
    await this.units.upkeep(owner, async (unit) => {
      resealed += (await resealStreams(unit)) + (await resealRecords(unit)) + (await resealVersions(unit)) + (await resealEvents(unit));
    });
    return { resealed, over: resealed === 0 };
  }
}

async function resealStreams(unit: MemoryUnit): Promise<number> {
  const { tx, head, owner } = unit;
  const { tenantId, userId } = owner;
  const current = await unit.withSealing((sealing) => sealing.current);
  const [old] = await tx.$queryRaw<{ rows: string }[]>`
    select (select count(*) from memory_entry where tenant_id = ${tenantId}::uuid and user_id = ${userId} and sealed is not null and key_version <> ${current}::int)
      + (select count(*) from memory_segment where tenant_id = ${tenantId}::uuid and user_id = ${userId} and key_version <> ${current}::int) as rows`;
  if (Number(old?.rows ?? 0) === 0 && head.keyVersion === current) return 0;
  head.seq += 1;
  head.keyVersion = current;
  let resealed = 0;
  for (const name of head.streams.keys()) resealed += await resealStream(unit, name);
  return resealed + 1;
}

/** Every entry and segment of a stream under the number that the head has now; whoever has it open reads it anew. */
async function resealStream(unit: MemoryUnit, name: StreamName): Promise<number> {
  const { tx, head, owner } = unit;
  const { tenantId, userId } = owner;
  const { loose, segments } = await readStream(tx, owner, name, -1);
  const state = head.streams.get(name);
  if (!state) return 0;
  const done = await unit.withSealing((sealing) => {
    const again = (plain: Buffer, place: Parameters<typeof sealing.seal>[1]): Sealed => {
      const sealed = sealing.seal(purposeOf(name), place, plain);
      wipe(plain);
      return sealed;
    };
    state.digest = Buffer.alloc(32);
    const entries = loose.map(({ id, seq, keyVersion, sealed }) => {
      const next = sealed && again(sealing.open(purposeOf(name), entryPlace(name, id, seq), keyVersion, sealed), entryPlace(name, id, head.seq));
      xorInto(state.digest, blobMac(sealing, head.keyVersion, name, 'entry', id, head.seq, next && commitmentOf(next.bytes)));
      return { id, bytes: next?.bytes ?? null };
    });
    const wholes = segments.map(({ number, seq, keyVersion, sealed }) => {
      const next = again(sealing.open(purposeOf(name), segmentPlace(name, number, seq), keyVersion, sealed), segmentPlace(name, number, head.seq));
      xorInto(state.digest, blobMac(sealing, head.keyVersion, name, 'segment', number, head.seq, commitmentOf(next.bytes)));
      return { number, bytes: next.bytes };
    });
    return { entries, wholes };
  });
  state.floor = head.seq;
  for (const { number, bytes } of done.wholes) {
    await tx.$executeRaw`
      update memory_segment set seq = ${head.seq}, key_version = ${head.keyVersion}, sealed = ${bytes}
      where tenant_id = ${tenantId}::uuid and user_id = ${userId} and stream = ${name} and number = ${number}`;
  }
  await tx.$executeRaw`
    update memory_entry e set seq = ${head.seq}, key_version = ${head.keyVersion}, sealed = given.sealed
    from unnest(${done.entries.map(({ id }) => id)}::text[], ${done.entries.map(({ bytes }) => bytes)}::bytea[]) as given (id, sealed)
    where e.tenant_id = ${tenantId}::uuid and e.user_id = ${userId} and e.stream = ${name} and e.record_id = given.id`;
  return done.entries.length + done.wholes.length;
}

interface Row {
  id: string;
  version: number;
  keyVersion: number;
  content: Uint8Array;
  about: Uint8Array;
}

/** A repeat of the request that made a record is not known as one afterwards: its mark was made by the key that is no good any more. */
async function resealRecords(unit: MemoryUnit): Promise<number> {
  const { tx, owner: { tenantId, userId } } = unit;
  const current = await unit.withSealing((sealing) => sealing.current);
  const rows = await tx.$queryRaw<Row[]>`
    select id, version, key_version as "keyVersion", content, about from memory_record
    where tenant_id = ${tenantId}::uuid and user_id = ${userId} and key_version <> ${current}::int limit ${part}::int`;
  const sealed = await unit.withSealing((sealing) => rows.map((row) => sealRecord(sealing, openRecord(sealing, row))));
  for (const [index, { id }] of rows.entries()) {
    const { content, about } = sealed[index] ?? { content: null, about: null };
    await tx.$executeRaw`
      update memory_record set key_version = ${current}, content = ${content}, about = ${about}, request = null where tenant_id = ${tenantId}::uuid and user_id = ${userId} and id = ${id}`;
  }
  return rows.length;
}

async function resealVersions(unit: MemoryUnit): Promise<number> {
  const { tx, owner: { tenantId, userId } } = unit;
  const current = await unit.withSealing((sealing) => sealing.current);
  const rows = await tx.$queryRaw<Row[]>`
    select record_id as id, version, key_version as "keyVersion", content, about from memory_version
    where tenant_id = ${tenantId}::uuid and user_id = ${userId} and key_version <> ${current}::int limit ${part}::int`;
  const sealed = await unit.withSealing((sealing) => rows.map((row) => sealRecord(sealing, openRecord(sealing, row))));
  for (const [index, { id, version }] of rows.entries()) {
    const { content, about } = sealed[index] ?? { content: null, about: null };
    await tx.$executeRaw`
      update memory_version set key_version = ${current}, content = ${content}, about = ${about}
      where tenant_id = ${tenantId}::uuid and user_id = ${userId} and record_id = ${id} and version = ${version}`;
  }
  return rows.length;
}

async function resealEvents(unit: MemoryUnit): Promise<number> {
  const { tx, owner: { tenantId, userId } } = unit;
  const current = await unit.withSealing((sealing) => sealing.current);
  const rows = await tx.$queryRaw<{ id: string; keyVersion: number; sealed: Uint8Array }[]>`
    select id, key_version as "keyVersion", sealed from memory_event
    where tenant_id = ${tenantId}::uuid and user_id = ${userId} and key_version <> ${current}::int limit ${part}::int`;
  const again = await unit.withSealing((sealing) =>
    rows.map((row) => {
      const said = openEvent(sealing, row);
      return { sealed: sealEvent(sealing, row.id, said), session: sessionTag(sealing, sealing.current, said.session) };
    }),
  );
  for (const [index, { id }] of rows.entries()) {
    const next = again[index];
    if (!next) continue;
    await tx.$executeRaw`
      update memory_event set key_version = ${current}, sealed = ${next.sealed.bytes}, session = ${next.session}, request = null
      where tenant_id = ${tenantId}::uuid and user_id = ${userId} and id = ${id}`;
  }
  return rows.length;
}
