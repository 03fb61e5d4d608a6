import { type FileHandle, mkdir, open, readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { errorCode, limits, type Log } from '@alcove/base';
import { type ImageRef, type IncarnationPhase, Problem, type ResumedFrom, type RunningReport, type SealedReport } from '@alcove/contracts';

/** `copying`: being made out of another room. There is no VM of it, and the control plane is told of it when it is over. */
export type RecordPhase = IncarnationPhase | 'copying';

/** What this host knows of a room: its newest incarnation only, because an older one is refused by its number alone. Never holds a key or a room's environment. */
export interface RoomRecord {
  roomId: string;
  /** The highest incarnation ever asked of this host for this room. */
  incarnation: number;
  phase: RecordPhase;
  /** Grows with every change on this host, over restarts too. */
  sequence: number;
  operationId: string;
  templateId: string;
  /** The level being tried or reached. */
  level: ResumedFrom;
  /** The guest has run and may have been talked to: this incarnation is never started again. */
  ran: boolean;
  /** Its end was ordered: it is never started again even if it never ran, because a newer one may run elsewhere. Absent (false) in journals of earlier versions. */
  final?: boolean;
  /** The highest generation of an image that this host knows of. */
  generation: number;
  reason: string;
  running: RunningReport | null;
  sealed: SealedReport | null;
  /** While sealing: the generation that was ordered. */
  sealing: number | null;
  /** The control plane has acknowledged a beat that said how it ended. */
  acknowledged: boolean;
}

export function imageOf(record: RoomRecord): ImageRef | undefined {
  return record.sealed?.image;
}

export const livePhases: ReadonlySet<RecordPhase> = new Set(['starting', 'running', 'sealing', 'ending']);

/** Where intents go before they are acted on. The runner of a room is the only writer of that room's record; writes of one room come one at a time. */
export interface Journal {
  records(): ReadonlyMap<string, RoomRecord>;
  /** What is about to be done. Resolves when it is on the disk; rejects with `host.disk_full` or `unavailable`, and then the record is as it was and nothing may be done. */
  intend(record: RoomRecord): Promise<void>;
  /** What was done: true at once, whatever the disk says; a line that could not be written is written with the next. `durable`: resolves when it survives a crash of the machine, not only of this process. */
  note(record: RoomRecord, durable?: boolean): Promise<void>;
  close(): Promise<void>;
}

/** A journal that lasts as long as the object: for the simulator, where a restart hands it to the next agent. */
export class MemoryJournal implements Journal {
  readonly #records = new Map<string, RoomRecord>();
  records(): ReadonlyMap<string, RoomRecord> {
    return this.#records;
  }
  async intend(record: RoomRecord): Promise<void> {
    this.#records.set(record.roomId, structuredClone(record));
  }
  async note(record: RoomRecord): Promise<void> {
    this.#records.set(record.roomId, structuredClone(record));
  }
  async close(): Promise<void> {}
}

interface Pending {
  record: RoomRecord;
  line: Buffer;
  /** False for a note, which cannot fail. */
  intent: boolean;
  durable: boolean;
  resolve: () => void;
  reject: (error: unknown) => void;
}

const fileName = 'journal.ndjson';

/**
 * One line per change: `<CRC-32 of the JSON, 8 hex digits> <JSON of the record>`. The last line of a room wins. A torn or damaged line is skipped and counted.
 * Concurrent writes share one fdatasync. When the file outgrows its bound it is rewritten with the live records and renamed into place.
 */
export class FileJournal implements Journal {
  readonly #records: Map<string, RoomRecord>;
  #pending: Pending[] = [];
  /** Rooms whose last note is not in the file. */
  readonly #unwritten = new Set<string>();
  #flushing: Promise<void> | undefined;
  #size: number;
  #compactAt: number;
  /** The file may not end with a line feed: the next write puts one first. */
  #torn = true;

  private constructor(
    private readonly folder: string,
    private file: FileHandle,
    private readonly log: Log,
    records: Map<string, RoomRecord>,
    size: number,
  ) {
    this.#records = records;
    this.#size = size;
    this.#compactAt = Math.max(limits.hostAgent.journalBytes, size);
  }

  /** Opens or makes the journal in this folder. What is damaged is left out; `skipped` lines are logged. */
  static async open(folder: string, log: Log): Promise<FileJournal> {
    await mkdir(folder, { recursive: true });
    const text = await readFile(join(folder, fileName)).catch((error: unknown) => {
      if (errorCode(error) === 'ENOENT') return Buffer.alloc(0);
      throw error;
    });
    const { records, skipped } = replay(text);
    if (skipped > 0) log.warn({ skipped }, 'the journal had damaged lines; they were left out');
    const journal = new FileJournal(folder, await open(join(folder, fileName), 'a+', 0o600), log, records, text.length);
    await journal.#compact().catch((error: unknown) => log.error({ err: error }, 'the journal could not be compacted'));
    return journal;
  }

  records(): ReadonlyMap<string, RoomRecord> {
    return this.#records;
  }
  intend(record: RoomRecord): Promise<void> {
    return this.#put(record, true, true);
  }
  note(record: RoomRecord, durable = false): Promise<void> {
    this.#records.set(record.roomId, structuredClone(record));
    return this.#put(record, false, durable);
  }
  async close(): Promise<void> {
    await this.#flushing;
    await this.file.close();
  }

  #put(record: RoomRecord, intent: boolean, durable: boolean): Promise<void> {
    const line = encode(record);
    if (line.length > limits.hostAgent.journalRecordBytes) {
      this.log.error({ roomId: record.roomId, bytes: line.length }, 'a journal record is too large');
      return intent ? Promise.reject(new Problem('internal')) : Promise.resolve();
    }
    return new Promise((resolve, reject) => {
      this.#pending.push({ record: structuredClone(record), line, intent, durable, resolve, reject });
      this.#flushing ??= this.#flush();
    });
  }
  async #flush(): Promise<void> {
    // One turn later: what is written in the same turn shares one write and one fdatasync.
    await Promise.resolve();
    while (this.#pending.length > 0) {
      const batch = this.#pending;
      this.#pending = [];
      await this.#append(batch).then(
        () => this.#written(batch),
        (error: unknown) => this.#failed(batch, error),
      );
      if (this.#size > this.#compactAt) await this.#compact().catch((error: unknown) => this.log.error({ err: error }, 'the journal could not be compacted'));
    }
    // In the same turn as the last look at what is pending: what comes later starts a flush of its own.
    this.#flushing = undefined;
  }
  #written(batch: Pending[]): void {
    for (const { record, intent, resolve } of batch) {
      if (intent) this.#records.set(record.roomId, record);
      resolve();
    }
  }
  #failed(batch: Pending[], error: unknown): void {
    this.log.error({ err: error }, 'the journal could not be written');
    const code = errorCode(error);
    const problem = new Problem(code === 'ENOSPC' || code === 'EDQUOT' ? 'host.disk_full' : 'unavailable', { cause: error });
    for (const { record, intent, resolve, reject } of batch) {
      if (intent) {
        reject(problem);
        continue;
      }
      this.#unwritten.add(record.roomId);
      resolve();
    }
  }
  /** Writes at the end of what is known to be whole: a write that failed half-way is cut off, so that no later line is glued to its remains. */
  async #append(batch: Pending[]): Promise<void> {
    const owed = [...this.#unwritten].flatMap((roomId) => this.#records.get(roomId) ?? []).map(encode);
    const bytes = Buffer.concat([Buffer.from(this.#torn ? '\n' : ''), ...owed, ...batch.map(({ line }) => line)]);
    try {
      await this.file.appendFile(bytes);
      if (batch.some(({ durable }) => durable)) await this.file.datasync();
      this.#size += bytes.length;
      this.#torn = false;
      this.#unwritten.clear();
    } catch (error) {
      this.#torn = true;
      await this.file.truncate(this.#size).catch(() => undefined);
      throw error;
    }
  }
  async #compact(): Promise<void> {
    this.#forgetOldest();
    const lines = Buffer.concat([...this.#records.values()].map(encode));
    const target = join(this.folder, fileName);
    const next = await open(`${target}.new`, 'w', 0o600);
    await next.writeFile(lines).then(() => next.datasync()).finally(() => next.close());
    await rename(`${target}.new`, target);
    const folder = await open(this.folder, 'r');
    await folder.sync().finally(() => folder.close());
    await this.file.close();
    this.file = await open(target, 'a+', 0o600);
    this.#size = lines.length;
    this.#torn = false;
    this.#compactAt = Math.max(limits.hostAgent.journalBytes, 4 * lines.length);
  }
  /** Keeps the bound on rooms: of those that are over and told, the ones that changed longest ago go first. */
  #forgetOldest(): void {
    const excess = this.#records.size - limits.hostAgent.journalRooms;
    if (excess <= 0) return;
    const over = [...this.#records.values()].filter((record) => !livePhases.has(record.phase) && record.acknowledged);
    over.sort((a, b) => a.sequence - b.sequence);
    for (const record of over.slice(0, excess)) this.#records.delete(record.roomId);
  }
}

/** A record as its line. */
export function encode(record: RoomRecord): Buffer {
  const json = JSON.stringify(record);
  return Buffer.from(`${crc32(json).toString(16).padStart(8, '0')} ${json}\n`);
}

/** Reads a journal's bytes: the last whole line of each room, and how many lines were not whole. */
export function replay(bytes: Buffer): { records: Map<string, RoomRecord>; skipped: number } {
  const records = new Map<string, RoomRecord>();
  let skipped = 0;
  for (const line of bytes.toString('utf8').split('\n')) {
    if (line === '') continue;
    const json = line.slice(9);
    if (line[8] !== ' ' || crc32(json).toString(16).padStart(8, '0') !== line.slice(0, 8)) {
      skipped += 1;
      continue;
    }
    const record = JSON.parse(json) as RoomRecord;
    records.set(record.roomId, record);
  }
  return { records, skipped };
}
