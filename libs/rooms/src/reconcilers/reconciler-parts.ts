import type { Clock, Log } from '@alcove/base';
import type { FleetService, HostClient, IncarnationLedger } from '@alcove/fleet';
import type { RoomSecrets } from '../ports';
import type { RoomMover } from '../room-mover';
import type { RoomsStore } from '../rooms.store';

/** What the reconcilers look at and act through. */
export interface ReconcilerParts<Scope> {
  readonly store: RoomsStore<Scope>;
  readonly mover: Pick<RoomMover<Scope>, 'apply' | 'edit' | 'reconcile'>;
  readonly fleet: FleetService;
  readonly hosts: HostClient;
  readonly ledger: IncarnationLedger;
  readonly users: { finishDestroying(): Promise<{ destroyed: number; waiting: number }> };
  readonly secrets: Pick<RoomSecrets, 'revoked'>;
  readonly clock: Clock;
  readonly log: Log;
}
