const minuteMs = 60_000;

/** Counts within minutes of the caller's clock, each beginning with its first event. */
export class MinuteCount {
  #since = -Infinity;
  #count = 0;

  constructor(private readonly most: number) {}

  /** Counts one more; 0, or the milliseconds until there is room for it: then it was not counted. */
  take(now: number): number {
    if (now - this.#since >= minuteMs) {
      this.#since = now;
      this.#count = 0;
    }
    if (this.#count >= this.most) return this.#since + minuteMs - now;
    this.#count += 1;
    return 0;
  }
}
