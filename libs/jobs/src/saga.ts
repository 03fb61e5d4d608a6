import type { Clock, Log } from '@alcove/base';
import type { ProblemCode } from '@alcove/contracts';
import type { Json } from '@alcove/db';
import type { z } from 'zod';

export type SagaOutputs = { [step: string]: Json };

/** What a step gets. `attempt` is 1 at the first try; outputs are those of the steps that are done. */
export interface StepContext<P, O extends SagaOutputs = SagaOutputs> {
  readonly sagaId: string;
  readonly tenantId: string;
  readonly params: P;
  readonly outputs: Readonly<Partial<O>>;
  readonly attempt: number;
  readonly log: Log;
  readonly clock: Clock;
}

/**
 * One step. `do` and `undo` must be idempotent: after a crash they run again with the same params and outputs. A Problem with `retryAfterMs` means "later";
 * any other failure starts the undoing, which begins with the failed step itself, for it may have been half done. A step bounds its own waiting.
 */
export interface SagaStep<P, O extends SagaOutputs = SagaOutputs> {
  readonly name: string;
  /** Resolves with what later steps need, as JSON; it is stored before the next step starts. */
  do(context: StepContext<P, O>): Promise<Json | void>;
  /** Takes back what `do` did, also when it did nothing or only half. */
  undo?(context: StepContext<P, O>): Promise<void>;
}

/** Why a saga was undone. The code of a Problem, or `internal` for anything else. */
export interface SagaError {
  readonly code: ProblemCode;
  readonly detail: string | null;
  readonly step: string | null;
}

export type SagaEnd = 'done' | 'undone' | 'stuck';

export interface SettledContext<P, O extends SagaOutputs = SagaOutputs> extends StepContext<P, O> {
  readonly end: SagaEnd;
  readonly error: SagaError | null;
}

export interface Saga<P, O extends SagaOutputs = SagaOutputs> {
  readonly name: string;
  /** Stored as JSON and parsed again wherever the saga goes on. No secrets: it lies in the table in the clear. */
  readonly params: z.ZodType<P>;
  /** From start to the moment when, not being done, it is undone instead. Milliseconds. */
  readonly deadlineMs: number;
  readonly steps: readonly SagaStep<P, O>[];
  /** Told of the end before the end is stored: at least once, so it must be idempotent. `stuck` may be followed by `undone` after somebody has helped. */
  readonly settled?: (context: SettledContext<P, O>) => Promise<void>;
}

/** Checks and names a saga. Step names must be unique: they are the keys of the outputs. Throws a TypeError when they are not. */
export function defineSaga<P, O extends SagaOutputs = SagaOutputs>(saga: Saga<P, O>): Saga<P, O> {
  const names = saga.steps.map((step) => step.name);
  if (names.length === 0) throw new TypeError(`saga ${saga.name} has no steps`);
  if (new Set(names).size !== names.length) throw new TypeError(`saga ${saga.name} has two steps of one name`);
  return saga;
}
