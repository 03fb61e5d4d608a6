import { type Clock, systemClock } from '@alcove/base';
import { Audit } from '@alcove/audit';
import { Db } from '@alcove/db';
import { type DynamicModule, Module } from '@nestjs/common';
import { IdempotencyKeys } from './idempotency';
import { IdentityService } from './identity.service';
import { type CountRooms, Users } from './users';

export interface IdentityModuleOptions {
  /** SHA-256 of the operator's key, 64 hex digits; null where nobody is authenticated, as in the worker. */
  platformKeySha256: string | null;
  countRooms?: CountRooms;
  clock?: Clock;
}

/** Makes IdentityService, Users and IdempotencyKeys known to every module. Needs DbModule and AuditModule. */
@Module({})
export class IdentityModule {
  static forRoot(options: IdentityModuleOptions): DynamicModule {
    const { platformKeySha256, countRooms, clock = systemClock } = options;
    return {
      module: IdentityModule,
      global: true,
      providers: [
        { provide: Users, useFactory: () => new Users({ clock, ...(countRooms && { countRooms }) }) },
        { provide: IdempotencyKeys, inject: [Db], useFactory: (db: Db) => new IdempotencyKeys(db, clock) },
        { provide: IdentityService, inject: [Db, Audit, Users], useFactory: (db: Db, audit: Audit, users: Users) => new IdentityService(db, audit, users, { platformKeySha256, clock }) },
      ],
      exports: [Users, IdempotencyKeys, IdentityService],
    };
  }
}
