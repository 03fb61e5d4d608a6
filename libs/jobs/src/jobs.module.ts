import { type Clock, createLog, type Log, systemClock } from '@alcove/base';
import { AdvisoryLocks, Db } from '@alcove/db';
import { type DynamicModule, Module } from '@nestjs/common';
import { BullQueue, type QueueBackend } from './bull-queue';
import { JobWorker } from './job-worker';
import { Outbox } from './outbox';
import { OutboxDispatcher } from './outbox-dispatcher';
import { PostgresOutbox } from './postgres-outbox';
import { PostgresSagaStore } from './postgres-saga-store';
import { JobQueue } from './queue';
import { ReconcilerDriver } from './reconciler-driver';
import { SagaRunner } from './saga-runner';
import { SagaStore } from './saga-store';
import { jobsReconcilers } from './upkeep';

export interface JobsModuleOptions {
  backend: QueueBackend;
  clock?: Clock;
  log?: Log;
}

/**
 * Makes Outbox, OutboxDispatcher, JobQueue, SagaStore, SagaRunner, JobWorker and ReconcilerDriver known to every module. Nothing runs by itself: the worker
 * start()s the dispatcher, the job worker and the driver; all of them stop when the application shuts down. Needs DbModule.
 */
@Module({})
export class JobsModule {
  static forRoot(options: JobsModuleOptions): DynamicModule {
    const { backend, clock = systemClock, log = createLog('jobs') } = options;
    return {
      module: JobsModule,
      global: true,
      providers: [
        { provide: JobQueue, useFactory: () => new BullQueue(backend, { log }) },
        { provide: Outbox, inject: [Db], useFactory: (db: Db) => new PostgresOutbox(db, clock, log) },
        { provide: OutboxDispatcher, inject: [Outbox, JobQueue], useFactory: (outbox: Outbox, queue: JobQueue) => new OutboxDispatcher(outbox, queue, { clock, log }) },
        { provide: SagaStore, inject: [Db, Outbox], useFactory: (db: Db, outbox: Outbox) => new PostgresSagaStore(db, outbox, clock) },
        { provide: SagaRunner, inject: [SagaStore], useFactory: (store: SagaStore) => new SagaRunner(store, { clock, log }) },
        { provide: JobWorker, inject: [JobQueue], useFactory: (queue: JobQueue) => new JobWorker(queue, { clock, log }) },
        {
          provide: ReconcilerDriver,
          inject: [AdvisoryLocks, Outbox, SagaStore],
          useFactory: (locks: AdvisoryLocks, outbox: Outbox, sagas: SagaStore) => {
            const driver = new ReconcilerDriver({ clock, log, locks });
            driver.register(...jobsReconcilers({ outbox, sagas, clock }));
            return driver;
          },
        },
      ],
      exports: [JobQueue, Outbox, OutboxDispatcher, SagaStore, SagaRunner, JobWorker, ReconcilerDriver],
    };
  }
}
