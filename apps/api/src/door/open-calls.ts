import type { Duplex } from 'node:stream';
import { limits, type Clock } from '@alcove/base';
import { Problem } from '@alcove/contracts';
import type { FastifyReply } from 'fastify';

const partingMs = 500;

interface Closing {
  once(event: 'close', listener: () => void): unknown;
}

/**
 * The calls that are under way. Each has a signal that is aborted when its caller goes away; at a shutdown those that would never end by themselves are ended
 * at once, and the rest have limits.http.closeMs to finish.
 */
export class OpenCalls {
  readonly #calls = new Map<AbortSignal, { readonly controller: AbortController; follows: boolean }>();
  #closing = false;
  #drained: (() => void) | undefined;

  constructor(private readonly clock: Clock) {}

  get closing(): boolean {
    return this.#closing;
  }

  get size(): number {
    return this.#calls.size;
  }

  /** Watches a call until its response is done. onEnd runs once, however it ended. */
  add(reply: FastifyReply, onEnd: () => void): AbortSignal {
    return this.#watch(reply.raw, () => reply.raw.writableFinished, onEnd);
  }

  /** Watches a call that has taken its connection for itself: its end is the connection's. */
  addConnection(socket: Duplex, onEnd: () => void): AbortSignal {
    return this.#watch(socket, () => false, onEnd);
  }

  #watch(line: Closing, isFinished: () => boolean, onEnd: () => void): AbortSignal {
    const controller = new AbortController();
    this.#calls.set(controller.signal, { controller, follows: false });
    line.once('close', () => {
      this.#calls.delete(controller.signal);
      if (!isFinished()) controller.abort(new Problem('unavailable', { detail: 'The caller went away.' }));
      onEnd();
      if (this.#calls.size === 0) this.#drained?.();
    });
    return controller.signal;
  }

  /** Says that this call goes on until somebody ends it. */
  follows(signal: AbortSignal): void {
    const call = this.#calls.get(signal);
    if (call) call.follows = true;
  }

  /** Refuses new calls from here on, ends the followers, waits for the others, then ends what is left. */
  async close(): Promise<void> {
    this.#closing = true;
    this.#abort((call) => call.follows);
    if (this.#calls.size === 0) return;
    const drained = new Promise<void>((resolve) => (this.#drained = resolve));
    await this.#atMost(limits.http.closeMs, drained);
    this.#abort(() => true);
    // Time for the answers that say why.
    await this.#atMost(partingMs, drained);
  }

  async #atMost(ms: number, drained: Promise<void>): Promise<void> {
    const stop = new AbortController();
    await Promise.race([drained, this.clock.sleep(ms, stop.signal).catch(() => undefined)]);
    stop.abort();
  }

  #abort(which: (call: { follows: boolean }) => boolean): void {
    for (const call of this.#calls.values()) if (which(call)) call.controller.abort(new Problem('unavailable', { detail: 'The platform is restarting.' }));
  }
}
