import { type Clock, type Log, silentLog, systemClock } from '@alcove/base';
import { Audit } from '@alcove/audit';
import { Db } from '@alcove/db';
import { Users } from '@alcove/identity';
import { Outbox } from '@alcove/jobs';
import { Erasures, KeysService, UserRotations } from '@alcove/keys';
import { type DynamicModule, Module } from '@nestjs/common';
import { MemoryService } from './memory.service';
import { QdrantPoints, type QdrantServer } from './qdrant/points';

export interface MemoryModuleOptions {
  /** Null: no tenant may choose it. */
  qdrant: QdrantServer | null;
  clock?: Clock;
  log?: Log;
}

/** Makes MemoryService known to every module. Needs DbModule, AuditModule, JobsModule, IdentityModule and KeysModule. */
@Module({})
export class MemoryModule {
  static forRoot({ qdrant, clock = systemClock, log = silentLog }: MemoryModuleOptions): DynamicModule {
    const service = {
      provide: MemoryService,
      inject: [Db, KeysService, Users, Audit, Outbox, Erasures, UserRotations],
      useFactory: (db: Db, keys: KeysService, users: Users, audit: Audit, outbox: Outbox, erasures: Erasures, rotations: UserRotations) => {
        const memory = new MemoryService({ db, keys, users, audit, outbox, clock, log, qdrant: qdrant && new QdrantPoints(qdrant) });
        erasures.register(memory.erasePurge());
        rotations.register(memory.reseal());
        return memory;
      },
    };
    return { module: MemoryModule, global: true, providers: [service], exports: [MemoryService] };
  }
}
