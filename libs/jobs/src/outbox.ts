import type { JobName, JobPayload } from '@alcove/contracts';
import type { SqlTx } from '@alcove/db';
import type { QueuedJob } from './queue';

export interface EnqueueOptions {
  /** Wall clock, milliseconds; the job is not dispatched earlier. */
  notBefore?: number;
}

export interface DispatchReport {
  /** How many entries the queue took. */
  taken: number;
  /** When the next entry is due (wall clock, milliseconds), null when none waits. */
  nextDueAt: number | null;
}

/**
 * The only way to enqueue: what is written here in a transaction becomes a job once the transaction has committed, and never when it rolls back. Also the
 * injection token. `Scope` is the open transaction: SqlTx for Postgres, MemoryScope in the simulator.
 */
export abstract class Outbox<Scope = SqlTx> {
  /** Writes a job down in the caller's transaction. The payload is checked against its schema. */
  abstract enqueue<N extends JobName>(scope: Scope, name: N, payload: JobPayload<N>, options?: EnqueueOptions): Promise<void>;
  /** Hands up to `batch` due entries to `take` and marks them once take has resolved. When take rejects, all of them stay. Others may run it at the same time. */
  abstract dispatch(batch: number, take: (jobs: QueuedJob[]) => Promise<void>): Promise<DispatchReport>;
  /** Forgets entries that were dispatched before this wall-clock time; returns how many. */
  abstract prune(before: number): Promise<number>;
}

/** What the in-memory implementations need of a transaction: to hear of its end. Undefined means that there is none and all is kept at once. */
export interface MemoryScope {
  onRollback(undo: () => void): void;
}
