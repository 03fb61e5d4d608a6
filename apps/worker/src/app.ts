import type { INestApplicationContext } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { createLog, systemClock, type Clock, type Log } from '@alcove/base';
import { IdempotencyKeys } from '@alcove/identity';
import { JobWorker, OutboxDispatcher, ReconcilerDriver, SagaRunner, sagaProcessor, type JobProcessor, type Reconciler } from '@alcove/jobs';
import { MemoryService } from '@alcove/memory';
import { RoomMover, RoomUsers } from '@alcove/rooms';
import type { JobName } from '@alcove/contracts';
import type { WorkerConfig } from './config';
import { destroyUser } from './processors/destroy-user.processor';
import { consolidateMemory, embedMemory, indexMemory } from './processors/memory.processors';
import { reconcileRoom } from './processors/reconcile-room.processor';
import { WorkerModule } from './worker.module';

/** A running worker. */
export interface Worker {
  readonly app: INestApplicationContext;
  /** Takes jobs, dispatches the outbox and runs the reconcilers from here on. Throws ProcessorsIncomplete unless each job has exactly one processor. */
  start(): Promise<void>;
  /** Takes no more work and resolves when what runs has ended. */
  close(): Promise<void>;
}

/** What a test replaces. */
export interface WorkerParts {
  readonly clock?: Clock;
  readonly log?: Log;
}

const pruneMs = 10 * 60_000;

function pruneIdempotencyKeys(keys: IdempotencyKeys): Reconciler {
  return { name: 'idempotency.prune', everyMs: pruneMs, run: async () => ({ removed: await keys.prune() }) };
}

/** Puts the worker together without starting it. Throws when a part cannot start, such as a root key file that others may read. */
export async function createWorker(config: WorkerConfig, parts: WorkerParts = {}): Promise<Worker> {
  const clock = parts.clock ?? systemClock;
  const log = parts.log ?? createLog('worker', config.logLevel);
  const app = await NestFactory.createApplicationContext(WorkerModule.forRoot(config, clock, log), { logger: false, abortOnError: false });
  const processors: { [N in JobName]: JobProcessor<N> } = {
    'saga.advance': sagaProcessor(app.get(SagaRunner)),
    'room.reconcile': reconcileRoom(app.get(RoomMover)),
    'user.destroy': destroyUser(app.get(RoomUsers)),
    'memory.consolidate': consolidateMemory(app.get(MemoryService)),
    'memory.embed': embedMemory(app.get(MemoryService)),
    'memory.index': indexMemory(app.get(MemoryService)),
  };
  const reconcilers = app.get(ReconcilerDriver);
  reconcilers.register(pruneIdempotencyKeys(app.get(IdempotencyKeys)), ...app.get(MemoryService).reconcilers());
  const start = async (): Promise<void> => {
    await app.get(JobWorker).start(Object.values(processors));
    app.get(OutboxDispatcher).start();
    reconcilers.start();
  };
  return { app, start, close: () => app.close() };
}
