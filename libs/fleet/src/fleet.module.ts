import { type Clock, createLog, type Log, systemClock } from '@alcove/base';
import type { TlsIdentity } from '@alcove/contracts';
import { Db } from '@alcove/db';
import { type DynamicModule, Module } from '@nestjs/common';
import { FleetService } from './fleet.service';
import { HostClient } from './host-client';
import { HttpsHostClient } from './host-client.https';
import { HostsStore } from './hosts.store';
import { PostgresHostsStore } from './hosts.store.postgres';
import { TemplateTags } from './template-tags';

export interface FleetModuleOptions {
  /** The control plane's own certificate, which hosts demand, and the authority of theirs. */
  tls: TlsIdentity;
  clock?: Clock;
  log?: Log;
}

/** Makes FleetService, HostsStore, HostClient and TemplateTags known to every module. Needs DbModule; heartbeats also need RoomsModule, which brings the ledger. */
@Module({})
export class FleetModule {
  static forRoot({ tls, clock = systemClock, log = createLog('fleet') }: FleetModuleOptions): DynamicModule {
    return {
      module: FleetModule,
      global: true,
      providers: [
        { provide: HostsStore, inject: [Db], useFactory: (db: Db) => new PostgresHostsStore(db) },
        { provide: FleetService, inject: [HostsStore], useFactory: (store: HostsStore) => new FleetService(store, { clock, log }) },
        { provide: TemplateTags, inject: [Db], useFactory: (db: Db) => new TemplateTags(db, clock) },
        { provide: HostClient, useFactory: () => new HttpsHostClient(tls) },
      ],
      exports: [FleetService, HostsStore, HostClient, TemplateTags],
    };
  }
}
