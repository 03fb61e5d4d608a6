import type { Duplex } from 'node:stream';
import { limits, type Clock, type Log } from '@alcove/base';
import { guestProtocol, Problem } from '@alcove/contracts';
import { Deferred } from './deferred';
import { Mux } from './mux';
import { broken, ended } from './problems';
import { synchronise, type SyncPort, type SyncScanner } from './sync';

export interface ChannelOptions {
  clock: Clock;
  log: Log;
}

interface Scan {
  scanner: SyncScanner;
  onFound: () => void;
  onFailed: (error: Error) => void;
}

/**
 * One byte channel to a guest, through its sessions. States: scanning (a sync is under way) → open (there is a mux) → silent (after quiesce) → scanning …; closed,
 * from anywhere and for good. Nothing that the guest sends is thrown out of an event handler: it ends in `closed`.
 */
export class GuestChannel implements SyncPort {
  readonly #closed = new Deferred<Error>();
  #mux: Mux | undefined;
  #scan: Scan | undefined;
  #failure: Problem | undefined;
  readonly #abandon = new AbortController();

  constructor(
    private readonly duplex: Duplex,
    private readonly options: ChannelOptions,
  ) {
    duplex.on('error', (error) => this.fail(ended('the channel failed', error)));
    duplex.on('end', () => this.fail(ended('the guest closed the channel')));
    duplex.on('close', () => this.fail(ended('the channel was closed')));
    duplex.on('data', (chunk: Buffer) => this.#receive(chunk));
  }

  /** Settles with what closed the channel; never rejects. */
  get closed(): Promise<Error> {
    return this.#closed.promise;
  }

  /** The session's streams. Throws what closed the channel, or `guest.closed` while there is no session. */
  get mux(): Mux {
    if (this.#failure) throw this.#failure;
    if (!this.#mux) throw ended('the channel is silent');
    return this.#mux;
  }

  /** Starts a new session; every stream of the one before fails with `guest.closed`. When it cannot be had, the channel is closed. */
  async synchronise(signal?: AbortSignal, firstAnswerMs: number = limits.channel.syncTimeoutMs): Promise<void> {
    if (this.#failure) throw this.#failure;
    this.silence('the channel is being synchronised');
    const both = signal ? AbortSignal.any([signal, this.#abandon.signal]) : this.#abandon.signal;
    try {
      const attempts = await synchronise(this, { clock: this.options.clock, signal: both, firstAnswerMs });
      if (attempts > 1) this.options.log.info({ attempts }, 'the guest answered late');
    } catch (error) {
      this.fail(signal?.aborted ? ended('the synchronisation was given up', error) : (error as Error));
    }
    if (this.#failure) throw this.#failure;
  }

  /** Ends the session without closing the channel: what the guest still sends is thrown away. */
  silence(why: string): void {
    const mux = this.#mux;
    this.#mux = undefined;
    this.#scan = undefined;
    mux?.fail(ended(why));
  }

  /** Closes the channel; the first reason counts. */
  fail(error: Error): void {
    if (this.#failure) return;
    const problem = error instanceof Problem ? error : new Problem('internal', { cause: error });
    this.#failure = problem;
    if (problem.code !== 'guest.closed') this.options.log.warn({ err: problem }, 'the guest channel was closed');
    this.#abandon.abort(problem);
    this.#mux?.fail(problem);
    this.#scan = undefined;
    this.duplex.destroy();
    this.#closed.resolve(problem);
  }

  write(bytes: Buffer): void {
    this.duplex.write(bytes);
  }

  scan(scanner: SyncScanner, onFound: () => void, onFailed: (error: Error) => void): void {
    this.#scan = { scanner, onFound, onFailed };
  }

  #receive(chunk: Buffer): void {
    if (this.#failure) return;
    if (this.#scan) this.#look(this.#scan, chunk);
    else this.#mux?.receive(chunk);
  }

  /** The session begins in the middle of a chunk, so it must be there before the next one comes. */
  #look(scan: Scan, chunk: Buffer): void {
    let answer: ReturnType<SyncScanner['push']>;
    try {
      answer = scan.scanner.push(chunk);
    } catch (error) {
      this.#scan = undefined;
      scan.onFailed(error as Error);
      return;
    }
    if (!answer) return;
    this.#scan = undefined;
    if (answer.version !== guestProtocol.version) {
      this.fail(broken(`the guest speaks version ${answer.version} of the protocol`));
      return;
    }
    const mux = new Mux(this.duplex, (problem) => this.fail(problem));
    this.#mux = mux;
    scan.onFound();
    mux.receive(answer.rest);
  }
}
