import { type Clock, systemClock } from '@alcove/base';
import { type DynamicModule, Module } from '@nestjs/common';
import { Audit } from './audit';

/** Makes Audit known to every module of the application. */
@Module({})
export class AuditModule {
  static forRoot(options: { clock?: Clock } = {}): DynamicModule {
    return { module: AuditModule, global: true, providers: [{ provide: Audit, useFactory: () => new Audit(options.clock ?? systemClock) }], exports: [Audit] };
  }
}
