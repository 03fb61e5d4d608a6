import type { JobName, JobPayload } from '@alcove/contracts';
import type { QueueName } from './catalogue';

interface QueuedJobOf<N extends JobName> {
  /** Made from the outbox row's id: the queue takes a second job of the same id as the first one. */
  id: string;
  name: N;
  payload: JobPayload<N>;
}

export type QueuedJob = { [N in JobName]: QueuedJobOf<N> }[JobName];

/** A job of this name and payload, which the caller has checked. */
export function queuedJob<N extends JobName>(id: string, name: N, payload: JobPayload<N>): QueuedJob {
  return { id, name, payload } as unknown as QueuedJob;
}

/** What a handler learns beside the payload. */
export interface JobContext {
  jobId: string;
  /** 1 for the first attempt. */
  attempt: number;
}

export type JobHandler = (job: QueuedJob, context: JobContext) => Promise<void>;

export interface Consumption {
  /** Takes no more jobs and resolves when those that run have ended. */
  stop(): Promise<void>;
}

/**
 * Wakes somebody up, and nothing more: the truth is in Postgres. Every job is delivered at least once (again after a crash of its worker), and tried as often as
 * its catalogue entry says. Also the injection token. Implementations: BullMQ (Postgres or Redis) and memory, under one contract suite.
 */
export abstract class JobQueue {
  /** Resolves when the queue has the job. A job whose id it has, or had within the last hour, is not added again. Rejects when the queue cannot be reached. */
  abstract add(job: QueuedJob): Promise<void>;
  /** Starts handing this queue's jobs to the handler, up to `concurrency` at once. A handler that rejects has its job tried again later. */
  abstract consume(queue: QueueName, handler: JobHandler, concurrency: number): Promise<Consumption>;
  /** Closes the connections. Consumptions must have been stopped. */
  abstract close(): Promise<void>;
}
