import { newId, newUuid } from '@alcove/base';
import { type Consumption, type JobHandler, type JobQueue, jobCatalogue, type QueuedJob } from '@alcove/jobs';
import { until } from '../db/database';
import { allQueues, type QueueUnderTest } from './queues';

const tenantId = newUuid();
const sagaJob = (id: string = newId('job')): QueuedJob => ({ id, name: 'saga.advance', payload: { sagaId: id, tenantId } });
const roomJob = (id: string = newId('job')): QueuedJob => ({ id, name: 'room.reconcile', payload: { roomId: id, tenantId } });

describe.each(allQueues)('the queue on %s', (_name, make) => {
  let place: QueueUnderTest;
  let queue: JobQueue;
  let consumptions: Consumption[];
  const consume = async (handler: JobHandler, concurrency = 4, on: 'sagas' | 'upkeep' = 'sagas'): Promise<void> => {
    consumptions.push(await queue.consume(on, handler, concurrency));
  };

  beforeEach(async () => {
    place = await make();
    queue = place.open();
    consumptions = [];
  });
  afterEach(async () => {
    await Promise.all(consumptions.map((consumption) => consumption.stop()));
    await queue.close();
    await place.remove();
  });

  it('hands every job to a handler, with its payload', async () => {
    const jobs = Array.from({ length: 20 }, () => sagaJob());
    await Promise.all(jobs.slice(0, 10).map((job) => queue.add(job)));
    const seen: QueuedJob[] = [];
    await consume(async (job) => void seen.push(job));
    await Promise.all(jobs.slice(10).map((job) => queue.add(job)));
    await until(() => seen.length === jobs.length);
    const byId = (a: QueuedJob, b: QueuedJob): number => (a.id < b.id ? -1 : 1);
    expect(seen.sort(byId)).toEqual(jobs.sort(byId));
  });

  it('takes a job of a known id once, while it waits and after it is done', async () => {
    const job = sagaJob();
    const seen: string[] = [];
    await queue.add(job);
    await queue.add(job);
    await consume(async ({ id }) => void seen.push(id));
    await until(() => seen.length > 0);
    await queue.add(job);
    const last = sagaJob();
    await queue.add(last);
    await until(() => seen.includes(last.id));
    expect(seen).toEqual([job.id, last.id]);
  });

  it('tries a failing job again, as often as the catalogue says', async () => {
    const job = roomJob();
    const attempts: number[] = [];
    await consume(async (_job, { attempt }) => {
      attempts.push(attempt);
      throw new Error('on purpose');
    }, 1, 'upkeep');
    await queue.add(job);
    const { attempts: allowed } = jobCatalogue['room.reconcile'];
    await until(() => attempts.length === allowed);
    await queue.add(job);
    const other = roomJob();
    await queue.add(other);
    await until(() => attempts.length === allowed * 2);
    expect(attempts).toEqual([1, 2, 3, 1, 2, 3]);
  });

  it('keeps to its concurrency', async () => {
    let running = 0;
    let most = 0;
    let done = 0;
    let release: () => void = () => undefined;
    const gate = new Promise<void>((resolve) => (release = resolve));
    await consume(async () => {
      most = Math.max(most, ++running);
      await gate;
      running -= 1;
      done += 1;
    }, 3);
    for (let i = 0; i < 8; i++) await queue.add(sagaJob());
    await until(() => running === 3);
    release();
    await until(() => done === 8);
    expect(most).toBe(3);
  });

  it('keeps the queues apart', async () => {
    const seen: string[] = [];
    await consume(async ({ name }) => void seen.push(`sagas ${name}`), 1, 'sagas');
    await consume(async ({ name }) => void seen.push(`upkeep ${name}`), 1, 'upkeep');
    await queue.add(sagaJob());
    await queue.add(roomJob());
    await until(() => seen.length === 2);
    expect(seen.sort()).toEqual(['sagas saga.advance', 'upkeep room.reconcile']);
  });

  it('waits for what runs when it is stopped, and hands the rest to the next consumer', async () => {
    let release: () => void = () => undefined;
    const gate = new Promise<void>((resolve) => (release = resolve));
    const finished: string[] = [];
    const first = sagaJob();
    let started = false;
    const consumption = await queue.consume('sagas', async ({ id }) => {
      started = true;
      await gate;
      finished.push(id);
    }, 1);
    await queue.add(first);
    await until(() => started);
    const second = sagaJob();
    await queue.add(second);
    const stopped = consumption.stop();
    release();
    await stopped;
    expect(finished).toEqual([first.id]);
    await consume(async ({ id }) => void finished.push(id));
    await until(() => finished.length === 2);
    expect(finished).toEqual([first.id, second.id]);
  });
});
