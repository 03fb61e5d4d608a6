import type { Clock } from '@alcove/base';

interface Timer {
  at: number;
  fire: () => void;
}

/** Time that stands still until a test moves it. Between two timers everything that is ready to run is run. */
export class VirtualClock implements Clock {
  #time = 1_000_000;
  readonly #timers = new Set<Timer>();
  now(): number {
    return 1_800_000_000_000 + this.#time;
  }
  monotonic(): number {
    return this.#time;
  }
  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason as Error);
      const forget = () => {
        this.#timers.delete(timer);
        reject(signal?.reason as Error);
      };
      const fire = () => {
        signal?.removeEventListener('abort', forget);
        resolve();
      };
      const timer: Timer = { at: this.#time + Math.max(0, ms), fire };
      this.#timers.add(timer);
      signal?.addEventListener('abort', forget, { once: true });
    });
  }
  /** Lets time pass, timer by timer. */
  async pass(ms: number): Promise<void> {
    const end = this.#time + ms;
    await settle();
    for (;;) {
      const next = [...this.#timers].filter((timer) => timer.at <= end).sort((a, b) => a.at - b.at)[0];
      if (!next) break;
      this.#timers.delete(next);
      this.#time = Math.max(this.#time, next.at);
      next.fire();
      await settle();
    }
    this.#time = end;
  }
  /** Lets time pass until the promise has settled. */
  async until<T>(promise: Promise<T>, stepMs = 100): Promise<T> {
    let over = false;
    promise.then(() => (over = true), () => (over = true));
    await settle();
    while (!over) await this.pass(stepMs);
    return promise;
  }
}

/** Runs what is ready to run: a few turns of the event loop, because streams take some. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn += 1) await new Promise<void>((next) => setImmediate(next));
}
