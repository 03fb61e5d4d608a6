import { newId } from '@alcove/base';
import type { NewSaga, SagaProgress } from '@alcove/jobs';
import { dueJobs, leaseMs, type Place, places, type World } from './saga-world';

describe.each(places)('the saga store on %s', (_name, make) => {
  let place: Place;
  let world: World;
  let saga: NewSaga;
  const lease = (token: string) => ({ token, until: world.clock.now() + leaseMs });
  const insert = (change: Partial<NewSaga> = {}): Promise<void> => world.transaction((scope) => world.store.insert(scope, { ...saga, ...change }));
  const progress = (change: Partial<SagaProgress> = {}): SagaProgress => ({ state: 'running', step: 0, outputs: {}, attempts: 0, error: null, retryAt: null, ...change });
  const overdue = async (graceMs: number): Promise<string[]> => (await world.store.overdue(graceMs, 1000)).map(({ id }) => id);

  beforeAll(async () => {
    place = await make();
  });
  beforeEach(async () => {
    world = await place.newWorld();
    saga = { id: newId('saga'), tenantId: world.tenantId, name: 'paint', params: { a: [1, 'é', null] }, deadlineAt: world.clock.now() + 60_000, lease: null };
  });
  afterEach(() => place.empty());
  afterAll(() => place.remove());

  it('keeps what was inserted, with a job when nobody has the lease', async () => {
    await insert();
    expect(await world.store.find(saga.id)).toEqual({
      id: saga.id, tenantId: saga.tenantId, name: 'paint', params: saga.params, deadlineAt: saga.deadlineAt,
      state: 'running', step: 0, outputs: {}, attempts: 0, notBefore: null, error: null,
    });
    expect((await dueJobs(world)).map((job) => job.payload)).toEqual([{ sagaId: saga.id, tenantId: saga.tenantId }]);
    expect(await world.store.find('saga_none')).toBeNull();
  });

  it('keeps nothing of a transaction that rolls back', async () => {
    const run = world.transaction(async (scope) => {
      await world.store.insert(scope, saga);
      throw new Error('on purpose');
    });
    await expect(run).rejects.toThrow('on purpose');
    expect(await world.store.find(saga.id)).toBeNull();
    expect(await dueJobs(world)).toEqual([]);
  });

  it('gives the lease to one at a time', async () => {
    await insert();
    const taken = await Promise.all(['a', 'b', 'c'].map((token) => world.store.acquire(saga.id, lease(token))));
    expect(taken.filter(Boolean)).toHaveLength(1);
    expect(await world.store.acquire(saga.id, lease('d'))).toBeNull();
  });

  it('gives on a lease that ran out, counting an attempt, and shuts out who had it', async () => {
    await insert({ lease: lease('a') });
    world.clock.advance(leaseMs);
    expect(await world.store.acquire(saga.id, lease('b'))).toBeNull();
    world.clock.advance(1);
    expect(await world.store.acquire(saga.id, lease('b'))).toMatchObject({ attempts: 1 });
    expect(await world.store.renew(saga.id, lease('a'))).toBe(false);
    expect(await world.store.save(saga.id, 'a', progress({ step: 2 }))).toBe(false);
    expect(await world.store.find(saga.id)).toMatchObject({ step: 0 });
  });

  it('prolongs a lease', async () => {
    await insert({ lease: lease('a') });
    world.clock.advance(leaseMs - 1);
    expect(await world.store.renew(saga.id, lease('a'))).toBe(true);
    world.clock.advance(leaseMs - 1);
    expect(await world.store.acquire(saga.id, lease('b'))).toBeNull();
  });

  it('stores progress and keeps the lease meanwhile', async () => {
    await insert({ lease: lease('a') });
    const error = { code: 'host.capacity', detail: null, step: 'brush' } as const;
    const next = progress({ state: 'undoing', step: 1, outputs: { buy: { n: 1.5 } }, attempts: 2, error });
    expect(await world.store.save(saga.id, 'a', next)).toBe(true);
    expect(await world.store.find(saga.id)).toMatchObject({ state: 'undoing', step: 1, outputs: { buy: { n: 1.5 } }, attempts: 2, error, notBefore: null });
    expect(await world.store.acquire(saga.id, lease('b'))).toBeNull();
    expect(await dueJobs(world)).toEqual([]);
  });

  it('ends the lease with a retry, which is due no earlier, with its job', async () => {
    await insert({ lease: lease('a') });
    const retryAt = world.clock.now() + 5_000;
    expect(await world.store.save(saga.id, 'a', progress({ attempts: 1, retryAt }))).toBe(true);
    expect(await world.store.acquire(saga.id, lease('b'))).toBeNull();
    expect(await dueJobs(world)).toEqual([]);
    world.clock.advance(5_000);
    expect(await dueJobs(world)).toHaveLength(1);
    expect(await world.store.acquire(saga.id, lease('b'))).toMatchObject({ attempts: 1 });
  });

  it.each(['done', 'undone', 'stuck'] as const)('lets nobody go on with a saga that is %s', async (state) => {
    await insert({ lease: lease('a') });
    await world.store.save(saga.id, 'a', progress({ state }));
    world.clock.advance(leaseMs * 2);
    expect(await world.store.acquire(saga.id, lease('b'))).toBeNull();
    expect(await overdue(0)).toEqual([]);
  });

  it('finds sagas that nobody cares for', async () => {
    await insert({ lease: lease('a') });
    expect(await overdue(1_000)).toEqual([]);
    world.clock.advance(leaseMs + 1);
    expect(await overdue(1_000)).toEqual([saga.id]);
    await world.store.wake(saga.id, saga.tenantId);
    expect(await dueJobs(world)).toHaveLength(1);
    expect(await overdue(1_000)).toEqual([]);
    world.clock.advance(1_001);
    expect(await overdue(1_000)).toEqual([saga.id]);
  });

  it('leaves a saga that waits for its retry alone until that is overdue', async () => {
    await insert({ lease: lease('a') });
    await world.store.save(saga.id, 'a', progress({ retryAt: world.clock.now() + 60_000 }));
    world.clock.advance(60_500);
    expect(await overdue(1_000)).toEqual([]);
    world.clock.advance(600);
    expect(await overdue(1_000)).toEqual([saga.id]);
  });

  it('gets a stuck saga going again', async () => {
    await insert({ lease: lease('a') });
    expect(await world.store.unstick(saga.id)).toBe(false);
    await world.store.save(saga.id, 'a', progress({ state: 'stuck', step: 2, attempts: 5 }));
    expect(await world.store.unstick(saga.id)).toBe(true);
    expect(await dueJobs(world)).toHaveLength(1);
    expect(await world.store.acquire(saga.id, lease('b'))).toMatchObject({ state: 'undoing', step: 2, attempts: 0 });
  });

  it('forgets what ended long ago, but nothing that is stuck or open', async () => {
    const ids = ['done', 'undone', 'stuck', 'running'].map(() => newId('saga'));
    for (const [index, state] of (['done', 'undone', 'stuck', 'running'] as const).entries()) {
      await insert({ id: ids[index] ?? '', lease: lease('a') });
      await world.store.save(ids[index] ?? '', 'a', progress({ state }));
    }
    world.clock.advance(10_000);
    expect(await world.store.prune(world.clock.now() - 20_000)).toBe(0);
    await world.store.prune(world.clock.now() - 5_000);
    const left = await Promise.all(ids.map((id) => world.store.find(id)));
    expect(left.map((record) => record?.state)).toEqual([undefined, undefined, 'stuck', 'running']);
  });
});
