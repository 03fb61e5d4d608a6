import type { ExecEvent } from '@alcove/contracts';

/** One who listens to a command: all it has said so far. Waiting is for conditions, and rejects once nothing more can come: with what the stream failed with, if it did. */
export class Heard {
  pid = 0;
  stdout = '';
  stderr = '';
  exit: Extract<ExecEvent, { event: 'exit' }> | undefined;
  failure: Error | undefined;
  /** Settles when the stream is over: with its exit, or with what it failed with. Never rejects. */
  readonly over: Promise<void>;
  readonly #leaving = new AbortController();
  readonly #waiting = new Set<() => void>();
  #isOver = false;

  /** `listen` gets a signal that leave() aborts. */
  constructor(listen: (signal: AbortSignal) => AsyncIterable<ExecEvent>) {
    this.over = this.#read(listen(this.#leaving.signal));
  }

  async until(condition: () => boolean): Promise<this> {
    while (!condition()) {
      if (this.failure) throw this.failure;
      if (this.#isOver) throw new Error(`it is over and never came to that: ${JSON.stringify(this)}`);
      await new Promise<void>((resolve) => this.#waiting.add(resolve));
    }
    return this;
  }
  /** Once it has its pid: what is written from now on is heard. */
  started(): Promise<this> {
    return this.until(() => this.pid !== 0);
  }
  /** Its exit; fails when there is none. */
  async ended(): Promise<Extract<ExecEvent, { event: 'exit' }>> {
    await this.until(() => this.exit !== undefined);
    await this.over;
    if (!this.exit) throw new Error('no exit');
    return this.exit;
  }
  async leave(): Promise<void> {
    this.#leaving.abort(new Error('the listener left'));
    await this.over;
  }

  async #read(events: AsyncIterable<ExecEvent>): Promise<void> {
    try {
      for await (const event of events) this.#take(event);
    } catch (error) {
      this.failure = error as Error;
    }
    this.#isOver = true;
    this.#wake();
  }
  #take(event: ExecEvent): void {
    if (event.event === 'start') this.pid = event.pid;
    if (event.event === 'stdout' || event.event === 'stderr') this[event.event] += Buffer.from(event.data, 'base64').toString();
    if (event.event === 'exit') this.exit = event;
    this.#wake();
  }
  #wake(): void {
    for (const wake of this.#waiting) wake();
    this.#waiting.clear();
  }
}
