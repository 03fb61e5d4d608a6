import { limits } from '@alcove/base';
import { Problem, type Principal } from '@alcove/contracts';
import { BurstyRateLimiter, RateLimiterMemory, RateLimiterRes } from 'rate-limiter-flexible';

const burstSeconds = 10;
const burstPerRate = limits.key.burst / limits.key.ratePerSecond;

/**
 * How fast, and how much at once, a key may call. Counted in the memory of this process: with several API processes behind one address, a key has its limits
 * at each of them. A key's rate is so many calls in each second, and a reserve of four times that for each ten seconds.
 */
export class KeyRates {
  /** One limiter for each rate that a key can have: keys of the same rate share it, each with a count of its own. */
  readonly #byRate = new Map<number, BurstyRateLimiter>();
  readonly #running = new Map<string, number>();

  /** Counts a call. The result ends it and must be called once. Throws request.rate or request.concurrency with the time to wait. */
  async enter(principal: Pick<Principal, 'keyId' | 'ratePerSecond' | 'concurrent'>): Promise<() => void> {
    const running = this.#running.get(principal.keyId) ?? 0;
    if (running >= principal.concurrent) throw new Problem('request.concurrency', { detail: `This key may have ${principal.concurrent} requests at once.` });
    this.#running.set(principal.keyId, running + 1);
    try {
      await this.#limiter(principal.ratePerSecond).consume(principal.keyId);
    } catch (refusal) {
      this.#leave(principal.keyId);
      if (!(refusal instanceof RateLimiterRes)) throw refusal;
      throw new Problem('request.rate', { detail: `This key may make ${principal.ratePerSecond} requests a second.`, retryAfterMs: Math.max(1, refusal.msBeforeNext) });
    }
    return () => this.#leave(principal.keyId);
  }

  /** Calls that are running, over all keys. */
  get running(): number {
    return [...this.#running.values()].reduce((sum, count) => sum + count, 0);
  }

  #leave(keyId: string): void {
    const left = (this.#running.get(keyId) ?? 1) - 1;
    if (left === 0) this.#running.delete(keyId);
    else this.#running.set(keyId, left);
  }

  #limiter(ratePerSecond: number): BurstyRateLimiter {
    const known = this.#byRate.get(ratePerSecond);
    if (known) return known;
    const steady = new RateLimiterMemory({ points: ratePerSecond, duration: 1 });
    const burst = new RateLimiterMemory({ keyPrefix: 'burst', points: ratePerSecond * burstPerRate, duration: burstSeconds });
    const limiter = new BurstyRateLimiter(steady, burst);
    this.#byRate.set(ratePerSecond, limiter);
    return limiter;
  }
}
