import type { Locks } from '@alcove/jobs';
import type { VirtualNode } from './virtual-time';

/** Locks by name among the processes of a simulation; those of a killed process are free again. */
export class SimLocks {
  readonly #holders = new Map<string, VirtualNode>();

  of(node: VirtualNode): Locks {
    return {
      withAdvisoryLock: async (name, fn) => {
        if (this.#holders.get(name)?.alive) return { ran: false };
        this.#holders.set(name, node);
        try {
          return { ran: true, value: await fn() };
        } finally {
          if (this.#holders.get(name) === node) this.#holders.delete(name);
        }
      },
    };
  }
}
