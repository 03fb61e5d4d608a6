import { type DynamicModule, Module } from '@nestjs/common';
import { AdvisoryLocks } from './advisory-locks';
import { Db, type DbOptions } from './db';
import { Notices } from './notices';

/** Makes Db, AdvisoryLocks and Notices known to every module of the application and closes them when the application ends. */
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
        { provide: Notices, useFactory: () => new Notices(settings.url, settings.clock) },
      ],
      exports: [Db, AdvisoryLocks, Notices],
    };
  }
}
