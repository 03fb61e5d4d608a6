import type { JobName, JobPayload } from '@alcove/contracts';
import { jobNames } from './catalogue';
import type { JobContext } from './queue';

/** What is done with one kind of job. It must be safe to run twice: the queue delivers at least once. */
export interface JobProcessor<N extends JobName = JobName> {
  readonly job: N;
  process(payload: JobPayload<N>, context: JobContext): Promise<void>;
}

/** A processor of some job. */
export type AnyProcessor = { [N in JobName]: JobProcessor<N> }[JobName];

/** The processors of a worker cannot be used: it must not start. */
export class ProcessorsIncomplete extends Error {
  override readonly name = 'ProcessorsIncomplete';
}

/** One processor for each job of the catalogue. Throws ProcessorsIncomplete when a job has none, or two. */
export class ProcessorTable {
  readonly #byJob = new Map<JobName, AnyProcessor>();

  constructor(processors: readonly AnyProcessor[]) {
    for (const processor of processors) {
      if (this.#byJob.has(processor.job)) throw new ProcessorsIncomplete(`two processors for the job ${processor.job}`);
      this.#byJob.set(processor.job, processor);
    }
    const missing = jobNames.filter((name) => !this.#byJob.has(name));
    if (missing.length > 0) throw new ProcessorsIncomplete(`no processor for: ${missing.join(', ')}`);
  }

  /** Runs the processor of this job. */
  process<N extends JobName>(job: N, payload: JobPayload<N>, context: JobContext): Promise<void> {
    const processor = this.#byJob.get(job) as JobProcessor<N> | undefined;
    if (!processor) throw new ProcessorsIncomplete(`no processor for the job ${job}`);
    return processor.process(payload, context);
  }
}
