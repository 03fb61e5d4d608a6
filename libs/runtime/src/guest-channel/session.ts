import type { Duplex, Readable } from 'node:stream';
import { limits, systemRandom, type Clock, type Log } from '@alcove/base';
import { Problem, type ExecEvent, type ExecRequest, type FileChange, type FileEntry, type FileListQuery, type FileReadQuery, type FileWriteQuery, type ProcessInfo, type ProcessStart, type TerminalSize } from '@alcove/contracts';
import type { FileLook, FileRights, GuestClaim, GuestSession, GuestStats, ProcessName } from '../guest-session';
import { ask, order, type Question } from './ask';
import { GuestChannel } from './channel';
import { connect, connectWithHello, openDoor } from './connect';
import { Deferred } from './deferred';
import { exec } from './exec';
import type { Fields, FieldList } from './fields';
import { listFiles, readFile, rightsFields, statFile, writeFile, type WriteRights } from './files';
import { given } from './given';
import type { Mux } from './mux';
import { ended } from './problems';
import { attachProcess, listProcesses, resizeProcess, signalProcess, startProcess, writeProcess } from './processes';
import { StreamDuplex } from './stream-duplex';
import { knowingWhy } from './too-old';
import { watchFiles } from './watch';
import { within } from './within';

export interface GuestSessionOptions {
  clock: Clock;
  log: Log;
  /** Gives up the synchronisation; of no meaning afterwards. */
  signal?: AbortSignal;
  /**
   * How long the guest may take to answer the first sync. Give a booting guest its whole boot: the sync waits in the pipe until the guest reads it, and the retry,
   * which is for a guest in the middle of something, would only make work. Milliseconds, `limits.channel.syncTimeoutMs` unless told.
   */
  firstAnswerMs?: number;
}

const nonceCharsMax = 128;

/**
 * Synchronises with the guest behind this channel. The channel belongs to the session from here on: it is destroyed when the session ends, and when this rejects.
 * Problems: `guest.protocol` (no answer, another version), `guest.closed`; aborted: `guest.closed`.
 */
export async function openGuestSession(channel: Duplex, { clock, log, signal, firstAnswerMs }: GuestSessionOptions): Promise<GuestSession> {
  const guest = new GuestChannel(channel, { clock, log });
  await guest.synchronise(signal, firstAnswerMs);
  return new ChannelSession(guest, clock);
}

/** The services of PROTOCOL.md, "Services", each a stream on the channel. */
class ChannelSession implements GuestSession {
  readonly closed: Promise<Error>;

  constructor(
    private readonly channel: GuestChannel,
    private readonly clock: Clock,
  ) {
    this.closed = channel.closed;
  }

  claim(claim: GuestClaim): Promise<{ bootNonce: string; bootId: string }> {
    const fields: [string, string | number | bigint | Buffer][] = [
      ['svc', 'claim'],
      ['room', claim.roomId],
      ['incarnation', claim.incarnation],
      ['mode', claim.mode],
      ['entropy', claim.entropy],
      ['wallClockNs', claim.wallClockNs],
      ['machineId', claim.machineId],
      ['hostname', claim.hostname],
    ];
    for (const [name, value] of Object.entries(claim.env)) fields.push(['env', `${name}=${value}`]);
    return this.#control(fields, limits.guest.claimMs, (answer) => ({ bootNonce: answer.text('bootNonce', nonceCharsMax), bootId: answer.text('bootId', nonceCharsMax) }));
  }

