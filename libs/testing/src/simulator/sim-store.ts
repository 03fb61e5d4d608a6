import type { Random } from '@alcove/base';
import { DbUnavailable } from '@alcove/db';
import type { VirtualNode } from './virtual-time';

/** The one database of a simulation: it can be down. */
export class SimDatabase {
  down = false;
}

/** Methods that work in a caller's transaction: it is the transaction that takes time, so that a killed process leaves all of it or nothing. */
const inTransaction: ReadonlySet<string> = new Set(['insert', 'enqueue', 'append', 'admit']);

/** One process's way to an in-memory store: every call takes a moment before and after, and fails while the database is down. */
export function throughDatabase<T extends object>(store: T, node: VirtualNode, random: Random, database: SimDatabase): T {
  return new Proxy(store, {
    get(target, name): unknown {
      const member: unknown = Reflect.get(target, name, target);
      if (typeof member !== 'function' || typeof name !== 'string' || inTransaction.has(name)) return typeof member === 'function' ? member.bind(target) : member;
      return async (...args: unknown[]): Promise<unknown> => {
        await pause(node, random);
        if (database.down) throw new DbUnavailable(false, new Error('the simulated database is down'));
        const result: unknown = await Reflect.apply(member, target, args);
        await pause(node, random);
        return result;
      };
    },
  });
}

/** Also where a killed process stops: sleeping on its node. */
async function pause(node: VirtualNode, random: Random): Promise<void> {
  if (!node.alive || random.below(3) === 0) await node.sleep(random.below(4));
}
