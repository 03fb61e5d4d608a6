/**
 * A worker in a process of its own, to be killed. Arguments: a JSON object. It writes a line to standard output for each thing that happens, and for each
 * finished job a row that a test can count.
 */
import { silentLog, systemClock } from '@alcove/base';
import { Db } from '@alcove/db';
import { BullQueue, JobWorker, OutboxDispatcher, PostgresOutbox, type QueueBackend, sagaProcessor, SagaRunner, PostgresSagaStore } from '@alcove/jobs';
import { idle } from './queues';

export interface WorkerArguments {
  url: string;
  backend: QueueBackend;
  lockMs: number;
  /** `hang`: a job never ends. `dispatch-and-hang`: the queue has the jobs, and the dispatcher never hears of it. */
  mode: 'hang' | 'dispatch-and-hang';
}

async function main(): Promise<void> {
  const { url, backend, lockMs, mode } = JSON.parse(process.argv[2] ?? '{}') as WorkerArguments;
  const db = new Db({ url });
  const queue = new BullQueue(backend, { log: silentLog, lockMs });
  const outbox = new PostgresOutbox(db, systemClock, silentLog);
  const say = (line: string): boolean => process.stdout.write(`${line}\n`);
  if (mode === 'dispatch-and-hang') {
    await outbox.dispatch(100, async (jobs) => {
      await Promise.all(jobs.map((job) => queue.add(job)));
      say(`added ${jobs.length}`);
      await new Promise(() => undefined);
    });
  }
  const runner = new SagaRunner(new PostgresSagaStore(db, outbox, systemClock), { clock: systemClock, log: silentLog });
  const worker = new JobWorker(queue, { clock: systemClock, log: silentLog });
  const hang = async (payload: { roomId?: string }): Promise<void> => {
    say(`started ${payload.roomId ?? ''}`);
    await new Promise(() => undefined);
  };
  await worker.start([sagaProcessor(runner), { job: 'room.reconcile', process: hang }, ...idle]);
  new OutboxDispatcher(outbox, queue, { clock: systemClock, log: silentLog }).start();
  say('ready');
}

void main();
