import type { Clock } from '@alcove/base';

/** Measures the steps of a move, one after the other, in milliseconds. */
export class Steps {
  readonly all: Record<string, number> = {};
  readonly #clock: Clock;
  #since: number;
  constructor(clock: Clock) {
    this.#clock = clock;
    this.#since = clock.monotonic();
  }
  /** The time since the last lap, under this name. */
  lap(name: string): number {
    const now = this.#clock.monotonic();
    const took = Math.round((now - this.#since) * 10) / 10;
    this.all[name] = took;
    this.#since = now;
    return took;
  }
}
