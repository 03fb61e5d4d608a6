import type { ServerResponse } from 'node:http';
import type { Clock } from '@alcove/base';
import { writeWithPressure } from '../http/answer';
import { envelope, flag } from './connect-codec';
import type { SurfaceError } from './surface-error';

/** The streamed answer of one call: messages in envelopes, a word now and then when there is nothing to say, and an end that says how it went. */
export class EventStream {
  readonly #over = new AbortController();
  #sentAt: number;
  #begun = false;

  constructor(
    private readonly response: ServerResponse,
    private readonly clock: Clock,
    private readonly signal: AbortSignal,
  ) {
    this.#sentAt = clock.monotonic();
  }

  /** Sends one message, no faster than the caller reads. */
  async send(message: unknown): Promise<void> {
    this.#begin();
    this.#sentAt = this.clock.monotonic();
    await writeWithPressure(this.response, envelope(0, message), this.signal);
  }
  /** From the first message on, sends `message` whenever nothing was sent for so long. */
  keepAlive(ms: number, message: unknown): void {
    void this.#keepAlive(ms, message);
  }
  /** The last word. Without an error: the stream is whole. */
  end(error?: SurfaceError): void {
    this.stop();
    this.#begin();
    this.response.end(envelope(flag.end, error ? { error: { code: error.code, message: error.message } } : {}));
  }
  stop(): void {
    this.#over.abort();
  }

  #begin(): void {
    if (this.#begun) return;
    this.#begun = true;
    this.response.writeHead(200, { 'content-type': 'application/connect+json', 'cache-control': 'no-store' });
  }
  async #keepAlive(ms: number, message: unknown): Promise<void> {
    const ends = AbortSignal.any([this.#over.signal, this.signal]);
    for (;;) {
      const left = this.#sentAt + ms - this.clock.monotonic();
      if (left > 0) await this.clock.sleep(left, ends).catch(() => undefined);
      if (ends.aborted) return;
      if (left > 0) continue;
      this.#sentAt = this.clock.monotonic();
      // To one who does not read it would only pile up.
      if (this.#begun && !this.response.writableNeedDrain) this.response.write(envelope(0, message));
    }
  }
}
