import type { Clock, Log } from '@alcove/base';
import type { SqlTx } from '@alcove/db';
import type { Outbox } from './outbox';
import type { JobQueue } from './queue';

export interface DispatcherOptions {
  clock: Clock;
  log: Log;
  /** Longest time between two looks, milliseconds. Default 250. */
  pollMs?: number;
  /** Most entries handed over in one transaction. Default 100. */
  batch?: number;
}

/**
 * Makes jobs of the outbox. The worker start()s it; any process may nudge() it after a commit, to save the wait for the worker's next look. A crash at any
 * point loses nothing, and what it hands over twice the queue takes once, by id.
 */
export class OutboxDispatcher<Scope = SqlTx> {
  readonly #outbox: Outbox<Scope>;
  readonly #queue: JobQueue;
  readonly #options: Required<DispatcherOptions>;
  /** Aborted to end the current sleep. */
  #alarm = new AbortController();
  #loop: Promise<void> | null = null;
  #stopping = false;
  #nudged = false;
  #pass: Promise<void> | null = null;

  constructor(outbox: Outbox<Scope>, queue: JobQueue, options: DispatcherOptions) {
    this.#outbox = outbox;
    this.#queue = queue;
    this.#options = { pollMs: 250, batch: 100, ...options };
  }

  /** Starts looking, until stop(). */
  start(): void {
    this.#loop ??= this.#look();
  }

  /** There may be something to dispatch: call it after the commit. Never throws, never waits. */
  nudge(): void {
    if (this.#stopping) return;
    this.#nudged = true;
    if (this.#loop) this.#alarm.abort();
    else this.#pass ??= this.#untilQuiet().finally(() => (this.#pass = null));
  }

  /** Hands over what is due now. Returns when the next entry is due, or null. Rejects when the database or the queue cannot be reached. */
  async dispatchDue(): Promise<number | null> {
    for (;;) {
      const { taken, nextDueAt } = await this.#outbox.dispatch(this.#options.batch, async (jobs) => {
        await Promise.all(jobs.map((job) => this.#queue.add(job)));
      });
      if (taken < this.#options.batch || this.#stopping) return nextDueAt;
    }
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    this.#alarm.abort();
    await Promise.all([this.#loop, this.#pass]);
  }

  /** Nest's hook: the first one, so that nothing new begins. */
  onModuleDestroy(): Promise<void> {
    return this.stop();
  }

  async #untilQuiet(): Promise<void> {
    while (this.#nudged && !this.#stopping) {
      this.#nudged = false;
      await this.#tryDispatch();
    }
  }

  async #look(): Promise<void> {
    const { clock, pollMs } = this.#options;
    while (!this.#stopping) {
      this.#nudged = false;
      const nextDueAt = await this.#tryDispatch();
      if (this.#nudged || this.#stopping) continue;
      this.#alarm = new AbortController();
      const untilDue = nextDueAt === null ? pollMs : Math.max(1, nextDueAt - clock.now());
      await clock.sleep(Math.min(pollMs, untilDue), this.#alarm.signal).catch(() => undefined);
    }
  }

  async #tryDispatch(): Promise<number | null> {
    try {
      return await this.dispatchDue();
    } catch (error) {
      this.#options.log.warn({ err: error }, 'the outbox could not be dispatched; it will be tried again');
      return null;
    }
  }
}
