import type { SagaOutcome, SagaRunner, SagaStore, StartedSaga } from '@alcove/jobs';
import { dueJobs, emptyStage, later, leaseMs, never, paintSaga, type Place, places, runnerOf, type Stage, type World } from './saga-world';

/** A process that dies: from its n-th call of the store on, nothing it does reaches the store any more. */
class Crash extends Error {}

function dyingStore(store: SagaStore<unknown>, callsLeft: number): SagaStore<unknown> {
  let left = callsLeft;
  return new Proxy(store, {
    get: (target, name, receiver) => {
      const member: unknown = Reflect.get(target, name, receiver);
      if (typeof member !== 'function' || !['acquire', 'save', 'renew'].includes(String(name))) return typeof member === 'function' ? member.bind(target) : member;
      return async (...args: unknown[]) => {
        if (left-- <= 0) throw new Crash();
        return (member as (...all: unknown[]) => Promise<unknown>).apply(target, args);
      };
    },
  });
}

describe.each(places)('sagas on %s', (_name, make) => {
  let place: Place;
  let world: World;
  let stage: Stage;
  let runner: SagaRunner<unknown>;
  let saga: ReturnType<typeof paintSaga>;

  const start = (by: SagaRunner<unknown> = runner): Promise<StartedSaga> =>
    world.transaction((scope) => by.start(scope, saga, { tenantId: world.tenantId, params: { color: 'red' } }));
  const failWhen = (call: string, error: () => Error, times = Infinity): void => {
    let left = times;
    stage.before = (name) => {
      if (name === call && left-- > 0) throw error();
    };
  };
  /** Goes on, with the clock moved to each retry, until the saga has ended. */
  const toTheEnd = async (id: string, by: SagaRunner<unknown> = runner): Promise<SagaOutcome> => {
    for (let turn = 0; turn < 50; turn++) {
      const outcome = await by.advance(id);
      if (outcome.state !== 'waiting' && outcome.state !== 'elsewhere') return outcome;
      world.clock.advance(outcome.state === 'waiting' ? Math.max(0, outcome.retryAt - world.clock.now()) : leaseMs + 1);
    }
    throw new Error('it never ended');
  };

  beforeAll(async () => {
    place = await make();
  });
  beforeEach(async () => {
    world = await place.newWorld();
    stage = emptyStage();
    saga = paintSaga(stage);
    runner = runnerOf(world);
    runner.register(saga);
  });
  afterEach(() => place.empty());
  afterAll(() => place.remove());

  it('does the steps in order, each output stored before the next step', async () => {
    const stored: unknown[] = [];
    const started = await start();
    stage.before = async () => void stored.push((await world.store.find(started.id))?.outputs);
    expect(await runner.advance(started)).toEqual({ state: 'done', outputs: { buy: 'red', brush: 3 } });
    expect(stage.calls).toEqual(['buy', 'stir', 'brush', 'settled done']);
    expect(stored).toEqual([{}, { buy: 'red' }, { buy: 'red' }, { buy: 'red', brush: 3 }]);
    expect(await dueJobs(world)).toEqual([]);
    expect(await runner.advance(started.id)).toEqual({ state: 'done', outputs: { buy: 'red', brush: 3 } });
  });

  it('is there only if its transaction commits', async () => {
    const run = world.transaction(async (scope) => {
      const { id } = await runner.start(scope, saga, { tenantId: world.tenantId, params: { color: 'red' } });
      throw new Error(id);
    });
    const id = await run.then(() => '', (error: Error) => error.message);
    expect(await world.store.find(id)).toBeNull();
  });

  it('refuses params that do not fit, and sagas that are not registered', async () => {
    await expect(world.transaction((scope) => runner.start(scope, saga, { tenantId: world.tenantId, params: { color: 7 as unknown as string } }))).rejects.toThrow();
    await expect(world.transaction((scope) => runner.start(scope, paintSaga(stage, 'other'), { tenantId: world.tenantId, params: { color: 'red' } }))).rejects.toThrow('not registered');
  });

  it('is handed to a worker when asked', async () => {
    const started = await world.transaction((scope) => runner.start(scope, saga, { tenantId: world.tenantId, params: { color: 'red' }, handOff: true }));
    const [job] = await dueJobs(world);
    expect(job).toMatchObject({ name: 'saga.advance', payload: { sagaId: started.id } });
    expect(await runner.advance(started.id)).toMatchObject({ state: 'done' });
  });

  it.each([
    ['buy', ['buy', 'return', 'settled undone']],
    ['stir', ['buy', 'stir', 'return', 'settled undone']],
    ['brush', ['buy', 'stir', 'brush', 'scrape', 'return', 'settled undone']],
  ])('undoes from %s backwards when that fails for good', async (step, calls) => {
    failWhen(step, never);
    const outcome = await runner.advance(await start());
    expect(outcome).toMatchObject({ state: 'undone', error: { code: 'template.not_found', detail: 'no such template', step } });
    expect(stage.calls).toEqual(calls);
    expect(stage.holding.size).toBe(0);
  });

  it('says internal, and nothing else, of an error that is no problem', async () => {
    failWhen('stir', () => new TypeError('secret of the process'));
    expect(await runner.advance(await start())).toMatchObject({ state: 'undone', error: { code: 'internal', detail: null, step: 'stir' } });
  });

  it('tries later what may pass, and goes on from there', async () => {
    failWhen('stir', later, 2);
    const started = await start();
    const first = await runner.advance(started);
    expect(first).toMatchObject({ state: 'waiting', retryAt: world.clock.now() + 1_000, error: { code: 'host.unavailable' } });
    expect(await runner.advance(started.id)).toEqual({ state: 'elsewhere' });
    expect(await toTheEnd(started.id)).toMatchObject({ state: 'done' });
    expect(stage.calls).toEqual(['buy', 'stir', 'stir', 'stir', 'brush', 'settled done']);
    expect(await dueJobs(world)).toHaveLength(2);
  });

  it('gives up what does not pass, after five attempts', async () => {
    failWhen('stir', later);
    const started = await start();
    expect(await toTheEnd(started.id, runner).catch(() => null)).toMatchObject({ state: 'undone', error: { code: 'host.unavailable' } });
    expect(stage.calls.filter((call) => call === 'stir')).toHaveLength(5);
  });

  it('gives up at its deadline', async () => {
    const started = await start();
    world.clock.advance(saga.deadlineMs + 1);
    expect(await toTheEnd(started.id)).toMatchObject({ state: 'undone', error: { code: 'unavailable' } });
    expect(stage.calls).not.toContain('stir');
  });

  it('tries an undoing again, is stuck when it cannot, and can be helped', async () => {
    stage.before = (call) => {
      if (call === 'brush') throw never();
      if (call === 'scrape') throw new Error('jammed');
    };
    const started = await start();
    expect(await toTheEnd(started.id)).toMatchObject({ state: 'stuck', error: { code: 'template.not_found' } });
    expect(stage.calls.filter((call) => call === 'scrape')).toHaveLength(5);
    expect(stage.calls.at(-1)).toBe('settled stuck');
    expect(stage.holding).toEqual(new Set(['buy']));
    stage.before = () => undefined;
    expect(await world.store.unstick(started.id)).toBe(true);
    expect(await toTheEnd(started.id)).toMatchObject({ state: 'undone' });
    expect(stage.calls.slice(-3)).toEqual(['scrape', 'return', 'settled undone']);
    expect(stage.holding.size).toBe(0);
  });

  it('tells the end again until it was heard', async () => {
    failWhen('settled done', () => new Error('deaf'), 7);
    expect(await toTheEnd((await start()).id)).toMatchObject({ state: 'done' });
    expect(stage.calls.filter((call) => call === 'settled done')).toHaveLength(8);
    expect(stage.calls.filter((call) => call === 'brush')).toHaveLength(1);
  });

  // One way with each ending; each with a death at every call of the store.
  describe.each([
    ['done', () => undefined],
    ['undone', (call: string) => { if (call === 'brush') throw never(); }],
  ] as const)('a process dies; the end is %s', (end, before) => {
    it.each(Array.from({ length: 10 }, (_, n) => n))('after %i calls of the store', async (calls) => {
      const dying = runnerOf(world, dyingStore(world.store, calls));
      dying.register(saga);
      stage.before = before;
      const started = await start(dying);
      const first = await dying.advance(started).catch((error: unknown) => error);
      const outcome = first instanceof Crash ? await toTheEnd(started.id) : first;
      expect(outcome).toMatchObject({ state: end });
      expect(stage.holding).toEqual(new Set(end === 'done' ? ['buy', 'brush'] : []));
      // What a dead process did may have been done again once, and nothing else was.
      for (const call of new Set(stage.calls)) expect(stage.calls.filter((other) => other === call).length).toBeLessThanOrEqual(2);
    });
  });

  it('gives up on a step that takes every process with it', async () => {
    const started = await start();
    for (let death = 1; death <= 5; death++) {
      world.clock.advance(leaseMs + 1);
      expect(await world.store.acquire(started.id, { token: `process ${death}`, until: world.clock.now() + leaseMs })).toMatchObject({ attempts: death });
    }
    expect(await toTheEnd(started.id)).toMatchObject({ state: 'undone', error: { code: 'internal', step: 'buy' } });
    expect(stage.calls).toEqual(['return', 'settled undone']);
  });

  it('is advanced by one process at a time', async () => {
    const other = runnerOf(world);
    other.register(saga);
    let release: () => void = () => undefined;
    const gate = new Promise<void>((resolve) => (release = resolve));
    stage.before = (call) => (call === 'stir' ? gate : undefined);
    const started = await start();
    const run = runner.advance(started);
    expect(await other.advance(started.id)).toEqual({ state: 'elsewhere' });
    release();
    expect(await run).toMatchObject({ state: 'done' });
    expect(stage.calls).toEqual(['buy', 'stir', 'brush', 'settled done']);
  });

  it('keeps its lease while a step takes long', async () => {
    const other = runnerOf(world);
    other.register(saga);
    let release: () => void = () => undefined;
    const gate = new Promise<void>((resolve) => (release = resolve));
    let inStep = false;
    stage.before = (call) => {
      if (call !== 'stir') return undefined;
      inStep = true;
      return gate;
    };
    const started = await start();
    const renewals = jest.spyOn(world.store, 'renew');
    const run = runner.advance(started);
    while (!inStep) await new Promise(setImmediate);
    for (let third = 0; third < 9; third++) {
      world.clock.advance(leaseMs / 3);
      while (renewals.mock.results.length <= third) await new Promise(setImmediate);
      await renewals.mock.results[third]?.value;
      await new Promise(setImmediate);
    }
    expect(await other.advance(started.id)).toEqual({ state: 'elsewhere' });
    release();
    expect(await run).toMatchObject({ state: 'done' });
  });

  it('writes nothing more once its lease was lost', async () => {
    const other = runnerOf(world);
    other.register(saga);
    const started = await start();
    const slow = world.store.renew.bind(world.store);
    world.store.renew = () => new Promise(() => undefined);
    let taken: SagaOutcome | undefined;
    stage.before = async (call) => {
      if (call !== 'stir' || taken) return;
      taken = { state: 'elsewhere' };
      world.clock.advance(leaseMs + 1);
      taken = await other.advance(started.id);
    };
    expect(await runner.advance(started)).toEqual({ state: 'elsewhere' });
    expect(taken).toMatchObject({ state: 'done' });
    expect(stage.calls).toEqual(['buy', 'stir', 'stir', 'brush', 'settled done']);
    world.store.renew = slow;
  });

  it('hands its sagas on when the process stops', async () => {
    let release: () => void = () => undefined;
    const gate = new Promise<void>((resolve) => (release = resolve));
    stage.before = (call) => (call === 'buy' ? gate : undefined);
    const started = await start();
    const run = runner.advance(started);
    const stopped = runner.stop();
    release();
    await stopped;
    expect(await run).toMatchObject({ state: 'waiting', retryAt: world.clock.now() });
    expect(stage.calls).toEqual(['buy']);
    expect(await dueJobs(world)).toHaveLength(1);
    const other = runnerOf(world);
    other.register(saga);
    expect(await other.advance(started.id)).toMatchObject({ state: 'done' });
  });

  it('leaves a saga that it does not know to another version', async () => {
    const started = await start();
    const older = runnerOf(world);
    world.clock.advance(leaseMs + 1);
    expect(await older.advance(started.id)).toMatchObject({ state: 'waiting' });
    expect(await world.store.find(started.id)).toMatchObject({ state: 'running', error: null });
  });
});
