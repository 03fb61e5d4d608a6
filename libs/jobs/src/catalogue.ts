import { type JobName, type JobPayload, jobPayloads } from '@alcove/contracts';

/** The queues. One for moves that somebody may be waiting for, one for upkeep, so that the second cannot delay the first. */
export const queueNames = ['sagas', 'upkeep'] as const;
export type QueueName = (typeof queueNames)[number];

export interface JobSettings {
  queue: QueueName;
  /** How long one attempt may take before it counts as failed, milliseconds. */
  timeoutMs: number;
  /** How often it is tried in all. After that a reconciler must find what is left. */
  attempts: number;
}

/** Where each job goes. A job name without a line here does not compile. */
export const jobCatalogue: { readonly [N in JobName]: JobSettings } = {
  'saga.advance': { queue: 'sagas', timeoutMs: 10 * 60_000, attempts: 5 },
  'room.reconcile': { queue: 'upkeep', timeoutMs: 60_000, attempts: 3 },
  'user.destroy': { queue: 'upkeep', timeoutMs: 5 * 60_000, attempts: 8 },
  'memory.consolidate': { queue: 'upkeep', timeoutMs: 5 * 60_000, attempts: 5 },
  'memory.embed': { queue: 'upkeep', timeoutMs: 10 * 60_000, attempts: 5 },
  'memory.index': { queue: 'upkeep', timeoutMs: 10 * 60_000, attempts: 5 },
};

export const jobNames = Object.keys(jobCatalogue) as JobName[];

/** Most jobs of one queue that one worker runs at once. */
export const queueConcurrency: { readonly [Q in QueueName]: number } = { sagas: 32, upkeep: 8 };

/** Checks a payload against its schema. Throws a ZodError: a payload that does not fit is a mistake of the code that wrote it. */
export function parsePayload<N extends JobName>(name: N, payload: unknown): JobPayload<N> {
  return jobPayloads[name].parse(payload) as JobPayload<N>;
}

export function isJobName(name: string): name is JobName {
  return Object.hasOwn(jobCatalogue, name);
}
