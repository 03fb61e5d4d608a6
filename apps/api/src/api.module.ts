import { Module, type DynamicModule, type Provider } from '@nestjs/common';
import type { Clock, Log } from '@alcove/base';
import { AuditModule } from '@alcove/audit';
import { Db, DbModule } from '@alcove/db';
import { FleetModule } from '@alcove/fleet';
import { IdentityModule } from '@alcove/identity';
import { assertJobsReady, JobsModule, queueBackend } from '@alcove/jobs';
import { KeysModule, keysOptions } from '@alcove/keys';
import { MemoryModule } from '@alcove/memory';
import { countRooms, RoomsModule } from '@alcove/rooms';
import type { ApiConfig } from './config';
import { EventsController } from './controllers/events.controller';
import { FilesController } from './controllers/files.controller';
import { InRoomController } from './controllers/in-room.controller';
import { MemoryController } from './controllers/memory.controller';
import { PlatformController } from './controllers/platform.controller';
import { PortsController } from './controllers/ports.controller';
import { ProcessesController } from './controllers/processes.controller';
import { RoomsController } from './controllers/rooms.controller';
import { SnapshotsController } from './controllers/snapshots.controller';
import { TenantKeysController } from './controllers/tenant-keys.controller';
import { TenantsController } from './controllers/tenants.controller';
import { TerminalsController } from './controllers/terminals.controller';
import { UsersController } from './controllers/users.controller';
import { Metrics } from './door/metrics';
import { OpenCalls } from './door/open-calls';
import { Creation } from './e2b/creation';
import { E2bNotServedController } from './e2b/not-served.controller';
import { E2bSandboxes } from './e2b/sandboxes';
import { E2bSandboxesController } from './e2b/sandboxes.controller';
import { E2B_SETTINGS, type E2bSettings } from './e2b/settings';
import { E2bSnapshotsController } from './e2b/snapshots.controller';
import { E2bTemplates } from './e2b/templates';
import { E2bTemplatesController } from './e2b/templates.controller';
import { Readiness } from './readiness';
import { RoomCalls } from './streams/room-calls';
import { CLOCK, LOG } from './tokens';

/** The controllers of the public API; between them they handle every route of the table. */
export const controllers = [
  TenantsController, TenantKeysController, UsersController, RoomsController, SnapshotsController, EventsController, InRoomController, ProcessesController, TerminalsController, PortsController, FilesController, MemoryController, PlatformController,
];
/** And of E2B's face. */
export const e2bControllers = [E2bSandboxesController, E2bSnapshotsController, E2bTemplatesController, E2bNotServedController];

/** Everything the public API needs of the control plane's libs, put together. */
@Module({})
export class ApiModule {
  static forRoot(config: ApiConfig, clock: Clock, log: Log): DynamicModule {
    const backend = queueBackend(config.queue, config.databaseUrl.expose());
    const calls = new OpenCalls(clock);
    const providers: Provider[] = [
      { provide: CLOCK, useValue: clock },
      { provide: LOG, useValue: log },
      { provide: OpenCalls, useValue: calls },
      { provide: Metrics, useValue: new Metrics(() => calls.size) },
      {
        provide: Readiness,
        inject: [Db],
        useFactory: (db: Db) =>
          new Readiness(
            [
              { name: 'database', check: () => db.ping() },
              { name: 'queue', check: () => assertJobsReady(backend) },
            ],
            clock,
          ),
      },
      RoomCalls,
      { provide: E2B_SETTINGS, useValue: { domain: config.e2b?.domain ?? null, aliases: { base: config.e2b?.base ?? 'default' } } satisfies E2bSettings },
      E2bTemplates,
      E2bSandboxes,
      Creation,
    ];
    return {
      module: ApiModule,
      imports: [
        DbModule.forRoot(config.databaseUrl.expose()),
        AuditModule.forRoot({ clock }),
        JobsModule.forRoot({ backend, clock, log }),
        IdentityModule.forRoot({ platformKeySha256: config.platformKeySha256, countRooms, clock }),
        KeysModule.forRoot({ ...keysOptions(config.keys), clock, log }),
        FleetModule.forRoot({ tls: config.tls, clock, log }),
        MemoryModule.forRoot({ qdrant: config.qdrant, clock, log }),
        RoomsModule.forRoot({ clock, log }),
      ],
      controllers: [...controllers, ...e2bControllers],
      providers,
    };
  }
}
