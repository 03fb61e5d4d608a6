import { Duplex, type DuplexOptions } from 'node:stream';
import type { Fields } from './fields';
import type { Question } from './ask';
import type { Mux } from './mux';
import { onAbort } from './on-abort';
import { beyond, broken, ended } from './problems';
import type { GuestStream } from './stream';

export interface StreamDuplexOptions {
  /** False: the host's side is ended at once. */
  writable: boolean;
  /** More bytes than this from the guest end the stream with `guest.limit`. */
  bytesMax?: number;
  /** Where the service sends messages too; what it throws ends the session. */
  onMessage?: (message: Fields) => void;
  /** The guest has sent everything; what it throws ends the session. */
  onEnd?: () => void;
}

/**
 * A stream of the channel as a Node stream, back-pressure both ways: what is not read is not granted to the guest again, what is not granted is not taken from the
 * writer. Destroying it, or aborting the question's signal, cancels the stream in the guest. An error without a listener is not thrown: a room may die at any time.
 * The socket methods are there because http.Agent calls them; there is no TCP here that they could change.
 */
export class StreamDuplex extends Duplex {
  readonly #stream: GuestStream;
  readonly #unlisten: () => void;
  readonly #bytesMax: number;
  #bytes = 0;
  #hungry = false;
  #guestEnded = false;

  constructor(mux: Mux, { fields, asked, signal }: Question, { writable, bytesMax, onMessage, onEnd }: StreamDuplexOptions) {
    // The types do not know `writable`; Duplex does (https://nodejs.org/api/stream.html#new-streamduplexoptions).
    super({ writable, allowHalfOpen: true } as DuplexOptions);
    this.on('error', () => undefined);
    this.#bytesMax = bytesMax ?? Number.MAX_SAFE_INTEGER;
    this.#stream = mux.open(
      fields,
      {
        answers: 'bytes',
        readable: () => this.#pull(),
        message: onMessage ?? refuseMessage,
        ended: () => {
          onEnd?.();
          this.#guestEnded = true;
          this.#pull();
        },
        failed: (error) => this.destroy(error),
      },
      asked,
    );
    if (!writable) this.#stream.end();
    this.#unlisten = onAbort(signal, (reason) => this.destroy(reason));
  }

  override _read(): void {
    this.#hungry = true;
    this.#pull();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error) => void): void {
    this.#stream.send(chunk).then(() => done(), done);
  }

  override _writev(chunks: { chunk: Buffer }[], done: (error?: Error) => void): void {
    this._write(Buffer.concat(chunks.map(({ chunk }) => chunk)), 'binary', done);
  }

  override _final(done: () => void): void {
    this.#stream.end(done);
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#unlisten();
    this.#stream.cancel(error ?? ended('the stream was destroyed'));
    done(error);
  }

  setKeepAlive(): this {
    return this;
  }

  setNoDelay(): this {
    return this;
  }

  setTimeout(): this {
    return this;
  }

  ref(): this {
    return this;
  }

  unref(): this {
    return this;
  }

  #pull(): void {
    while (this.#hungry) {
      const piece = this.#stream.read();
      if (!piece) {
        if (!this.#guestEnded) return;
        this.#hungry = false;
        this.push(null);
        return;
      }
      this.#bytes += piece.bytes.length;
      if (this.#bytes > this.#bytesMax) {
        this.destroy(beyond('more bytes than were asked for'));
        return;
      }
      this.#hungry = this.push(piece.bytes);
    }
  }
}

function refuseMessage(): never {
  throw broken('a message where only bytes are');
}
