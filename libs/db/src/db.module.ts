import { type DynamicModule, Module } from '@nestjs/common';
import { AdvisoryLocks } from './advisory-locks';
import { Db, type DbOptions } from './db';

/** Makes Db and AdvisoryLocks known to every module of the application and closes them when the application ends. */
@Module({})
export class DbModule {
  static forRoot(options: string | DbOptions): DynamicModule {
    const settings = typeof options === 'string' ? { url: options } : options;
    return {
      module: DbModule,
      global: true,
      providers: [
        { provide: Db, useFactory: () => new Db(settings) },
        { provide: AdvisoryLocks, useFactory: () => new AdvisoryLocks(settings.url) },
      ],
      exports: [Db, AdvisoryLocks],
    };
  }
}
