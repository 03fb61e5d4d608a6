import type { SqlTx } from '@alcove/db';
import type { SagaError, SagaOutputs } from './saga';

export const sagaStates = ['running', 'done', 'undoing', 'undone', 'stuck'] as const;
export type SagaState = (typeof sagaStates)[number];

/** One saga's row. Times are wall-clock milliseconds. */
export interface SagaRecord {
  readonly id: string;
  readonly tenantId: string;
  readonly name: string;
  readonly params: unknown;
  readonly state: SagaState;
  /** While running, the index of the step to do next; while undoing, of the step to undo next (-1: all are undone). */
  readonly step: number;
  readonly outputs: SagaOutputs;
  /** Failed or abandoned attempts of the current step. */
  readonly attempts: number;
  readonly notBefore: number | null;
  readonly deadlineAt: number;
  readonly error: SagaError | null;
}

export interface NewSaga {
  id: string;
  tenantId: string;
  name: string;
  params: unknown;
  deadlineAt: number;
  /** Whoever starts it and will advance it at once; null: a job is written to the outbox and a worker advances it. */
  lease: Lease | null;
}

/** The right to advance a saga. The token is new at each taking, so a process that lost its lease cannot write any more. */
export interface Lease {
  readonly token: string;
  readonly until: number;
}

export interface SagaProgress {
  state: SagaState;
  step: number;
  outputs: SagaOutputs;
  attempts: number;
  error: SagaError | null;
  /** Set: the lease ends and a job is written to the outbox for this time. Null: the lease is kept, or ended when the state is an end. */
  retryAt: number | null;
}

/** Where sagas are. Also the injection token. Implementations: Postgres and memory, under one contract suite. */
export abstract class SagaStore<Scope = SqlTx> {
  /** Writes a new saga in the caller's transaction. */
  abstract insert(scope: Scope, saga: NewSaga): Promise<void>;
  abstract find(id: string): Promise<SagaRecord | null>;
  /** Takes the lease of a saga that is running or undoing, free (or its lease has run out), and due; null otherwise. A lease that ran out counts as an attempt. */
  abstract acquire(id: string, lease: Lease): Promise<SagaRecord | null>;
  /** Prolongs a lease; false when it was lost. */
  abstract renew(id: string, lease: Lease): Promise<boolean>;
  /** Stores progress under the lease; false, and nothing stored, when it was lost. */
  abstract save(id: string, token: string, progress: SagaProgress): Promise<boolean>;
  /** Ids of open sagas that nobody holds and that have been due for `graceMs`: a starter crashed, or the queue lost its job. */
  abstract overdue(graceMs: number, limit: number): Promise<{ id: string; tenantId: string }[]>;
  /** Writes a job for a saga to the outbox, due now. */
  abstract wake(id: string, tenantId: string): Promise<void>;
  /** Puts a stuck saga back to undoing, with its attempts at zero and a job in the outbox; false when it is not stuck. */
  abstract unstick(id: string): Promise<boolean>;
  /** Forgets sagas that were done or undone before this time (wall clock, milliseconds); returns how many. Stuck ones are kept. */
  abstract prune(before: number): Promise<number>;
}
