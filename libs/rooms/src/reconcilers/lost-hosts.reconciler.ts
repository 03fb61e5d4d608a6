import { limits } from '@alcove/base';
import type { Reconciler } from '@alcove/jobs';
import type { ReconcilerParts } from './reconciler-parts';

/** Hosts that have been silent for longer than lease and margin: what they ran is gone, and may be started elsewhere. */
export function lostHosts<Scope>({ fleet, ledger }: ReconcilerParts<Scope>): Reconciler {
  return {
    name: 'hosts.lost',
    everyMs: limits.reconciler.everyMs,
    run: async () => {
      const report = { incarnations: 0 };
      for (const host of await fleet.loseSilent()) report.incarnations += await ledger.hostLost(host.id);
      return report;
    },
  };
}
