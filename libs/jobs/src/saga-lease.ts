import type { Clock } from '@alcove/base';
import type { Lease, SagaStore } from './saga-store';

interface Kept {
  id: string;
  lease: Lease;
  leaseMs: number;
  /** Wall clock, milliseconds: a step that hangs far beyond its saga's deadline must not keep others out for ever. */
  giveUpAt: number;
}

/** Renews a lease at a third of its length until it is stopped or lost. */
export class LeaseKeeper<Scope> {
  readonly #stopped = new AbortController();
  #lost = false;

  constructor(store: SagaStore<Scope>, clock: Clock, kept: Kept) {
    void this.#keep(store, clock, kept).catch(() => undefined);
  }

  /** True once the store has said that somebody else may hold it. */
  get lost(): boolean {
    return this.#lost;
  }

  stop(): void {
    this.#stopped.abort();
  }

  async #keep(store: SagaStore<Scope>, clock: Clock, { id, lease, leaseMs, giveUpAt }: Kept): Promise<void> {
    while (!this.#stopped.signal.aborted && clock.now() < giveUpAt) {
      await clock.sleep(leaseMs / 3, this.#stopped.signal);
      // A store that fails is asked again at the next turn: the lease lives a while longer.
      const renewed = await store.renew(id, { token: lease.token, until: clock.now() + leaseMs }).catch(() => null);
      if (renewed === false && !this.#stopped.signal.aborted) {
        this.#lost = true;
        return;
      }
    }
  }
}
