import { limits } from '@alcove/base';
import { Problem } from '@alcove/contracts';
import { wipe } from '@alcove/vault';
import { featuresOf } from '../lexical/words';
import { encodeWords } from '../lexical/words-store';
import type { MemoryUnit } from '../memory-unit';
import type { Policy } from '../policy';
import { encodeEntry } from '../sealed/catalogue-store';
import { catalogueStream, vectorStream, wordsStream } from '../sealed/open-users';
import { encodeVector } from '../sealed/vector-store';
import type { Change } from '../sealed/write-streams';
import { catalogueEntry, type MemoryRecord, sealRecord, searchedText } from './record';
import { deleteRecords, derivedFrom, dropOldVersions, insertRecord, replaceRecord } from './record-rows';

/** A vector for a record, in its space. */
export interface RecordVector {
  readonly space: string;
  readonly vector: Float32Array;
}

/** What a record becomes in every stream; a retired one stays in the catalogue only. `vector` undefined leaves vectors as they are. */
export function changesOf(record: MemoryRecord, vector: RecordVector | undefined, vectorStreams: readonly string[]): Change[] {
  const live = record.state === 'live';
  const changes: Change[] = [
    { stream: catalogueStream, id: record.id, payload: encodeEntry(catalogueEntry(record)) },
    { stream: wordsStream, id: record.id, payload: live ? encodeWords(featuresOf(searchedText(record))) : null },
  ];
  if (!live) return [...changes, ...vectorStreams.map((stream) => ({ stream, id: record.id, payload: null }))];
  if (vector) changes.push({ stream: vectorStream(vector.space), id: record.id, payload: encodeVector(record.version, vector.vector) });
  return changes;
}

const vectorStreamsOf = (unit: MemoryUnit): string[] => [...unit.head.streams.keys()].filter((name) => name.startsWith('vectors/'));

/** Writes records in a unit that is open for writing: rows, streams, counts. */
export class RecordWrites {
  constructor(
    private readonly unit: MemoryUnit,
    private readonly policy: Policy,
  ) {}

  /** Problem `memory.quota`. */
  async insert(records: readonly { record: MemoryRecord; vector?: RecordVector | undefined; request?: Buffer | undefined }[]): Promise<void> {
    const { unit } = this;
    const sealed = await unit.withSealing((sealing) => records.map(({ record }) => sealRecord(sealing, record)));
    unit.head.records += records.length;
    unit.head.bytes += sealed.reduce((sum, { content, about }) => sum + content.length + about.length, 0);
    this.#requireQuota();
    for (const [index, { record, request }] of records.entries()) {
      const one = sealed[index];
      if (one) await insertRecord(unit.tx, unit.owner, record, one, request ?? null);
    }
    await this.#streams(records);
  }

  /** The next version of a record. Problem `memory.quota`. */
  async replace(record: MemoryRecord, vector?: RecordVector): Promise<void> {
    const { unit } = this;
    const sealed = await unit.withSealing((sealing) => sealRecord(sealing, record));
    unit.head.bytes += sealed.content.length + sealed.about.length;
    if (record.state === 'live') this.#requireQuota();
    await replaceRecord(unit.tx, unit.owner, record, sealed);
    unit.head.bytes -= await dropOldVersions(unit.tx, unit.owner, record.id, record.version - limits.memory.versionsKept);
    await this.#streams([{ record, vector }]);
  }

  /** Removes these and all that was derived from them, or from events with these ids. Returns the records that there were. Problem `request.invalid`: too many hang on it. */
  async erase(ids: readonly string[]): Promise<string[]> {
    const { unit } = this;
    const all = new Set(ids);
    for (let found = [...ids]; found.length > 0; ) {
      found = (await derivedFrom(unit.tx, unit.owner, found)).filter((id) => !all.has(id));
      for (const id of found) all.add(id);
      if (all.size > limits.memory.cascade) throw new Problem('request.invalid', { detail: `More than ${limits.memory.cascade} records hang on this one.` });
    }
    const gone = await deleteRecords(unit.tx, unit.owner, [...all]);
    unit.head.records -= gone.ids.length;
    unit.head.bytes -= gone.bytes;
    const streams = [...unit.head.streams.keys()];
    await unit.write(gone.ids.flatMap((id) => streams.map((stream) => ({ stream, id, payload: null }))));
    return gone.ids;
  }

  /** Vectors for records that are there already. */
  async vectors(space: string, vectors: readonly { id: string; version: number; vector: Float32Array }[]): Promise<void> {
    await this.#write(vectors.map(({ id, version, vector }) => ({ stream: vectorStream(space), id, payload: encodeVector(version, vector) })));
  }

  async #streams(records: readonly { record: MemoryRecord; vector?: RecordVector | undefined }[]): Promise<void> {
    const streams = vectorStreamsOf(this.unit);
    await this.#write(records.flatMap(({ record, vector }) => changesOf(record, vector, streams)));
  }

  async #write(changes: readonly Change[]): Promise<void> {
    await this.unit.write(changes);
    for (const { payload } of changes) if (payload) wipe(payload);
  }

  #requireQuota(): void {
    const { head } = this.unit;
    const { recordsPerUser, bytesPerUser } = this.policy;
    if (head.records > recordsPerUser) throw new Problem('memory.quota', { detail: `At most ${recordsPerUser} records.` });
    if (head.bytes > bytesPerUser) throw new Problem('memory.quota', { detail: `At most ${bytesPerUser} bytes.` });
  }
}
