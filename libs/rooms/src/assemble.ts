import type { Clock, Log, Random } from '@alcove/base';
import type { SqlTx } from '@alcove/db';
import type { FleetService, HostClient } from '@alcove/fleet';
import type { Outbox, Reconciler, SagaRunner } from '@alcove/jobs';
import type { InTransaction, RoomAudit, RoomOwners, RoomSecrets } from './ports';
import { KeysAhead } from './keys-ahead';
import { roomReconcilers } from './reconcilers/room-reconcilers';
import { RoomMover } from './room-mover';
import { RoomUsers } from './room-users';
import { RoomWaiter } from './room-waiter';
import { RoomWatchers } from './room-watchers';
import { RoomsLedger } from './rooms.ledger';
import { RoomsService } from './rooms.service';
import type { RoomsStore } from './rooms.store';
import { roomSagas } from './sagas/room-sagas';

/** What rooms stand on: real in the processes, in memory in the simulator. */
export interface RoomsPorts<Scope = SqlTx> {
  readonly store: RoomsStore<Scope>;
  readonly runner: SagaRunner<Scope>;
  readonly outbox: Outbox<Scope>;
  readonly audit: RoomAudit<Scope>;
  readonly owners: RoomOwners<Scope>;
  readonly secrets: RoomSecrets;
  readonly inTransaction: InTransaction<Scope>;
  readonly fleet: FleetService;
  readonly hosts: HostClient;
  readonly clock: Clock;
  readonly log: Log;
  readonly random?: Random;
  readonly defaultTemplate?: string;
}

export interface AssembledRooms<Scope = SqlTx> {
  readonly service: RoomsService<Scope>;
  readonly mover: RoomMover<Scope>;
  readonly users: RoomUsers<Scope>;
  readonly watchers: RoomWatchers;
  readonly reconcilers: readonly Reconciler[];
}

/** How long keys that were fetched ahead wait for their move, milliseconds. */
const keysAheadMs = 2_000;

/** Puts one process's rooms together: registers the sagas with the runner and the ledger with the fleet. */
export function assembleRooms<Scope = SqlTx>(ports: RoomsPorts<Scope>): AssembledRooms<Scope> {
  const { store, runner, outbox, audit, owners, inTransaction, fleet, hosts, clock, log, random, defaultTemplate = 'default' } = ports;
  const secrets = new KeysAhead(ports.secrets, () => clock.sleep(keysAheadMs));
  const watchers = new RoomWatchers();
  const mover = new RoomMover<Scope>({ store, runner, outbox, audit, fleet, watchers, clock, log });
  const waiter = new RoomWaiter<Scope>({ store, watchers, clock });
  mover.learn(roomSagas({ mover, store, fleet, hosts, secrets, waiter }));
  const ledger = new RoomsLedger<Scope>({ store, mover, clock, log });
  fleet.follow(ledger);
  const users = new RoomUsers<Scope>({ store, mover, owners, outbox, audit, inTransaction, log });
  const service = new RoomsService<Scope>({ store, mover, fleet, hosts, secrets, owners, users, waiter, watchers, clock, defaultTemplate, ...(random && { random }) });
  const reconcilers = roomReconcilers<Scope>({ store, mover, fleet, hosts, ledger, users, secrets, clock, log });
  return { service, mover, users, watchers, reconcilers };
}
