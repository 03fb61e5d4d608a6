/** A saga store with what is around it, the same for memory and Postgres, and a saga whose steps can be told how to behave. */
import { type Clock, newUuid, silentLog } from '@alcove/base';
import { Problem } from '@alcove/contracts';
import type { Db, Json } from '@alcove/db';
import {
  defineSaga, MemoryOutbox, type MemoryScope, MemorySagaStore, type Outbox, PostgresOutbox, PostgresSagaStore, type QueuedJob, type Saga, type SagaOutputs, SagaRunner, type SagaStore,
} from '@alcove/jobs';
import { z } from 'zod';
import { newTenant, openDb, ownDatabase, testClock, type TestClock } from '../db/database';

export const leaseMs = 30_000;

export interface World {
  store: SagaStore<unknown>;
  outbox: Outbox<unknown>;
  clock: TestClock;
  tenantId: string;
  /** One transaction; rolls back when work rejects. */
  transaction<T>(work: (scope: unknown) => Promise<T>): Promise<T>;
}

/** Where worlds are made: for Postgres, a database of the suite's own. */
export interface Place {
  newWorld(): Promise<World>;
  /** Removes every saga and job, between tests. */
  empty(): Promise<void>;
  remove(): Promise<void>;
}

async function onPostgres(): Promise<Place> {
  const database = await ownDatabase();
  const db: Db = openDb({ url: database.url });
  const newWorld = async (): Promise<World> => {
    const clock = testClock();
    const outbox = new PostgresOutbox(db, clock, silentLog);
    const tenantId = await newTenant(db);
    const store = new PostgresSagaStore(db, outbox, clock) as SagaStore<unknown>;
    return { store, outbox: outbox as Outbox<unknown>, clock, tenantId, transaction: (work) => db.withTenant(tenantId, work) };
  };
  const empty = async (): Promise<void> => {
    await db.asSystem('test', async (tx) => {
      await tx.saga.deleteMany();
      await tx.outbox.deleteMany();
    });
  };
  const remove = async (): Promise<void> => {
    await db.close();
    await database.remove();
  };
  return { newWorld, empty, remove };
}

async function inMemory(): Promise<Place> {
  return { newWorld: async () => memoryWorld(), empty: async () => undefined, remove: async () => undefined };
}

function memoryWorld(): World {
  const clock = testClock();
  const outbox = new MemoryOutbox(clock);
  const transaction = async <T>(work: (scope: unknown) => Promise<T>): Promise<T> => {
    const undos: (() => void)[] = [];
    const scope: MemoryScope = { onRollback: (undo) => undos.push(undo) };
    return work(scope).catch((error: unknown) => {
      for (const undo of undos.reverse()) undo();
      throw error;
    });
  };
  const store = new MemorySagaStore(outbox, clock) as SagaStore<unknown>;
  return { store, outbox: outbox as Outbox<unknown>, clock, tenantId: newUuid(), transaction };
}

export const places: [string, () => Promise<Place>][] = [
  ['memory', inMemory],
  ['Postgres', onPostgres],
];

export function runnerOf(world: World, store: SagaStore<unknown> = world.store, clock: Clock = world.clock): SagaRunner<unknown> {
  return new SagaRunner(store, { clock, log: silentLog, leaseMs });
}

/** The jobs that are due now, taken off the outbox. */
export async function dueJobs({ outbox }: World): Promise<QueuedJob[]> {
  const taken: QueuedJob[] = [];
  await outbox.dispatch(1000, async (jobs) => void taken.push(...jobs));
  return taken;
}

export const later = (): Problem => new Problem('host.unavailable');
export const never = (): Problem => new Problem('template.not_found', { detail: 'no such template' });

/** What the outside world would see of a saga: which steps hold something, and everything that was called. */
export interface Stage {
  readonly holding: Set<string>;
  readonly calls: string[];
  /** Called before a step acts; throws to make it fail. */
  before: (call: string, attempt: number) => void | Promise<void>;
}

const Params = z.strictObject({ color: z.string() });
type Params = z.infer<typeof Params>;

/** Three idempotent steps; the second has nothing to undo. Only the first and the last leave an output. */
export function paintSaga(stage: Stage, name = 'paint'): Saga<Params> {
  const act = async (call: string, attempt: number, effect: () => void): Promise<void> => {
    stage.calls.push(call);
    await stage.before(call, attempt);
    effect();
  };
  const expectOutput = (outputs: Readonly<Partial<SagaOutputs>>, step: string, value: Json): void => {
    if (outputs[step] !== value) throw new TypeError(`step saw ${JSON.stringify(outputs)}`);
  };
  return defineSaga<Params>({
    name,
    params: Params,
    deadlineMs: 10 * 60_000,
    steps: [
      {
        name: 'buy',
        do: async ({ params, attempt }) => {
          await act('buy', attempt, () => stage.holding.add('buy'));
          return params.color;
        },
        undo: ({ attempt }) => act('return', attempt, () => stage.holding.delete('buy')),
      },
      {
        name: 'stir',
        do: async ({ outputs, attempt }) => {
          expectOutput(outputs, 'buy', 'red');
          await act('stir', attempt, () => undefined);
        },
      },
      {
        name: 'brush',
        do: async ({ outputs, attempt }) => {
          expectOutput(outputs, 'buy', 'red');
          await act('brush', attempt, () => stage.holding.add('brush'));
          return 3;
        },
        undo: ({ attempt }) => act('scrape', attempt, () => stage.holding.delete('brush')),
      },
    ],
    settled: ({ end, attempt }) => act(`settled ${end}`, attempt, () => undefined),
  });
}

export function emptyStage(): Stage {
  return { holding: new Set(), calls: [], before: () => undefined };
}
