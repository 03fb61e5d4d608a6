import { limits } from '@alcove/base';
import { Problem } from '@alcove/contracts';
import { RateLimiterMemory, RateLimiterRes } from 'rate-limiter-flexible';

export type Access = 'read' | 'write';

/** How often a room may read and write in a minute. Counted in the memory of this process: with several API processes, a room has its quota at each of them. */
export class RoomQuotas {
  readonly #limiters: Readonly<Record<Access, RateLimiterMemory>>;

  constructor(quotas: { readonly reads: number; readonly writes: number } = limits.doors) {
    this.#limiters = { read: new RateLimiterMemory({ keyPrefix: 'read', points: quotas.reads, duration: 60 }), write: new RateLimiterMemory({ keyPrefix: 'write', points: quotas.writes, duration: 60 }) };
  }

  /** Counts one. Throws `request.rate` with the time to wait. */
  async enter(roomId: string, access: Access): Promise<void> {
    try {
      await this.#limiters[access].consume(roomId);
    } catch (refusal) {
      if (!(refusal instanceof RateLimiterRes)) throw refusal;
      throw new Problem('request.rate', { detail: `This room may ${access} ${this.#limiters[access].points} times a minute.`, retryAfterMs: Math.max(1, refusal.msBeforeNext) });
    }
  }
}
