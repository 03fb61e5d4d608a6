import { assert, type Clock, limits, type Log, newId, type Random, systemRandom } from '@alcove/base';
import type { SqlTx } from '@alcove/db';
import { retryDelay, sagaErrorOf } from './saga-failure';
import { LeaseKeeper } from './saga-lease';
import type { Saga, SagaEnd, SagaError, SagaOutputs, SagaStep, SettledContext, StepContext } from './saga';
import type { Lease, SagaProgress, SagaRecord, SagaStore } from './saga-store';

export interface SagaRunnerOptions {
  clock: Clock;
  log: Log;
  random?: Random;
  /** How long a process that died keeps others from going on, milliseconds. */
  leaseMs?: number;
  /** How often one step is tried. */
  stepAttempts?: number;
}

export interface StartOptions<P> {
  tenantId: string;
  params: P;
  /** True: a worker advances it, woken through the outbox. Otherwise the caller must advance() it right after the commit. */
  handOff?: boolean;
}

/** A saga that was written in a transaction; to be advanced after its commit, by the process that started it. */
export interface StartedSaga {
  readonly id: string;
  readonly lease: Lease | null;
  readonly record: SagaRecord;
}

export type SagaOutcome =
  | { readonly state: 'done'; readonly outputs: SagaOutputs }
  | { readonly state: 'undone' | 'stuck'; readonly outputs: SagaOutputs; readonly error: SagaError | null }
  /** A retry is written down for that wall-clock time. */
  | { readonly state: 'waiting'; readonly retryAt: number; readonly error: SagaError | null }
  /** Another process is at it, or it is not due. */
  | { readonly state: 'elsewhere' };

/** Ends the run of this process without an outcome: the lease is lost, so somebody else decides. */
class LeaseLost extends Error {}

type AnySaga = Saga<unknown, SagaOutputs>;

/**
 * Runs sagas: step by step, each step's output stored before the next, under a lease, so that any process can go on where one died. The lease and its token
 * keep a process that was only slow from writing; they do not stop what its step is doing, hence idempotent steps and the incarnation as the fencing token.
 */
export class SagaRunner<Scope = SqlTx> {
  readonly #store: SagaStore<Scope>;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #random: Random;
  readonly #leaseMs: number;
  readonly #stepAttempts: number;
  readonly #sagas = new Map<string, AnySaga>();
  readonly #running = new Set<Promise<SagaOutcome>>();
  #stopping = false;

  constructor(store: SagaStore<Scope>, options: SagaRunnerOptions) {
    this.#store = store;
    this.#clock = options.clock;
    this.#log = options.log;
    this.#random = options.random ?? systemRandom;
    this.#leaseMs = options.leaseMs ?? limits.saga.leaseMs;
    this.#stepAttempts = options.stepAttempts ?? limits.saga.stepAttempts;
  }

