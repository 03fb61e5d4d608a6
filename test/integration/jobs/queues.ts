/** The queues that the suites run on: memory and Postgres always, Redis when TEST_REDIS_PORT names one. Each suite has its own schema or key prefix. */
import { newId, silentLog, systemClock } from '@alcove/base';
import { type AnyProcessor, BullQueue, jobNames, type JobQueue, MemoryQueue, migrateJobs, type QueueBackend } from '@alcove/jobs';
import { appUrl, asOwner, ownerUrl } from '../db/database';

/** Short, so that a killed worker's jobs are handed on while the test waits. */
export const lockMs = 1_000;

export interface QueueUnderTest {
  /** A new connection to the same queue, as another process would have it. */
  open(): JobQueue;
  /** Null for memory. */
  backend: QueueBackend | null;
  remove(): Promise<void>;
}

async function onPostgres(): Promise<QueueUnderTest> {
  const schema = newId('queue');
  await migrateJobs(ownerUrl(), schema);
  const backend: QueueBackend = { kind: 'postgres', url: appUrl(), schema };
  return { open: () => new BullQueue(backend, { log: silentLog, lockMs }), backend, remove: async () => void (await asOwner(`drop schema "${schema}" cascade`)) };
}

async function onRedis(): Promise<QueueUnderTest> {
  const backend: QueueBackend = { kind: 'redis', url: `redis://127.0.0.1:${process.env['TEST_REDIS_PORT']}`, prefix: newId('queue') };
  return { open: () => new BullQueue(backend, { log: silentLog, lockMs }), backend, remove: async () => undefined };
}

async function inMemory(): Promise<QueueUnderTest> {
  const queue = new MemoryQueue(systemClock);
  return { open: () => queue, backend: null, remove: async () => undefined };
}

export const bullQueues: [string, () => Promise<QueueUnderTest>][] = [['Postgres', onPostgres]];
if (process.env['TEST_REDIS_PORT']) bullQueues.push(['Redis', onRedis]);
export const allQueues: [string, () => Promise<QueueUnderTest>][] = [['memory', inMemory], ...bullQueues];

/** Processors that do nothing, one for every job but saga.advance and room.reconcile: a worker does not start without a processor for each. */
export const idle: AnyProcessor[] = jobNames
  .filter((job) => job !== 'saga.advance' && job !== 'room.reconcile')
  .map((job) => ({ job, process: async () => undefined }));
