import type { Clock } from '@alcove/base';

interface Sleeper {
  dueMs: number;
  wake: () => void;
}

/** A clock whose time passes only by advance(). It starts at 2030-01-01. */
export class ManualClock implements Clock {
  readonly #sleepers = new Set<Sleeper>();
  #elapsedMs = 0;

  now(): number {
    return Date.UTC(2030, 0, 1) + this.#elapsedMs;
  }

  monotonic(): number {
    return this.#elapsedMs;
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) {
        reject(signal.reason as Error);
        return;
      }
      const onAbort = () => {
        this.#sleepers.delete(sleeper);
        reject(signal?.reason as Error);
      };
      const wake = () => {
        signal?.removeEventListener('abort', onAbort);
        resolve();
      };
      const sleeper = { dueMs: this.#elapsedMs + ms, wake };
      this.#sleepers.add(sleeper);
      signal?.addEventListener('abort', onAbort, { once: true });
    });
  }

  /** How many are asleep. */
  get sleepers(): number {
    return this.#sleepers.size;
  }

  /** Lets time pass and wakes, in order, who is due; what they do runs after this returns. */
  advance(ms: number): void {
    this.#elapsedMs += ms;
    const due = [...this.#sleepers].filter((sleeper) => sleeper.dueMs <= this.#elapsedMs).sort((a, b) => a.dueMs - b.dueMs);
    for (const sleeper of due) {
      this.#sleepers.delete(sleeper);
      sleeper.wake();
    }
  }
}
