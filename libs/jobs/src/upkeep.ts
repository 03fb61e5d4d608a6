import { type Clock, limits } from '@alcove/base';
import type { SqlTx } from '@alcove/db';
import type { Outbox } from './outbox';
import type { JobProcessor } from './processors';
import type { Reconciler } from './reconciler-driver';
import type { SagaRunner } from './saga-runner';
import type { SagaStore } from './saga-store';

/** How long a saga that nobody holds is left to its starter or to the queue, milliseconds. */
const graceMs = 3_000;
const keepDispatchedMs = 24 * 3600_000;
const keepEndedSagasMs = 7 * 24 * 3600_000;

export interface UpkeepParts<Scope = SqlTx> {
  outbox: Outbox<Scope>;
  sagas: SagaStore<Scope>;
  clock: Clock;
}

/** The reconcilers of this lib: sagas that lost their process or their job are woken, and what is over is forgotten. */
export function jobsReconcilers<Scope>({ outbox, sagas, clock }: UpkeepParts<Scope>): Reconciler[] {
  return [
    {
      name: 'sagas.overdue',
      everyMs: limits.reconciler.everyMs,
      run: async () => {
        const overdue = await sagas.overdue(graceMs, limits.reconciler.batch);
        for (const { id, tenantId } of overdue) await sagas.wake(id, tenantId);
        return { woken: overdue.length };
      },
    },
    {
      name: 'jobs.prune',
      everyMs: 10 * 60_000,
      run: async () => {
        const entries = await outbox.prune(clock.now() - keepDispatchedMs);
        const ended = await sagas.prune(clock.now() - keepEndedSagasMs);
        return { entries, sagas: ended };
      },
    },
  ];
}

/** The processor of `saga.advance`. The outcome is in the saga's row, so there is nothing to report. */
export function sagaProcessor<Scope>(runner: SagaRunner<Scope>): JobProcessor<'saga.advance'> {
  return {
    job: 'saga.advance',
    process: async ({ sagaId }) => {
      await runner.advance(sagaId);
    },
  };
}
