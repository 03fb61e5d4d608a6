import type { Duplex, Readable } from 'node:stream';
import { limits, systemRandom, type Clock, type Log } from '@alcove/base';
import { Problem, type ExecEvent, type ExecRequest, type FileChange, type FileEntry, type FileListQuery, type FileReadQuery, type FileWriteQuery, type ProcessInfo } from '@alcove/contracts';
import type { GuestClaim, GuestSession, GuestStats } from '../guest-session';
import { ask, order, type Question } from './ask';
import { GuestChannel } from './channel';
import { connect, connectWithHello } from './connect';
import { Deferred } from './deferred';
import { exec } from './exec';
import type { Fields, FieldList } from './fields';
import { given, listFiles, readFile, statFile, writeFile } from './files';
import { ended } from './problems';
import { StreamDuplex } from './stream-duplex';

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

  async readFile(query: FileReadQuery, signal: AbortSignal): Promise<{ size: number; mode: string; modifiedAt: string; body: Readable }> {
    return readFile(this.channel.mux, query, signal);
  }

  async writeFile(query: FileWriteQuery, body: Readable, signal: AbortSignal): Promise<{ size: number }> {
    return writeFile(this.channel.mux, query, body, signal);
  }

  async listFiles(query: FileListQuery, signal: AbortSignal): Promise<{ entries: FileEntry[]; truncated: boolean }> {
    return listFiles(this.channel.mux, query, signal);
  }

  async statFile(path: string, signal: AbortSignal): Promise<FileEntry> {
    return statFile(this.channel.mux, path, signal);
  }

  async moveFile(from: string, to: string, signal: AbortSignal): Promise<void> {
    await order(this.channel.mux, { fields: [['svc', 'fileMove'], ['from', from], ['to', to]], asked: 'file', signal });
  }

  async removeFile(path: string, recursive: boolean, signal: AbortSignal): Promise<void> {
    await order(this.channel.mux, { fields: [['svc', 'fileRemove'], ['path', path], ...given('recursive', recursive)], asked: 'file', signal });
  }

  async makeFolder(path: string, options: { mode?: string; user?: string }, signal: AbortSignal): Promise<void> {
    const fields: FieldList = [['svc', 'fileMakeDir'], ['path', path], ...given('mode', options.mode), ...given('user', options.user)];
    await order(this.channel.mux, { fields, asked: 'file', signal });
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
    }));
  }

  // What follows is not built yet.
  startProcess(): AsyncIterable<ExecEvent> {
    throw new Problem('guest.unsupported');
  }
  attachProcess(): AsyncIterable<ExecEvent> {
    throw new Problem('guest.unsupported');
  }
  listProcesses(): Promise<ProcessInfo[]> {
    throw new Problem('guest.unsupported');
  }
  writeProcess(): Promise<void> {
    throw new Problem('guest.unsupported');
  }
  signalProcess(): Promise<void> {
    throw new Problem('guest.unsupported');
  }
  resizeProcess(): Promise<void> {
    throw new Problem('guest.unsupported');
  }
  watchFiles(): AsyncIterable<FileChange | null> {
    throw new Problem('guest.unsupported');
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
    const forget = this.channel.mux.ping(systemRandom.bytes(8), pong.resolve, pong.reject);
    const answered = new AbortController();
    void this.clock.sleep(timeoutMs, answered.signal).then(
      () => pong.reject(new Problem('guest.io', { detail: `no answer to a ping in ${timeoutMs} ms` })),
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

  /** A question that the host asks for itself, with a deadline of its own. */
  async #control<T>(fields: Question['fields'], deadlineMs: number, decode: (answer: Fields) => T): Promise<T> {
    const late = new AbortController();
    const answered = new AbortController();
    void this.clock.sleep(deadlineMs, answered.signal).then(
      () => late.abort(new Problem('guest.io', { detail: `no answer in ${deadlineMs} ms` })),
      () => undefined,
    );
    try {
      return await ask(this.channel.mux, { fields, asked: 'control', signal: late.signal }, decode);
    } finally {
      answered.abort();
    }
  }
}
