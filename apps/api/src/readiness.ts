import type { Clock } from '@alcove/base';

/** One thing that must work before this process can serve. */
export interface ReadinessCheck {
  readonly name: string;
  /** Rejects while it does not work. */
  check(): Promise<unknown>;
}

/** How long an answer is given again: the question is open to strangers and must not become load. */
const keepMs = 1_000;

/** What a load balancer asks before it sends anybody here. */
export class Readiness {
  #answer: { at: number; names: Promise<string[]> } | undefined;

  constructor(
    private readonly checks: readonly ReadinessCheck[],
    private readonly clock: Clock,
  ) {}

  /** The names of what does not work now; why goes nowhere outside. */
  notReady(): Promise<string[]> {
    const now = this.clock.monotonic();
    if (!this.#answer || now - this.#answer.at > keepMs) this.#answer = { at: now, names: this.#ask() };
    return this.#answer.names;
  }

  async #ask(): Promise<string[]> {
    const outcomes = await Promise.allSettled(this.checks.map((one) => one.check()));
    return this.checks.filter((_, index) => outcomes[index]?.status === 'rejected').map((one) => one.name);
  }
}