  /** Makes a saga known to this process, which can then go on with those that others began. Once per name. */
  register<P, O extends SagaOutputs>(saga: Saga<P, O>): void {
    assert(!this.#sagas.has(saga.name), `two sagas named ${saga.name}`);
    this.#sagas.set(saga.name, saga as unknown as AnySaga);
  }

  /** Writes a saga in the caller's transaction. If the transaction rolls back, there is none. */
  async start<P, O extends SagaOutputs>(scope: Scope, saga: Saga<P, O>, options: StartOptions<P>): Promise<StartedSaga> {
    assert(this.#sagas.has(saga.name), `saga ${saga.name} is not registered`);
    const now = this.#clock.now();
    const id = newId('saga', this.#random);
    const lease = options.handOff ? null : this.#newLease();
    const params: unknown = saga.params.parse(options.params);
    const written = { id, tenantId: options.tenantId, name: saga.name, params, deadlineAt: now + saga.deadlineMs };
    await this.#store.insert(scope, { ...written, lease });
    const record: SagaRecord = { ...written, state: 'running', step: 0, outputs: {}, attempts: 0, notBefore: null, error: null };
    return { id, lease, record };
  }

  /**
   * Goes on with a saga as far as it can get now: to its end, to a retry later, or to "somebody else has it". A step's failure is an outcome. Rejects only
   * when the store fails; the saga is then picked up again after its lease.
   */
  advance(saga: StartedSaga | string): Promise<SagaOutcome> {
    const run = this.#advance(saga).catch((error: unknown): SagaOutcome => {
      if (error instanceof LeaseLost) return { state: 'elsewhere' };
      throw error;
    });
    this.#running.add(run);
    const forget = (): boolean => this.#running.delete(run);
    run.then(forget, forget);
    return run;
  }

  /** Starts no further step, hands open sagas to other processes, and resolves when the steps that run have ended. */
  async stop(): Promise<void> {
    this.#stopping = true;
    await Promise.allSettled([...this.#running]);
  }

  /** Nest's hook: the first one, so that nothing new begins. */
  onModuleDestroy(): Promise<void> {
    return this.stop();
  }

  #newLease(): Lease {
    return { token: this.#random.bytes(12).toString('hex'), until: this.#clock.now() + this.#leaseMs };
  }

  async #advance(saga: StartedSaga | string): Promise<SagaOutcome> {
    const id = typeof saga === 'string' ? saga : saga.id;
    const started = typeof saga === 'string' ? null : saga;
    // A lease from start() may have run out while the caller dawdled.
    const fresh = started?.lease && started.lease.until - this.#clock.now() > this.#leaseMs / 2;
    const lease = fresh && started.lease ? started.lease : this.#newLease();
    const record = fresh ? started.record : await this.#store.acquire(id, lease);
    if (!record) return this.#outcomeOf(await this.#store.find(id));
    const keeper = new LeaseKeeper(this.#store, this.#clock, { id, lease, leaseMs: this.#leaseMs, giveUpAt: record.deadlineAt + this.#leaseMs });
    try {
      return await new SagaRun(this.#sagas.get(record.name), record, {
        clock: this.#clock,
        log: this.#log.child({ saga: id, name: record.name }),
        stepAttempts: this.#stepAttempts,
        stopping: () => this.#stopping,
        save: async (progress) => {
          if (keeper.lost || !(await this.#store.save(id, lease.token, progress))) throw new LeaseLost();
        },
      }).toItsEnd();
    } finally {
      keeper.stop();
    }
  }

  #outcomeOf(record: SagaRecord | null): SagaOutcome {
    if (record?.state === 'done') return { state: 'done', outputs: record.outputs };
    if (record?.state === 'undone' || record?.state === 'stuck') return { state: record.state, outputs: record.outputs, error: record.error };
    return { state: 'elsewhere' };
  }
}

interface RunContext {
  clock: Clock;
  log: Log;
  stepAttempts: number;
  stopping(): boolean;
  save(progress: SagaProgress): Promise<void>;
}

/** One process's turn at one saga, under its lease. */
class SagaRun {
  readonly #saga: AnySaga | undefined;
  readonly #record: SagaRecord;
  readonly #context: RunContext;
  #params: unknown;
  #at: SagaProgress;

  constructor(saga: AnySaga | undefined, record: SagaRecord, context: RunContext) {
    this.#saga = saga;
    this.#record = record;
    this.#context = context;
    this.#at = { state: record.state, step: record.step, outputs: record.outputs, attempts: record.attempts, error: record.error, retryAt: null };
  }

  async toItsEnd(): Promise<SagaOutcome> {
    const saga = this.#saga;
    const params = saga?.params.safeParse(this.#record.params);
    if (!saga || !params?.success) {
      // Another version of the program may know it, for instance the one that wrote it.
      this.#context.log.error('this process does not know this saga, or not with these params');
      return this.#later(this.#context.clock.now() + limits.retry.maxDelayMs);
    }
    this.#params = params.data;
    for (;;) {
      const step = saga.steps[this.#at.step];
      if (step && this.#at.attempts >= this.#context.stepAttempts) {
        const outcome = await this.#exhausted(saga, step);
        if (outcome) return outcome;
      }
      if (this.#context.stopping()) return this.#later(this.#context.clock.now());
      const outcome = this.#at.state === 'running' ? await this.#forward(saga) : await this.#backward(saga);
      if (outcome) return outcome;
    }
  }

  /** Does one step, or settles when all are done. Returns an outcome when this turn is over. */
  async #forward(saga: AnySaga): Promise<SagaOutcome | null> {
    const step = saga.steps[this.#at.step];
    if (!step) return this.#settle(saga, 'done');
    if (this.#context.clock.now() > this.#record.deadlineAt) {
      return this.#turnBack(this.#at.error ?? { code: 'unavailable', detail: 'the deadline passed', step: step.name });
    }
    let output;
    try {
      output = await step.do(this.#stepContext(step));
    } catch (error) {
      return this.#failed(step, error);
    }
    const outputs = output === undefined ? this.#at.outputs : { ...this.#at.outputs, [step.name]: output };
    await this.#store({ step: this.#at.step + 1, outputs, attempts: 0, error: null });
    return null;
  }

  /** Undoes one step, or settles when all are undone. */
  async #backward(saga: AnySaga): Promise<SagaOutcome | null> {
    const step = saga.steps[this.#at.step];
    if (!step) return this.#settle(saga, 'undone');
    try {
      await step.undo?.(this.#stepContext(step));
    } catch (error) {
      this.#context.log.warn({ err: error, step: step.name, attempt: this.#at.attempts + 1 }, 'undoing a step failed');
      return this.#tryLater(error, this.#at.error);
    }
    const before = saga.steps.findLastIndex((other, index) => index < this.#at.step && other.undo !== undefined);
    await this.#store({ step: before, attempts: 0 });
    return null;
  }

  async #failed(step: SagaStep<unknown>, error: unknown): Promise<SagaOutcome | null> {
    const { log, clock, stepAttempts } = this.#context;
    const why = sagaErrorOf(error, step.name);
    const delay = retryDelay(error, this.#at.attempts);
    log.warn({ err: error, step: step.name, attempt: this.#at.attempts + 1, retryInMs: delay }, 'a step failed');
    const again = delay !== null && this.#at.attempts + 1 < stepAttempts && clock.now() + delay < this.#record.deadlineAt;
    return again ? this.#tryLater(error, why) : this.#turnBack(why);
  }

  async #turnBack(error: SagaError): Promise<null> {
    await this.#store({ state: 'undoing', attempts: 0, error });
    return null;
  }

  /** The step was tried, or abandoned by processes that died, as often as it may be. */
  async #exhausted(saga: AnySaga, step: SagaStep<unknown>): Promise<SagaOutcome | null> {
    const error = this.#at.error ?? { code: 'internal', detail: 'the step never ended', step: step.name };
    if (this.#at.state === 'running') return this.#turnBack(error);
    this.#context.log.error({ step: step.name, error }, 'a saga is stuck: it could not be undone');
    await saga.settled?.(this.#settledContext('stuck')).catch((err: unknown) => this.#context.log.error({ err }, 'settling a stuck saga failed'));
    await this.#store({ state: 'stuck', error });
    return { state: 'stuck', outputs: this.#at.outputs, error };
  }

  /** Tells the saga of its end, tried again for ever when it fails: nobody else would tell. */
  async #settle(saga: AnySaga, end: 'done' | 'undone'): Promise<SagaOutcome> {
    try {
      await saga.settled?.(this.#settledContext(end));
    } catch (error) {
      this.#context.log.warn({ err: error, end }, 'settling failed');
      return this.#tryLater(error, this.#at.error);
    }
    await this.#store({ state: end });
    const { outputs, error } = this.#at;
    return end === 'done' ? { state: 'done', outputs } : { state: 'undone', outputs, error };
  }

  async #tryLater(failure: unknown, error: SagaError | null): Promise<SagaOutcome> {
    const delay = retryDelay(failure, this.#at.attempts) ?? Math.min(limits.retry.maxDelayMs, limits.retry.firstDelayMs * 2 ** this.#at.attempts);
    this.#at.attempts += 1;
    return this.#later(this.#context.clock.now() + delay, error);
  }

  async #later(retryAt: number, error: SagaError | null = this.#at.error): Promise<SagaOutcome> {
    await this.#store({ error, retryAt });
    return { state: 'waiting', retryAt, error };
  }

  async #store(change: Partial<SagaProgress>): Promise<void> {
    this.#at = { ...this.#at, ...change };
    await this.#context.save(this.#at);
  }

  #stepContext(step: { name: string }): StepContext<unknown> {
    const { log, clock } = this.#context;
    const { id: sagaId, tenantId } = this.#record;
    return { sagaId, tenantId, params: this.#params, outputs: this.#at.outputs, attempt: this.#at.attempts + 1, log: log.child({ step: step.name }), clock };
  }

  #settledContext(end: SagaEnd): SettledContext<unknown> {
    return { ...this.#stepContext({ name: 'settled' }), end, error: this.#at.error };
  }
}
