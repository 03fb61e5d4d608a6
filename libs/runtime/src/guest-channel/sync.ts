import { limits, systemRandom, type Clock } from '@alcove/base';
import { guestProtocol } from '@alcove/contracts';
import { Deferred } from './deferred';
import { broken } from './problems';

const sessionBytes = 16;
const versionBytes = 4;
export const syncBytes = guestProtocol.magic.length + sessionBytes + versionBytes;

/** Longer than any frame: completes whatever partial frame the guest was waiting for. */
const fillerBytes = 65_552;

/** The 36 bytes that begin a session (PROTOCOL.md, "Synchronising"). */
export function encodeSync(session: Buffer): Buffer {
  const version = Buffer.alloc(versionBytes);
  version.writeUInt32LE(guestProtocol.version);
  return Buffer.concat([guestProtocol.magic, session, version]);
}

/** Looks for the guest's answer to one sync in whatever comes. Pure. Holds less than one sync. */
export class SyncScanner {
  readonly #wanted: Buffer;
  #tail = Buffer.alloc(0);
  #discarded = 0;

  constructor(session: Buffer) {
    this.#wanted = Buffer.concat([guestProtocol.magic, session]);
  }

  /** Once the answer is there: the guest's version, and the bytes after it. Throws `guest.protocol` after `limits.channel.syncScanBytes` of other bytes. */
  push(chunk: Buffer): { version: number; rest: Buffer } | undefined {
    const bytes = this.#tail.length === 0 ? chunk : Buffer.concat([this.#tail, chunk]);
    const found = bytes.indexOf(this.#wanted);
    if (found >= 0 && bytes.length >= found + syncBytes) {
      return { version: bytes.readUInt32LE(found + this.#wanted.length), rest: bytes.subarray(found + syncBytes) };
    }
    const kept = found >= 0 ? found : Math.max(0, bytes.length - this.#wanted.length + 1);
    this.#discarded += kept;
    if (this.#discarded > limits.channel.syncScanBytes) throw broken('no answer to the sync in all that came');
    this.#tail = Buffer.from(bytes.subarray(kept));
    return undefined;
  }
}

/** Sends bytes, and has the scanner look at everything that comes until it has found its answer; then calls back. */
export interface SyncPort {
  write(bytes: Buffer): void;
  scan(scanner: SyncScanner, onFound: () => void, onFailed: (error: Error) => void): void;
}

export interface SyncOptions {
  clock: Clock;
  signal: AbortSignal;
  /** How long the first attempt waits. */
  firstAnswerMs: number;
}

/**
 * Draws a session and synchronises, up to `limits.channel.syncAttempts` times; resolves with the number of attempts. Each attempt has a session of its own, so that
 * a late answer is not taken for frames. Problem `guest.protocol` when the guest never answers; aborted: the signal's reason.
 */
export async function synchronise(port: SyncPort, { clock, signal, firstAnswerMs }: SyncOptions): Promise<number> {
  for (let attempt = 1; attempt <= limits.channel.syncAttempts; attempt++) {
    const session = systemRandom.bytes(sessionBytes);
    const answer = new Deferred<boolean>();
    port.scan(new SyncScanner(session), () => answer.resolve(true), () => answer.resolve(false));
    if (attempt > 1) port.write(Buffer.alloc(fillerBytes, 0xff));
    port.write(encodeSync(session));
    const over = new AbortController();
    const patienceMs = attempt === 1 ? firstAnswerMs : limits.channel.syncTimeoutMs;
    const timeout = clock.sleep(patienceMs, AbortSignal.any([signal, over.signal])).then(() => false, () => false);
    const found = await Promise.race([answer.promise, timeout]);
    over.abort();
    if (found) return attempt;
    signal.throwIfAborted();
  }
  throw broken('the guest does not answer the sync');
}
