import { type Clock, limits } from '@alcove/base';
import { jobCatalogue, type QueueName } from './catalogue';
import { type Consumption, type JobHandler, JobQueue, type QueuedJob } from './queue';

interface Entry {
  job: QueuedJob;
  attempts: number;
  dueAt: number;
}

interface Consumer {
  handler: JobHandler;
  concurrency: number;
  running: Set<Promise<void>>;
  stopped: AbortController;
}

/** The queue of the simulator: no threads, no real time, so that one seed replays. It remembers every id. */
export class MemoryQueue extends JobQueue {
  readonly #clock: Clock;
  readonly #known = new Set<string>();
  readonly #waiting: { readonly [Q in QueueName]: Entry[] } = { sagas: [], upkeep: [] };
  readonly #consumers = new Map<QueueName, Consumer>();

  constructor(clock: Clock) {
    super();
    this.#clock = clock;
  }

  async add(job: QueuedJob): Promise<void> {
    if (this.#known.has(job.id)) return;
    this.#known.add(job.id);
    const { queue } = jobCatalogue[job.name];
    this.#waiting[queue].push({ job: structuredClone(job), attempts: 0, dueAt: this.#clock.now() });
    this.#pump(queue);
  }

  async consume(queue: QueueName, handler: JobHandler, concurrency: number): Promise<Consumption> {
    if (this.#consumers.has(queue)) throw new TypeError(`the queue ${queue} has a consumer`);
    const consumer: Consumer = { handler, concurrency, running: new Set(), stopped: new AbortController() };
    this.#consumers.set(queue, consumer);
    this.#pump(queue);
    return {
      stop: async () => {
        consumer.stopped.abort();
        this.#consumers.delete(queue);
        await Promise.all(consumer.running);
      },
    };
  }

  async close(): Promise<void> {
    for (const consumer of this.#consumers.values()) consumer.stopped.abort();
    this.#consumers.clear();
  }

  /** Loses everything that waits and every id, as a queue without a disk does when it restarts. */
  lose(): void {
    this.#known.clear();
    for (const entries of Object.values(this.#waiting)) entries.length = 0;
  }

  /** Starts what is due, as far as there are hands. */
  #pump(queue: QueueName): void {
    const consumer = this.#consumers.get(queue);
    if (!consumer) return;
    const entries = this.#waiting[queue];
    const now = this.#clock.now();
    while (consumer.running.size < consumer.concurrency) {
      const index = entries.findIndex((entry) => entry.dueAt <= now);
      const [entry] = index < 0 ? [] : entries.splice(index, 1);
      if (!entry) return;
      const run = this.#run(queue, entry, consumer).finally(() => {
        consumer.running.delete(run);
        this.#pump(queue);
      });
      consumer.running.add(run);
    }
  }

  async #run(queue: QueueName, entry: Entry, consumer: Consumer): Promise<void> {
    entry.attempts += 1;
    try {
      await consumer.handler(structuredClone(entry.job), { jobId: entry.job.id, attempt: entry.attempts });
    } catch {
      if (entry.attempts >= jobCatalogue[entry.job.name].attempts) return;
      const dueAt = this.#clock.now() + limits.retry.firstDelayMs * 2 ** (entry.attempts - 1);
      this.#waiting[queue].push({ ...entry, dueAt });
      // Whoever consumes then will take it; not waited for here, so that stop() is not held up by a delay.
      void this.#pumpAt(queue, dueAt);
    }
  }

  /** A timer may ring a moment before the wall clock says that it is time. */
  async #pumpAt(queue: QueueName, dueAt: number): Promise<void> {
    for (let left = dueAt - this.#clock.now(); left > 0; left = dueAt - this.#clock.now()) await this.#clock.sleep(Math.ceil(left));
    this.#pump(queue);
  }
}
