import type { Clock, Log } from '@alcove/base';
import { Problem } from '@alcove/contracts';
import { jobCatalogue, queueConcurrency, queueNames } from './catalogue';
import { type AnyProcessor, ProcessorTable } from './processors';
import type { Consumption, JobContext, JobQueue, QueuedJob } from './queue';

/** Runs the processors of one process. */
export class JobWorker {
  readonly #queue: JobQueue;
  readonly #clock: Clock;
  readonly #log: Log;
  #consumptions: Consumption[] = [];

  constructor(queue: JobQueue, options: { clock: Clock; log: Log }) {
    this.#queue = queue;
    this.#clock = options.clock;
    this.#log = options.log;
  }

  /** Starts every queue. Throws ProcessorsIncomplete, before anything starts, unless each job has exactly one processor. */
  async start(processors: readonly AnyProcessor[]): Promise<void> {
    const table = new ProcessorTable(processors);
    for (const name of queueNames) {
      this.#consumptions.push(await this.#queue.consume(name, (job, context) => this.#process(table, job, context), queueConcurrency[name]));
    }
  }

  /** Takes no more jobs; resolves when those that run have ended. */
  async stop(): Promise<void> {
    const consumptions = this.#consumptions;
    this.#consumptions = [];
    await Promise.all(consumptions.map((consumption) => consumption.stop()));
  }

  /** Nest's hook: the first one, so that nothing new begins. */
  onModuleDestroy(): Promise<void> {
    return this.stop();
  }

  async #process(table: ProcessorTable, job: QueuedJob, context: JobContext): Promise<void> {
    const { timeoutMs } = jobCatalogue[job.name];
    const over = new AbortController();
    const tooLong = this.#clock.sleep(timeoutMs, over.signal).then(
      () => {
        throw new Problem('unavailable', { detail: `the job ${job.name} took longer than ${timeoutMs} ms` });
      },
      () => undefined,
    );
    try {
      await Promise.race([table.process(job.name, job.payload, context), tooLong]);
    } catch (error) {
      this.#log.warn({ err: error, job: job.name, id: job.id, attempt: context.attempt }, 'a job failed');
      throw error;
    } finally {
      over.abort();
    }
  }
}

