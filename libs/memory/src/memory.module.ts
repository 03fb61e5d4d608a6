import { type Clock, type Log, silentLog, systemClock } from '@alcove/base';
import { Audit } from '@alcove/audit';
import { Db } from '@alcove/db';
import { Users } from '@alcove/identity';
import { Outbox } from '@alcove/jobs';
import { Erasures, KeysService } from '@alcove/keys';
import { type DynamicModule, Module } from '@nestjs/common';
import { MemoryService } from './memory.service';

export interface MemoryModuleOptions {
  clock?: Clock;
  log?: Log;
}

/** Makes MemoryService known to every module. Needs DbModule, AuditModule, JobsModule, IdentityModule and KeysModule. */
@Module({})
export class MemoryModule {
  static forRoot({ clock = systemClock, log = silentLog }: MemoryModuleOptions = {}): DynamicModule {
    const service = {
      provide: MemoryService,
      inject: [Db, KeysService, Users, Audit, Outbox, Erasures],
      useFactory: (db: Db, keys: KeysService, users: Users, audit: Audit, outbox: Outbox, erasures: Erasures) => {
        const memory = new MemoryService({ db, keys, users, audit, outbox, clock, log });
        erasures.register(memory.erasePurge());
        return memory;
      },
    };
    return { module: MemoryModule, global: true, providers: [service], exports: [MemoryService] };
  }
}
