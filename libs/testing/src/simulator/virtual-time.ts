import type { Clock } from '@alcove/base';

interface Sleeper {
  readonly node: VirtualNode;
  readonly dueMs: number;
  readonly order: number;
  readonly wake: () => void;
}

const epochMs = Date.UTC(2030, 0, 1);

/** Lets everything run that can run without time passing. Two turns: a turn may queue another. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 2; turn++) await new Promise((resolve) => setImmediate(resolve));
}

/** The time of a simulation: it passes only in run(), from one sleeper to the next, and always in the same order. */
export class VirtualTime {
  readonly #sleepers: Sleeper[] = [];
  #elapsedMs = 0;
  #count = 0;

  get elapsedMs(): number {
    return this.#elapsedMs;
  }

  /** A machine or process with a clock of its own. `bootMs`: what its monotonic clock began with. */
  node(name: string, bootMs = 0): VirtualNode {
    return new VirtualNode(this, name, bootMs);
  }

  /** Lets time pass until then; `after` is called whenever everything that could run at one moment has run. */
  async run(untilMs: number, after: () => void): Promise<void> {
    await settle();
    after();
    for (let next = this.#next(untilMs); next; next = this.#next(untilMs)) {
      this.#elapsedMs = Math.max(this.#elapsedMs, next.dueMs);
      next.wake();
      await settle();
      after();
    }
    this.#elapsedMs = Math.max(this.#elapsedMs, untilMs);
  }

  /** For VirtualNode. */
  add(node: VirtualNode, ms: number, wake: () => void): Sleeper {
    const sleeper: Sleeper = { node, dueMs: this.#elapsedMs + Math.max(0, ms), order: this.#count++, wake };
    const after = this.#sleepers.findLastIndex((other) => other.dueMs <= sleeper.dueMs);
    this.#sleepers.splice(after + 1, 0, sleeper);
    return sleeper;
  }

  /** For VirtualNode. */
  remove(goes: (sleeper: Sleeper) => boolean): void {
    for (let i = this.#sleepers.length - 1; i >= 0; i--) if (goes(this.#sleepers[i] as Sleeper)) this.#sleepers.splice(i, 1);
  }

  #next(untilMs: number): Sleeper | undefined {
    const first = this.#sleepers[0];
    return first && first.dueMs <= untilMs ? this.#sleepers.shift() : undefined;
  }
}

/**
 * One process or machine of a simulation, and its clock. After kill() nothing that waits on it ever goes on: what a killed process was doing stops at its
 * next wait, and every wait of a process must therefore be on its node.
 */
export class VirtualNode implements Clock {
  readonly #time: VirtualTime;
  readonly #bootMs: number;
  readonly #died = Promise.withResolvers<void>();
  #wallOffsetMs = 0;
  #alive = true;

  constructor(time: VirtualTime, readonly name: string, bootMs: number) {
    this.#time = time;
    this.#bootMs = bootMs;
  }

  get alive(): boolean {
    return this.#alive;
  }

  /** Resolves when the node is killed. */
  get died(): Promise<void> {
    return this.#died.promise;
  }

  now(): number {
    return epochMs + this.#time.elapsedMs + this.#wallOffsetMs;
  }

  monotonic(): number {
    return this.#time.elapsedMs + this.#bootMs;
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (!this.#alive) return;
      if (signal?.aborted) return reject(signal.reason as Error);
      const onAbort = (): void => {
        this.#time.remove((other) => other === sleeper);
        if (this.#alive) reject(signal?.reason as Error);
      };
      const sleeper = this.#time.add(this, ms, () => {
        signal?.removeEventListener('abort', onAbort);
        resolve();
      });
      signal?.addEventListener('abort', onAbort, { once: true });
    });
  }

  /** The wall clock steps; the monotonic one does not. */
  jump(ms: number): void {
    this.#wallOffsetMs += ms;
  }

  kill(): void {
    this.#alive = false;
    this.#time.remove((sleeper) => sleeper.node === this);
    this.#died.resolve();
  }
}
