import { limits } from '@alcove/base';
import type { Reconciler } from '@alcove/jobs';
import type { RoomRecord } from '../room';
import { releasedBy } from '../sagas/hold';
import type { ReconcilerParts } from './reconciler-parts';

/**
 * A copy holds its source for as long as it is being made and somebody wants it: what may still be read for one that nobody waits for is thrown away. Pure; `copy`: its
 * row, null when there is none.
 */
export function isHolding(copy: RoomRecord | null): boolean {
  return copy?.state === 'provisioning' && copy.wanted !== 'gone';
}

/** Rooms that are held by copies that are not being made any more, because who made them died at the wrong moment: let go, and awake again if they were. */
export function staleHolds<Scope>({ store, mover }: ReconcilerParts<Scope>): Reconciler {
  return {
    name: 'rooms.held',
    everyMs: limits.reconciler.everyMs,
    run: async () => {
      const report = { released: 0 };
      for (const { tenantId, id, holders } of await store.held(limits.reconciler.batch)) {
        for (const holder of holders) {
          if (isHolding((await store.find(tenantId, holder))?.room ?? null)) continue;
          await mover.edit({ tenantId, roomId: id }, 'system', 'room.release', releasedBy(holder));
          report.released += 1;
        }
      }
      return report;
    },
  };
}
