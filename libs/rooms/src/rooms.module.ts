import { type Clock, createLog, type Log, systemClock } from '@alcove/base';
import { Audit } from '@alcove/audit';
import { Db, Notices } from '@alcove/db';
import { FleetService, HostClient } from '@alcove/fleet';
import { Users } from '@alcove/identity';
import { Outbox, ReconcilerDriver, SagaRunner } from '@alcove/jobs';
import { Erasures, KeysService, TenantKeys } from '@alcove/keys';
import { type DynamicModule, Module } from '@nestjs/common';
import { IdentityOwners, KeysSecrets } from './adapters';
import { assembleRooms, type AssembledRooms } from './assemble';
import { RoomMover } from './room-mover';
import { RoomUsers } from './room-users';
import { RoomsPurge } from './rooms-purge';
import { RoomsService } from './rooms.service';
import { RoomsStore } from './rooms.store';
import { PostgresRoomsStore, roomChannel } from './rooms.store.postgres';

export interface RoomsModuleOptions {
  clock?: Clock;
  log?: Log;
  /** The template of a room whose creator names none. Default `default`. */
  defaultTemplate?: string;
}

const ASSEMBLED = Symbol('ASSEMBLED_ROOMS');
const LIBS = Symbol('ROOMS_LIBS');

/** The libs that rooms stand on, as Nest has them. */
interface Libs {
  readonly db: Db;
  readonly notices: Notices;
  readonly audit: Audit;
  readonly users: Users;
  readonly keys: KeysService;
  readonly tenantKeys: TenantKeys;
  readonly erasures: Erasures;
  readonly outbox: Outbox;
  readonly runner: SagaRunner;
  readonly reconcilers: ReconcilerDriver;
  readonly fleet: FleetService;
  readonly hosts: HostClient;
}

/**
 * Makes RoomsService, RoomMover, RoomUsers and RoomsStore known to every module, registers the sagas with the SagaRunner, the reconcilers with the
 * ReconcilerDriver and the ledger with the FleetService. Needs the modules of db, audit, identity, keys, jobs and fleet.
 */
@Module({})
export class RoomsModule {
  static forRoot(options: RoomsModuleOptions = {}): DynamicModule {
    return {
      module: RoomsModule,
      global: true,
      providers: [
        {
          provide: LIBS,
          inject: [Db, Notices, Audit, Users, KeysService, TenantKeys, Erasures, Outbox, SagaRunner, ReconcilerDriver, FleetService, HostClient],
          useFactory: (db: Db, notices: Notices, audit: Audit, users: Users, keys: KeysService, tenantKeys: TenantKeys, erasures: Erasures, outbox: Outbox, runner: SagaRunner, reconcilers: ReconcilerDriver, fleet: FleetService, hosts: HostClient): Libs => ({
            db, notices, audit, users, keys, tenantKeys, erasures, outbox, runner, reconcilers, fleet, hosts,
          }),
        },
        { provide: RoomsStore, inject: [Db], useFactory: (db: Db) => new PostgresRoomsStore(db) },
        { provide: ASSEMBLED, inject: [LIBS, RoomsStore], useFactory: (libs: Libs, store: RoomsStore) => assemble(libs, store, options) },
        { provide: RoomsService, inject: [ASSEMBLED], useFactory: ({ service }: AssembledRooms) => service },
        { provide: RoomMover, inject: [ASSEMBLED], useFactory: ({ mover }: AssembledRooms) => mover },
        { provide: RoomUsers, inject: [ASSEMBLED], useFactory: ({ users }: AssembledRooms) => users },
      ],
      exports: [RoomsService, RoomMover, RoomUsers, RoomsStore],
    };
  }
}

function assemble(libs: Libs, store: RoomsStore, options: RoomsModuleOptions): AssembledRooms {
  const { clock = systemClock, log = createLog('rooms'), defaultTemplate } = options;
  const { db, notices, audit, users, keys, tenantKeys, erasures, outbox, runner, fleet, hosts } = libs;
  const rooms = assembleRooms({
    store,
    runner,
    outbox,
    audit,
    owners: new IdentityOwners(db, users, erasures),
    secrets: new KeysSecrets(keys, tenantKeys),
    inTransaction: (tenantId, work) => db.withTenantSql(tenantId, work),
    fleet,
    hosts,
    clock,
    log,
    ...(defaultTemplate !== undefined && { defaultTemplate }),
  });
  erasures.register(new RoomsPurge(db, rooms.users));
  libs.reconcilers.register(...rooms.reconcilers);
  notices.listen(roomChannel, { onNotice: (payload) => rooms.watchers.heard(payload), onGap: () => rooms.watchers.mayHaveMissed() });
  return rooms;
}
