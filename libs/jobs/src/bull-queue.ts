import { limits, type Log } from '@alcove/base';
import {
  type BackendFactory, type ConnectionOptions, createPostgresBackend, createRedisBackend, type IQueueBackend, type Job, type JobProgress, type JobsOptions, type PostgresConnectionOptions,
  Queue as BullMqQueue, Worker as BullMqWorker, type WorkerOptions,
} from 'bullmq';
import { isJobName, jobCatalogue, parsePayload, type QueueName } from './catalogue';
import { type Consumption, type JobHandler, JobQueue, type QueuedJob, queuedJob } from './queue';

/** Where BullMQ keeps its jobs. `postgres`: in a schema of the same database (the default); `redis`: a redis:// or rediss:// address, and the beginning of every key's name. */
export type QueueBackend = { kind: 'postgres'; url: string; schema?: string } | { kind: 'redis'; url: string; prefix?: string };

/** The schema of BullMQ's tables on Postgres. */
export const defaultQueueSchema = 'bullmq';

export interface BullQueueOptions {
  log: Log;
  /** How long a worker that died keeps a job, milliseconds. Default 30 000. */
  lockMs?: number;
}

const keepDoneSeconds = 3600;
const keepFailedSeconds = 24 * 3600;
/** A job that goes down with its worker this often is given up; what it was for is found by a reconciler. */
const stalledMax = 10;

type AnyBackend = BackendFactory<IQueueBackend, unknown>;
type Queue = BullMqQueue<unknown, void, string, unknown, void, string, IQueueBackend, unknown>;
type Worker = BullMqWorker<unknown, void, string, IQueueBackend, JobProgress, unknown>;

interface Connections {
  factory: AnyBackend;
  /** For adding: fails rather than waits when the store is away, because a transaction is open meanwhile. */
  forAdding: PostgresConnectionOptions | ConnectionOptions;
  /** What all keys begin with on Redis. */
  prefix: string;
  /** For working: waits until the store is back. */
  forWorking: PostgresConnectionOptions | ConnectionOptions;
}

/** The port on BullMQ 6, with Postgres or Redis behind it. The backend is given to each queue and worker, so that both can live in one process. */
export class BullQueue extends JobQueue {
  readonly #connections: Connections;
  readonly #log: Log;
  readonly #lockMs: number;
  readonly #queues = new Map<QueueName, Promise<Queue>>();

  constructor(backend: QueueBackend, options: BullQueueOptions) {
    super();
    this.#connections = connectionsOf(backend);
    this.#log = options.log;
    this.#lockMs = options.lockMs ?? 30_000;
  }

  async add(job: QueuedJob): Promise<void> {
    const { queue: name, attempts } = jobCatalogue[job.name];
    const queue = await this.#open(name);
    const options: JobsOptions = {
      jobId: job.id,
      attempts,
      backoff: { type: 'exponential', delay: limits.retry.firstDelayMs },
      // Kept for a while, because a job is known by its id only as long as it is kept.
      removeOnComplete: { age: keepDoneSeconds },
      removeOnFail: { age: keepFailedSeconds },
      stackTraceLimit: 1,
    };
    await queue.add(job.name, job.payload, options);
  }

  async consume(name: QueueName, handler: JobHandler, concurrency: number): Promise<Consumption> {
    const options: WorkerOptions<unknown> = {
      connection: this.#connections.forWorking,
      prefix: this.#connections.prefix,
      concurrency,
      lockDuration: this.#lockMs,
      stalledInterval: Math.ceil(this.#lockMs / 2),
      maxStalledCount: stalledMax,
    };
    const worker: Worker = new BullMqWorker(name, (job: Job) => handle(job, handler), options, this.#connections.factory);
    worker.on('error', (error) => this.#log.warn({ err: error, queue: name }, 'the queue reported an error'));
    await worker.waitUntilReady();
    return { stop: () => worker.close() };
  }

  async close(): Promise<void> {
    const queues = [...this.#queues.values()];
    this.#queues.clear();
    await Promise.all(queues.map((queue) => queue.then((opened) => opened.close()).catch(() => undefined)));
  }

  /** Nest's hook: the last one, when nothing is served any more. */
  onApplicationShutdown(): Promise<void> {
    return this.close();
  }

  #open(name: QueueName): Promise<Queue> {
    const known = this.#queues.get(name);
    if (known) return known;
    const opening = this.#connect(name);
    this.#queues.set(name, opening);
    // BullMQ remembers a failed first connection for ever, so that queue is thrown away.
    opening.catch(() => this.#queues.delete(name));
    return opening;
  }

  async #connect(name: QueueName): Promise<Queue> {
    const queue: Queue = new BullMqQueue(name, { connection: this.#connections.forAdding, prefix: this.#connections.prefix }, this.#connections.factory);
    queue.on('error', (error) => this.#log.warn({ err: error, queue: name }, 'the queue reported an error'));
    try {
      await queue.waitUntilReady();
      return queue;
    } catch (error) {
      await queue.close().catch(() => undefined);
      throw error;
    }
  }
}

function connectionsOf(backend: QueueBackend): Connections {
  if (backend.kind === 'redis') {
    return {
      factory: createRedisBackend as unknown as AnyBackend,
      prefix: backend.prefix ?? 'alcove',
      forAdding: { url: backend.url, maxRetriesPerRequest: 1, enableOfflineQueue: true, connectTimeout: 3_000 },
      forWorking: { url: backend.url, maxRetriesPerRequest: null },
    };
  }
  const connection = { connectionString: backend.url, schema: backend.schema ?? defaultQueueSchema, application_name: 'alcove-queue', connectionTimeoutMillis: 3_000 };
  return { factory: createPostgresBackend as unknown as AnyBackend, prefix: 'alcove', forAdding: { ...connection, max: 2 }, forWorking: { ...connection, max: 4 } };
}

async function handle(job: Job, handler: JobHandler): Promise<void> {
  if (!isJobName(job.name)) throw new Error(`the job ${job.name} is not of the catalogue`);
  const payload = parsePayload(job.name, job.data);
  await handler(queuedJob(job.id ?? '', job.name, payload), { jobId: job.id ?? '', attempt: job.attemptsMade + 1 });
}
