import { limits } from '@alcove/base';
import type { Reconciler } from '@alcove/jobs';
import type { Erasures } from './erasures';

const replayEveryMs = 60_000;

/** Erasures whose saga ended too early, and users whom a database that was put back remembers. */
export function erasureReconcilers(erasures: Pick<Erasures, 'resume' | 'replay'>): Reconciler[] {
  return [
    { name: 'erasures.idle', everyMs: limits.reconciler.everyMs, run: () => erasures.resume(limits.reconciler.batch) },
    { name: 'erasures.ledger', everyMs: replayEveryMs, run: () => erasures.replay() },
  ];
}
