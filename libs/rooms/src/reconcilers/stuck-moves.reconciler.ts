import { limits } from '@alcove/base';
import type { Reconciler } from '@alcove/jobs';
import type { ReconcilerParts } from './reconciler-parts';

/** Moves past their deadline: the room fails, from where it can be woken or destroyed. */
export function stuckMoves<Scope>({ store, mover, clock }: ReconcilerParts<Scope>): Reconciler {
  return {
    name: 'rooms.stuck',
    everyMs: limits.reconciler.everyMs,
    run: async () => {
      const report = { failed: 0 };
      for (const room of await store.overdue(clock.now(), limits.reconciler.batch)) {
        const applied = await mover.reconcile({ tenantId: room.tenantId, roomId: room.id });
        if (applied?.verdict.kind === 'move') report.failed += 1;
      }
      return report;
    },
  };
}
