import type { Reconciler } from '@alcove/jobs';
import { expiredRooms } from './expired-rooms.reconciler';
import { keyHolds } from './key-holds.reconciler';
import { lostHosts } from './lost-hosts.reconciler';
import { orphanIncarnations } from './orphan-incarnations.reconciler';
import type { ReconcilerParts } from './reconciler-parts';
import { staleHolds } from './stale-holds.reconciler';
import { stuckMoves } from './stuck-moves.reconciler';
import { usersDestroying } from './users-destroying.reconciler';
import { wantedRooms } from './wanted-rooms.reconciler';

/** Every reconciler of this lib; the worker's clock runs them. */
export function roomReconcilers<Scope>(parts: ReconcilerParts<Scope>): Reconciler[] {
  return [wantedRooms(parts), expiredRooms(parts), staleHolds(parts), keyHolds(parts), stuckMoves(parts), lostHosts(parts), orphanIncarnations(parts), usersDestroying(parts)];
}
