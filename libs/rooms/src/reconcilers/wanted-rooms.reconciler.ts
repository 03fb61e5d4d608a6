import { limits } from '@alcove/base';
import type { Reconciler } from '@alcove/jobs';
import type { ReconcilerParts } from './reconciler-parts';

/** Rooms that rest against a wish: put to sleep, woken or destroyed as was asked. */
export function wantedRooms<Scope>({ store, mover, log }: ReconcilerParts<Scope>): Reconciler {
  return {
    name: 'rooms.wanted',
    everyMs: limits.reconciler.everyMs,
    run: async () => {
      const report = { moved: 0, refused: 0 };
      for (const room of await store.wishing(limits.reconciler.batch)) {
        try {
          const applied = await mover.reconcile({ tenantId: room.tenantId, roomId: room.id });
          if (applied?.verdict.kind === 'move') report.moved += 1;
        } catch (error) {
          report.refused += 1;
          log.info({ err: error, roomId: room.id }, 'a wish cannot be honoured yet');
        }
      }
      return report;
    },
  };
}
