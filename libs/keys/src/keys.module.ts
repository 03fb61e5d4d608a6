import { type Clock, systemClock } from '@alcove/base';
import { Audit } from '@alcove/audit';
import { Db } from '@alcove/db';
import { FileKeyProvider } from '@alcove/vault';
import { type DynamicModule, Module } from '@nestjs/common';
import { KeysService } from './keys.service';

export interface KeysModuleOptions {
  /** The file that holds the root key. Read at start: a missing or open file keeps the application from starting. */
  rootKeyFile: string;
  clock?: Clock;
}

/** Makes KeysService known to every module. Needs DbModule and AuditModule. */
@Module({})
export class KeysModule {
  static forRoot({ rootKeyFile, clock = systemClock }: KeysModuleOptions): DynamicModule {
    const service = {
      provide: KeysService,
      inject: [Db, Audit],
      useFactory: async (db: Db, audit: Audit) => new KeysService(db, await FileKeyProvider.open(rootKeyFile), audit, { clock }),
    };
    return { module: KeysModule, global: true, providers: [service], exports: [KeysService] };
  }
}
