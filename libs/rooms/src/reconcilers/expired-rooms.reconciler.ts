import { limits } from '@alcove/base';
import type { Reconciler } from '@alcove/jobs';
import type { ReconcilerParts } from './reconciler-parts';

/** Rooms whose time is over: put to sleep or destroyed by the very events that a caller's wish makes, and tried again if that fails. */
export function expiredRooms<Scope>({ store, mover, clock, log }: ReconcilerParts<Scope>): Reconciler {
  return {
    name: 'rooms.expired',
    everyMs: limits.reconciler.expiredEveryMs,
    run: async () => {
      const report = { ended: 0, refused: 0 };
      for (const room of await store.expired(clock.now(), limits.reconciler.batch)) {
        try {
          const applied = await mover.reconcile({ tenantId: room.tenantId, roomId: room.id });
          if (applied?.verdict.kind === 'move') report.ended += 1;
        } catch (error) {
          report.refused += 1;
          log.info({ err: error, roomId: room.id }, 'a room whose time is over cannot be ended yet');
        }
      }
      return report;
    },
  };
}
