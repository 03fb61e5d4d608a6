import { limits } from '@alcove/base';
import type { Reconciler } from '@alcove/jobs';
import type { ReconcilerParts } from './reconciler-parts';

/**
 * Rooms whose tenant's key provider refuses its key are put on hold: those that run are put to sleep with the subkeys that their host still has, so nothing is lost, and come back by themselves when the
 * provider answers again.
 */
export function keyHolds<Scope>({ store, mover, secrets }: ReconcilerParts<Scope>): Reconciler {
  return {
    name: 'rooms.keys',
    everyMs: limits.reconciler.everyMs,
    run: async () => {
      const report = { held: 0, released: 0 };
      const refused = await secrets.revoked();
      if (refused.length > 0) {
        for (const { tenantId, id } of await store.offHold(refused, limits.reconciler.batch)) {
          await mover.edit({ tenantId, roomId: id }, 'system', 'room.hold', async () => ({ hold: 'key_unavailable' }));
          report.held += 1;
        }
      }
      for (const { tenantId, id } of await store.onHold(limits.reconciler.batch)) {
        if (refused.includes(tenantId)) continue;
        await mover.edit({ tenantId, roomId: id }, 'system', 'room.release', async () => ({ hold: null }));
        report.released += 1;
      }
      return report;
    },
  };
}
