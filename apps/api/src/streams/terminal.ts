import { limits, type Clock } from '@alcove/base';
import { isProblem, TerminalSize, type ExecEvent, type ProblemCode } from '@alcove/contracts';
import type { WebSocket } from 'ws';
import { z } from 'zod';

/** What a terminal's messages do in the room. */
export interface TerminalProcess {
  readonly pid: number;
  /** What it writes, then its end. */
  readonly output: AsyncIterable<ExecEvent>;
  write(data: Buffer): Promise<void>;
  resize(size: TerminalSize): Promise<void>;
}

/** Close codes of RFC 6455, section 7.4.1. */
const closes = { done: 1000, nonsense: 1008, failed: 1011, restarting: 1012 } as const;
const Words = z.strictObject({ resize: TerminalSize });

/** One thing that its caller did, in the order in which it was done. */
type Deed = { readonly data: Buffer } | { readonly size: TerminalSize };
/** What a deed that waits takes beside its bytes, roughly: also those without any must not pile up. */
const deedBytes = 256;

/**
 * Between a WebSocket, which is paused until this runs, and a process on a terminal, until one of them ends. Nothing piles up on either side: output is read on when the last of it has gone out, and a
 * caller who types faster than the room takes it is not read from meanwhile.
 */
export class Terminal {
  readonly #deeds: Deed[] = [];
  #waiting = 0;
  #doing = false;
  #ended = false;

  constructor(
    private readonly socket: WebSocket,
    private readonly process: TerminalProcess,
    private readonly clock: Clock,
  ) {}

  /** Resolves once the connection is over, however it came to that. */
  async run(signal: AbortSignal): Promise<void> {
    const closed = new Promise<void>((resolve) => this.socket.once('close', () => resolve()));
    const over = new AbortController();
    void closed.then(() => over.abort());
    const onAbort = (): void => this.#end(closes.restarting);
    signal.addEventListener('abort', onAbort, { once: true });
    this.socket.on('error', () => this.socket.terminate());
    this.socket.on('message', (data: Buffer, isBinary: boolean) => this.#heard(data, isBinary));
    void this.#watch(over.signal);
    // It was held until somebody listens.
    this.socket.resume();
    try {
      await this.#say({ pid: this.process.pid });
      await this.#show();
    } catch {
      // The connection broke: there is nobody left to tell.
      this.socket.terminate();
    }
    await closed;
    signal.removeEventListener('abort', onAbort);
  }

  /** What the process writes, as long as somebody takes it. */
  async #show(): Promise<void> {
    let code: ProblemCode = 'guest.closed';
    try {
      for await (const event of this.process.output) {
        if (this.#ended || this.socket.readyState !== this.socket.OPEN) return;
        if (event.event === 'stdout' || event.event === 'stderr') await this.#send(Buffer.from(event.data, 'base64'));
        if (event.event === 'exit') {
          const { exitCode, signal, timedOut } = event;
          await this.#say({ exit: { exitCode, signal, timedOut } });
          return this.#end(closes.done);
        }
        if (event.event === 'error') break;
      }
    } catch (error) {
      if (this.socket.readyState !== this.socket.OPEN) return;
      if (isProblem(error)) code = error.code;
    }
    await this.#fail(code);
  }

  #heard(data: Buffer, isBinary: boolean): void {
    const deed = isBinary ? { data } : sizeIn(data);
    if (!deed) return this.#end(closes.nonsense);
    this.#deeds.push(deed);
    this.#waiting += costOf(deed);
    if (this.#waiting > limits.terminal.queueBytes) this.socket.pause();
    if (!this.#doing) void this.#act();
  }

  /** One after another; what was typed meanwhile goes in together. */
  async #act(): Promise<void> {
    this.#doing = true;
    try {
      for (let deed = this.#next(); deed && !this.#ended; deed = this.#next()) {
        if ('data' in deed) await this.process.write(deed.data);
        else await this.process.resize(deed.size);
        if (this.socket.isPaused) this.socket.resume();
      }
    } catch (error) {
      await this.#fail(isProblem(error) ? error.code : 'guest.closed').catch(() => this.socket.terminate());
    } finally {
      this.#doing = false;
    }
  }

  #next(): Deed | undefined {
    const first = this.#shift();
    if (!first || !('data' in first)) return first;
    const parts = [first.data];
    let length = first.data.length;
    for (let next = this.#deeds[0]; next && 'data' in next && length + next.data.length <= limits.exec.stdinBytes; next = this.#deeds[0]) {
      this.#shift();
      parts.push(next.data);
      length += next.data.length;
    }
    return { data: Buffer.concat(parts) };
  }

  #shift(): Deed | undefined {
    const deed = this.#deeds.shift();
    if (deed) this.#waiting -= costOf(deed);
    return deed;
  }

  /** A caller that no longer answers has gone away without a word. */
  async #watch(over: AbortSignal): Promise<void> {
    let alive = true;
    this.socket.on('pong', () => (alive = true));
    while (!over.aborted) {
      await this.clock.sleep(limits.http.ssePingMs, over).catch(() => undefined);
      if (over.aborted) return;
      if (!alive) return this.socket.terminate();
      alive = false;
      this.socket.ping();
    }
  }

  async #fail(code: ProblemCode): Promise<void> {
    if (this.#ended) return;
    await this.#say({ error: { code } });
    this.#end(closes.failed);
  }

  #end(code: number): void {
    this.#ended = true;
    this.socket.close(code);
    // Whoever does not close in turn is cut off.
    const timer = setTimeout(() => this.socket.terminate(), limits.terminal.partingMs);
    this.socket.once('close', () => clearTimeout(timer));
    if (this.socket.isPaused) this.socket.resume();
  }

  #say(words: unknown): Promise<void> {
    return this.#send(JSON.stringify(words));
  }

  #send(data: Buffer | string): Promise<void> {
    return new Promise((resolve, reject) => this.socket.send(data, { binary: typeof data !== 'string' }, (error) => (error ? reject(error) : resolve())));
  }
}

function costOf(deed: Deed): number {
  return deedBytes + ('data' in deed ? deed.data.length : 0);
}

/** Null for words that say nothing. */
function sizeIn(data: Buffer): { size: TerminalSize } | null {
  if (data.length > limits.terminal.textBytes) return null;
  try {
    const words = Words.safeParse(JSON.parse(data.toString('utf8')));
    return words.success ? { size: words.data.resize } : null;
  } catch {
    return null;
  }
}
