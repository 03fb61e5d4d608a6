import { silentLog, systemClock } from '@alcove/base';
import { AdvisoryLocks } from '@alcove/db';
import { jobsReconcilers, MemoryOutbox, MemoryQueue, MemorySagaStore, OutboxDispatcher, type Outbox, type Reconciler, ReconcilerDriver, SagaRunner, type SagaStore } from '@alcove/jobs';
import { asOwner, type OwnDatabase, ownDatabase, testClock, until } from '../db/database';
import { emptyStage, leaseMs, paintSaga } from './saga-world';

const counted = (run: () => Promise<void> = async () => undefined): Reconciler & { runs: number } => {
  const reconciler = {
    name: `counted ${systemClock.monotonic()}`,
    everyMs: 1,
    runs: 0,
    run: async () => {
      reconciler.runs += 1;
      await run();
      return { runs: reconciler.runs };
    },
  };
  return reconciler;
};

describe('the reconciler driver', () => {
  let database: OwnDatabase;
  let drivers: ReconcilerDriver[];
  let locks: AdvisoryLocks[];
  const newDriver = (...reconcilers: Reconciler[]): ReconcilerDriver => {
    const own = new AdvisoryLocks(database.url);
    const driver = new ReconcilerDriver({ clock: systemClock, log: silentLog, locks: own });
    driver.register(...reconcilers);
    locks.push(own);
    drivers.push(driver);
    return driver;
  };

  beforeAll(async () => {
    database = await ownDatabase();
  });
  afterAll(() => database.remove());
  beforeEach(() => {
    drivers = [];
    locks = [];
  });
  afterEach(async () => {
    await Promise.all(drivers.map((driver) => driver.stop()));
    await Promise.all(locks.map((own) => own.close()));
  });

  it('runs each again and again, until it is stopped', async () => {
    const [a, b] = [counted(), counted()];
    newDriver(a, b).start();
    await until(() => a.runs > 3 && b.runs > 3);
  });

  it('lets one worker at a time run one', async () => {
    let inside = 0;
    let most = 0;
    const name = 'exclusive';
    const reconciler = (): Reconciler => ({
      name,
      everyMs: 1,
      run: async () => {
        most = Math.max(most, ++inside);
        await new Promise((resolve) => setImmediate(resolve));
        inside -= 1;
        return {};
      },
    });
    const all = [newDriver(reconciler()), newDriver(reconciler()), newDriver(reconciler())];
    const reports = await Promise.all(all.flatMap((driver) => Array.from({ length: 20 }, () => driver.runOnce(name))));
    expect(reports.filter((report) => report !== null).length).toBeGreaterThan(0);
    expect(most).toBe(1);
  });

  it('goes on after a failure, and after its connection was lost', async () => {
    const failing = counted(async () => {
      throw new Error('on purpose');
    });
    const fine = counted();
    newDriver(failing, fine).start();
    await until(() => failing.runs > 2);
    await asOwner("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'alcove-locks' and datname = current_database()", [], database.ownerUrl);
    const before = fine.runs;
    await until(() => fine.runs > before + 2);
  });

  it('frees a lock when its holder dies', async () => {
    const [holder, next] = [new AdvisoryLocks(database.url), new AdvisoryLocks(database.url)];
    locks.push(holder, next);
    await new Promise<void>((held) => {
      void holder.withAdvisoryLock('orphan', () => new Promise<void>(() => held()));
    });
    expect(await next.withAdvisoryLock('orphan', async () => 1)).toEqual({ ran: false });
    await holder.close();
    await until(async () => (await next.withAdvisoryLock('orphan', async () => 1)).ran);
  });
});

it('gets a saga to its end although the queue lost everything', async () => {
  const clock = testClock();
  const outbox = new MemoryOutbox(clock);
  const sagas = new MemorySagaStore(outbox, clock);
  const queue = new MemoryQueue(clock);
  const dispatcher = new OutboxDispatcher(outbox as Outbox<unknown>, queue, { clock, log: silentLog });
  const runner = new SagaRunner<unknown>(sagas as SagaStore<unknown>, { clock, log: silentLog, leaseMs });
  const saga = paintSaga(emptyStage());
  runner.register(saga);
  const { id } = await runner.start(undefined, saga, { tenantId: '11111111-1111-4111-8111-111111111111', params: { color: 'red' }, handOff: true });
  await dispatcher.dispatchDue();
  queue.lose();
  const [overdue] = jobsReconcilers({ outbox, sagas, clock });
  expect(await overdue?.run()).toEqual({ woken: 0 });
  clock.advance(5_000);
  expect(await overdue?.run()).toEqual({ woken: 1 });
  expect(await overdue?.run()).toEqual({ woken: 0 });
  await queue.consume('sagas', async (job) => void (job.name === 'saga.advance' && (await runner.advance(job.payload.sagaId))), 1);
  await dispatcher.dispatchDue();
  expect(await until(async () => (await sagas.find(id))?.state === 'done')).toBe(true);
});
