import { Module, type DynamicModule } from '@nestjs/common';
import type { Clock, Log } from '@alcove/base';
import { AuditModule } from '@alcove/audit';
import { DbModule } from '@alcove/db';
import { FleetModule } from '@alcove/fleet';
import { IdentityModule } from '@alcove/identity';
import { JobsModule, queueBackend } from '@alcove/jobs';
import { KeysModule, keysOptions } from '@alcove/keys';
import { MemoryModule } from '@alcove/memory';
import { RoomsModule } from '@alcove/rooms';
import type { WorkerConfig } from './config';

/** The control plane's libs as the worker needs them: nobody is authenticated here. */
@Module({})
export class WorkerModule {
  static forRoot(config: WorkerConfig, clock: Clock, log: Log): DynamicModule {
    return {
      module: WorkerModule,
      imports: [
        DbModule.forRoot(config.databaseUrl.expose()),
        AuditModule.forRoot({ clock }),
        JobsModule.forRoot({ backend: queueBackend(config.queue, config.databaseUrl.expose()), clock, log }),
        IdentityModule.forRoot({ platformKeySha256: null, clock }),
        KeysModule.forRoot({ ...keysOptions(config.keys), clock, log }),
        FleetModule.forRoot({ tls: config.tls, clock, log }),
        MemoryModule.forRoot({ qdrant: config.qdrant, clock, log }),
        RoomsModule.forRoot({ clock, log }),
      ],
    };
  }
}