  ready(): Promise<{ agentRunning: boolean; cloneSafe: boolean; version: string }> {
    return this.#control([['svc', 'ready']], limits.guest.readyMs, (answer) => ({
      agentRunning: answer.flag('agentRunning'),
      cloneSafe: answer.flag('cloneSafe'),
      version: answer.text('version', nonceCharsMax),
    }));
  }

  async *exec(request: ExecRequest, signal: AbortSignal): AsyncGenerator<ExecEvent, void, void> {
    yield* exec(this.channel.mux, this.clock, request, signal);
  }

  async connect(port: number, waitMs: number, signal: AbortSignal, options: { hello?: boolean } = {}): Promise<Duplex> {
    signal.throwIfAborted();
    return (options.hello ? connectWithHello : connect)(this.channel.mux, port, waitMs, signal);
  }

  async openDoor(names: readonly string[], signal: AbortSignal): Promise<Duplex> {
    signal.throwIfAborted();
    return openDoor(this.channel.mux, names, signal);
  }

  async *startProcess(order: ProcessStart, signal: AbortSignal): AsyncGenerator<ExecEvent, void, void> {
    const { mux } = this.channel;
    try {
      yield* startProcess(mux, order, signal);
    } catch (error) {
      throw await knowingWhy(mux, this.clock, error);
    }
  }

  async *attachProcess(which: ProcessName, signal: AbortSignal): AsyncGenerator<ExecEvent, void, void> {
    yield* attachProcess(this.channel.mux, which, signal);
  }

  async listProcesses(signal: AbortSignal): Promise<ProcessInfo[]> {
    return listProcesses(this.channel.mux, signal);
  }

  async writeProcess(which: ProcessName, data: Buffer, options: { close: boolean }, signal: AbortSignal): Promise<void> {
    await writeProcess(this.channel.mux, which, data, options.close, signal);
  }

  async signalProcess(which: ProcessName, number: number, signal: AbortSignal): Promise<void> {
    await signalProcess(this.channel.mux, which, number, signal);
  }

  async resizeProcess(which: ProcessName, size: TerminalSize, signal: AbortSignal): Promise<void> {
    await resizeProcess(this.channel.mux, which, size, signal);
  }

  async readFile(query: FileReadQuery, signal: AbortSignal, rights?: FileRights): Promise<{ size: number; mode: string; modifiedAt: string; body: Readable }> {
    return this.#orTooOld(rights, (mux) => readFile(mux, query, signal, rights));
  }

  async writeFile(query: FileWriteQuery, body: Readable, signal: AbortSignal, rights?: WriteRights): Promise<{ size: number }> {
    return this.#orTooOld(rights, (mux) => writeFile(mux, query, body, signal, rights));
  }

  async listFiles(query: FileListQuery, signal: AbortSignal, look?: FileLook & { depth?: number }): Promise<{ entries: FileEntry[]; truncated: boolean }> {
    return this.#orTooOld(look, (mux) => listFiles(mux, query, signal, look));
  }

  async statFile(path: string, signal: AbortSignal, look?: FileLook): Promise<FileEntry> {
    return this.#orTooOld(look, (mux) => statFile(mux, path, signal, look));
  }

  async moveFile(from: string, to: string, signal: AbortSignal, rights: FileRights & { makeParents?: boolean } = {}): Promise<void> {
    const fields: FieldList = [['svc', 'fileMove'], ['from', from], ['to', to], ...given('makeParents', rights.makeParents), ...rightsFields(rights)];
    await this.#orTooOld(rights, (mux) => order(mux, { fields, asked: 'file', signal }));
  }

  async removeFile(path: string, recursive: boolean, signal: AbortSignal, rights: FileRights = {}): Promise<void> {
    const fields: FieldList = [['svc', 'fileRemove'], ['path', path], ...given('recursive', recursive), ...rightsFields(rights)];
    await this.#orTooOld(rights, (mux) => order(mux, { fields, asked: 'file', signal }));
  }

  async makeFolder(path: string, options: FileRights & { mode?: string }, signal: AbortSignal): Promise<void> {
    const fields: FieldList = [['svc', 'fileMakeDir'], ['path', path], ...given('mode', options.mode), ...rightsFields(options)];
    await this.#orTooOld(options, (mux) => order(mux, { fields, asked: 'file', signal }));
  }

  async *watchFiles(path: string, options: FileRights & { recursive: boolean }, signal: AbortSignal): AsyncGenerator<FileChange | null, void, void> {
    yield* watchFiles(this.channel.mux, path, options, signal);
  }

  async logs(options: { follow: boolean; tailBytes: number }, signal: AbortSignal): Promise<Readable> {
    signal.throwIfAborted();
    const fields: FieldList = [['svc', 'logs'], ...given('follow', options.follow), ['tailBytes', options.tailBytes]];
    return new StreamDuplex(this.channel.mux, { fields, asked: 'control', signal }, { writable: false });
  }

  stats(): Promise<GuestStats> {
    return this.#control([['svc', 'stats']], limits.guest.statsMs, (answer) => ({
      memTotal: answer.integer('memTotal'),
      memAvailable: answer.integer('memAvailable'),
      processes: answer.integer('processes'),
      load1: answer.decimal('load1'),
      diskTotal: answer.integer('diskTotal'),
      diskFree: answer.integer('diskFree'),
      uptimeMs: answer.integer('uptimeMs'),
      memCached: answer.optionalInteger('memCached'),
      cpuBusyMs: answer.optionalInteger('cpuBusyMs'),
      cpuTotalMs: answer.optionalInteger('cpuTotalMs'),
    }));
  }

  async quiesce(): Promise<void> {
    await this.#control([['svc', 'quiesce']], limits.guest.quiesceMs, (answer) => answer.integer('processes'));
    this.channel.silence('the guest was quiesced');
  }

  async resynchronise(): Promise<void> {
    await this.channel.synchronise();
  }

  async ping(timeoutMs: number): Promise<void> {
    const pong = new Deferred<void>();
    const { mux } = this.channel;
    const before = mux.heard;
    const forget = mux.ping(systemRandom.bytes(8), pong.resolve, pong.reject);
    const answered = new AbortController();
    void this.clock.sleep(timeoutMs, answered.signal).then(
      // A guest that has much to do answers late, and says other things meanwhile.
      () => (mux.heard > before ? pong.resolve() : pong.reject(new Problem('guest.io', { detail: `no answer to a ping in ${timeoutMs} ms` }))),
      () => undefined,
    );
    try {
      await pong.promise;
    } finally {
      answered.abort();
      forget();
    }
  }

  close(): void {
    this.channel.fail(ended('the host closed the channel'));
  }

  /** Asks with options that a guest may be too old for. */
  async #orTooOld<T>(options: object | undefined, ask: (mux: Mux) => Promise<T>): Promise<T> {
    const { mux } = this.channel;
    try {
      return await ask(mux);
    } catch (error) {
      throw options && Object.keys(options).length > 0 ? await knowingWhy(mux, this.clock, error) : error;
    }
  }

  /** A question that the host asks for itself, with a deadline of its own. */
  #control<T>(fields: Question['fields'], deadlineMs: number, decode: (answer: Fields) => T): Promise<T> {
    return within(this.clock, deadlineMs, (signal) => ask(this.channel.mux, { fields, asked: 'control', signal }, decode));
  }
}
