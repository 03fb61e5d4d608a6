import type { Json } from '@alcove/db';
import { type Saga, type SagaOutputs, SagaRunner, type SagaRunnerOptions, type SagaStep, type SagaStore } from '@alcove/jobs';

type AnySaga = Saga<unknown, SagaOutputs>;
type AnyStep = SagaStep<unknown, SagaOutputs>;

/** What a test does to the sagas of a process: each step of each is replaced by what this makes of it. */
export type SagaTwist = (saga: AnySaga, step: AnyStep, index: number) => AnyStep;

/** A runner whose sagas are twisted as they are registered. */
export class TwistedRunner<Scope> extends SagaRunner<Scope> {
  readonly #twist: SagaTwist;

  constructor(store: SagaStore<Scope>, options: SagaRunnerOptions, twist: SagaTwist) {
    super(store, options);
    this.#twist = twist;
  }

  override register<P, O extends SagaOutputs>(saga: Saga<P, O>): void {
    const plain = saga as unknown as AnySaga;
    super.register({ ...plain, steps: plain.steps.map((step, index) => this.#twist(plain, step, index)) });
  }
}

/** Every step is done twice, and undone twice: both must be idempotent. */
export const everythingTwice: SagaTwist = (_saga, step) => {
  const undo = step.undo?.bind(step);
  const twice: AnyStep = {
    ...step,
    do: async (context) => {
      await step.do(context);
      return step.do(context);
    },
  };
  if (!undo) return twice;
  return {
    ...twice,
    undo: async (context) => {
      await undo(context);
      await undo(context);
    },
  };
};

/** Where in a step something happens: before it has done anything, or when it is done and nobody knows yet. */
export type StepPlace = 'before' | 'after';

/** At one step of one saga, in one place, `happen` is called the first `times` times; what it throws is the step's failure. */
export function happenAt(where: { saga: string; step: number; place: StepPlace; times: number }, happen: () => Promise<void>): SagaTwist {
  let left = where.times;
  const strike = async (): Promise<void> => {
    if (left <= 0) return;
    left -= 1;
    await happen();
  };
  return (saga, step, index) => {
    if (saga.name !== where.saga || index !== where.step) return step;
    return {
      ...step,
      do: async (context): Promise<Json | void> => {
        if (where.place === 'before') await strike();
        const output = await step.do(context);
        if (where.place === 'after') await strike();
        return output;
      },
    };
  };
}

/** Several twists, the first one innermost. */
export function twistAll(...twists: readonly SagaTwist[]): SagaTwist {
  return (saga, step, index) => twists.reduce((made, twist) => twist(saga, made, index), step);
}
