import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { newId, silentLog, systemClock } from '@alcove/base';
import type { Db } from '@alcove/db';
import { type AnyProcessor, type JobQueue, JobWorker, OutboxDispatcher, PostgresOutbox, PostgresSagaStore, ProcessorsIncomplete, sagaProcessor, SagaRunner } from '@alcove/jobs';
import { newTenant, openDb, type OwnDatabase, ownDatabase, until } from '../db/database';
import { bullQueues, idle, lockMs, type QueueUnderTest } from './queues';
import { emptyStage, later, paintSaga } from './saga-world';
import type { WorkerArguments } from './worker-process';

describe.each(bullQueues)('a worker, its jobs on %s', (_name, makeQueue) => {
  let database: OwnDatabase;
  let place: QueueUnderTest;
  let db: Db;
  let tenantId: string;
  let queue: JobQueue;
  let outbox: PostgresOutbox;
  let dispatcher: OutboxDispatcher;
  let worker: JobWorker;
  let child: ChildProcess | null;
  let reconciled: string[];

  const options = { clock: systemClock, log: silentLog };
  const enqueue = (roomId: string): Promise<void> => db.withTenant(tenantId, (tx) => outbox.enqueue(tx, 'room.reconcile', { roomId, tenantId }));
  const processors = (runner: SagaRunner): AnyProcessor[] => [
    sagaProcessor(runner),
    { job: 'room.reconcile', process: async ({ roomId }) => void reconciled.push(roomId) },
    ...idle,
  ];
  const newRunner = (): SagaRunner => new SagaRunner(new PostgresSagaStore(db, outbox, systemClock), options);
  const spawnWorker = (mode: WorkerArguments['mode']): ChildProcess => {
    const root = join(__dirname, '../../..');
    const argument: WorkerArguments = { url: database.url, backend: place.backend ?? { kind: 'postgres', url: '' }, lockMs, mode };
    const sources = join(root, 'test/conformance/host-run-sources.ts');
    child = spawn(process.execPath, ['--no-warnings', '--import', sources, join(__dirname, 'worker-process.ts'), JSON.stringify(argument)], { cwd: root, stdio: ['ignore', 'pipe', 'inherit'] });
    return child;
  };
  const kill = async (victim: ChildProcess): Promise<void> => {
    const gone = once(victim, 'exit');
    victim.kill('SIGKILL');
    await gone;
  };
  const says = async (process: ChildProcess, line: string): Promise<void> => {
    let text = '';
    process.stdout?.on('data', (chunk: Buffer) => (text += chunk.toString()));
    await until(() => text.includes(line));
  };

  beforeAll(async () => {
    [database, place] = await Promise.all([ownDatabase(), makeQueue()]);
    db = openDb({ url: database.url });
    tenantId = await newTenant(db);
  });
  beforeEach(() => {
    child = null;
    reconciled = [];
    queue = place.open();
    outbox = new PostgresOutbox(db, systemClock, silentLog);
    dispatcher = new OutboxDispatcher(outbox, queue, options);
    worker = new JobWorker(queue, options);
  });
  afterEach(async () => {
    if (child && child.exitCode === null && child.signalCode === null) await kill(child);
    await dispatcher.stop();
    await worker.stop();
    await queue.close();
  });
  afterAll(async () => {
    await db.close();
    await Promise.all([place.remove(), database.remove()]);
  });

  it('does not start with a job that has no processor, or two', async () => {
    const all = processors(newRunner());
    await expect(worker.start(all.slice(1))).rejects.toBeInstanceOf(ProcessorsIncomplete);
    await expect(worker.start([...all, ...all.slice(0, 1)])).rejects.toThrow('two processors for the job saga.advance');
  });

  it('makes jobs of the outbox, once the transaction has committed', async () => {
    await worker.start(processors(newRunner()));
    dispatcher.start();
    const lost = db.withTenant(tenantId, async (tx) => {
      await outbox.enqueue(tx, 'room.reconcile', { roomId: 'room_lost', tenantId });
      throw new Error('on purpose');
    });
    await expect(lost).rejects.toThrow('on purpose');
    const rooms = Array.from({ length: 30 }, () => newId('room'));
    await Promise.all(rooms.map(enqueue));
    dispatcher.nudge();
    await until(() => reconciled.length === rooms.length);
    expect(reconciled.sort()).toEqual(rooms.sort());
  });

  it('dispatches on a nudge in a process that does not poll', async () => {
    await worker.start(processors(newRunner()));
    await enqueue('room_nudged');
    dispatcher.nudge();
    await until(() => reconciled.includes('room_nudged'));
  });

  it('runs a saga that was handed off, with its retry', async () => {
    const stage = emptyStage();
    let failures = 1;
    stage.before = (call) => {
      if (call === 'stir' && failures-- > 0) throw later();
    };
    const runner = newRunner();
    const saga = paintSaga(stage);
    runner.register(saga);
    await worker.start(processors(runner));
    dispatcher.start();
    const { id } = await db.withTenant(tenantId, (tx) => runner.start(tx, saga, { tenantId, params: { color: 'red' }, handOff: true }));
    await until(async () => (await runner.advance(id)).state === 'done');
    expect(stage.calls).toEqual(['buy', 'stir', 'stir', 'brush', 'settled done']);
  });

  it('loses no job when a worker is killed over it', async () => {
    const victim = spawnWorker('hang');
    await says(victim, 'ready');
    await enqueue('room_orphan');
    await until(async () => (await db.withTenant(tenantId, (tx) => tx.outbox.count({ where: { dispatchedAt: null } }))) === 0);
    await kill(victim);
    await worker.start(processors(newRunner()));
    await until(() => reconciled.includes('room_orphan'));
    expect(reconciled).toEqual(['room_orphan']);
  });

  it('loses and doubles no job when a dispatcher is killed between the queue and its note of it', async () => {
    const rooms = Array.from({ length: 5 }, () => newId('room'));
    await Promise.all(rooms.map(enqueue));
    const victim = spawnWorker('dispatch-and-hang');
    await says(victim, `added ${rooms.length}`);
    await worker.start(processors(newRunner()));
    await until(() => reconciled.length === rooms.length);
    await kill(victim);
    // The killed transaction's locks go with its connection, which the server may notice a moment later.
    await until(async () => {
      await dispatcher.dispatchDue();
      return (await db.withTenant(tenantId, (tx) => tx.outbox.count({ where: { dispatchedAt: null } }))) === 0;
    });
    await enqueue('room_last');
    await dispatcher.dispatchDue();
    await until(() => reconciled.includes('room_last'));
    expect(reconciled.sort()).toEqual([...rooms, 'room_last'].sort());
  });

  it('puts off an entry that this version does not understand, and dispatches the rest', async () => {
    await worker.start(processors(newRunner()));
    const now = new Date(systemClock.now());
    await db.withTenant(tenantId, (tx) => tx.outbox.create({ data: { tenantId, job: 'of.tomorrow', payload: {}, createdAt: now, notBefore: now } }));
    await enqueue('room_after');
    await dispatcher.dispatchDue();
    await until(() => reconciled.includes('room_after'));
    const left = await db.withTenant(tenantId, (tx) => tx.outbox.findMany({ where: { dispatchedAt: null } }));
    expect(left).toMatchObject([{ job: 'of.tomorrow' }]);
    expect(left[0]?.notBefore.getTime()).toBeGreaterThan(now.getTime());
    await db.withTenant(tenantId, (tx) => tx.outbox.deleteMany({ where: { job: 'of.tomorrow' } }));
  });
});
