import type { Clock, Log } from '@alcove/base';
import type { JobName, JobPayload } from '@alcove/contracts';
import { appendOutbox, type Db, lockWaiting, markDispatched, nextDue, postpone, removeDispatched, type SqlTx, type Tx, type WaitingEntry } from '@alcove/db';
import { isJobName, parsePayload } from './catalogue';
import { type DispatchReport, type EnqueueOptions, Outbox } from './outbox';
import { type QueuedJob, queuedJob } from './queue';

/** An entry that this version does not understand is looked at again after this time: another version may. */
const puzzledMs = 60_000;

/** The outbox table of libs/db. A dispatcher holds its rows locked, so several may run. */
export class PostgresOutbox extends Outbox {
  readonly #db: Db;
  readonly #clock: Clock;
  readonly #log: Log;

  constructor(db: Db, clock: Clock, log: Log) {
    super();
    this.#db = db;
    this.#clock = clock;
    this.#log = log;
  }

  async enqueue<N extends JobName>(tx: SqlTx, name: N, payload: JobPayload<N>, options: EnqueueOptions = {}): Promise<void> {
    const parsed = parsePayload(name, payload);
    const now = this.#clock.now();
    await appendOutbox(tx, { tenantId: parsed.tenantId, job: name, payload: parsed, now, notBefore: options.notBefore ?? now });
  }

  dispatch(batch: number, take: (jobs: QueuedJob[]) => Promise<void>): Promise<DispatchReport> {
    const run = async (tx: Tx): Promise<DispatchReport> => {
      const entries = await lockWaiting(tx, this.#clock.now(), batch);
      const { jobs, puzzling } = this.#read(entries);
      if (puzzling.length > 0) await postpone(tx, puzzling, this.#clock.now() + puzzledMs);
      if (jobs.length > 0) {
        // A crash from here on has the queue take the same ids again, which it knows.
        await take(jobs.map(({ job }) => job));
        await markDispatched(tx, jobs.map(({ row }) => row), this.#clock.now());
      }
      return { taken: jobs.length, nextDueAt: await nextDue(tx) };
    };
    return this.#db.asSystem('dispatch-outbox', run, { retry: false });
  }

  prune(before: number): Promise<number> {
    return this.#db.asSystem('dispatch-outbox', (tx) => removeDispatched(tx, before));
  }

  #read(entries: readonly WaitingEntry[]): { jobs: { row: bigint; job: QueuedJob }[]; puzzling: bigint[] } {
    const jobs: { row: bigint; job: QueuedJob }[] = [];
    const puzzling: bigint[] = [];
    for (const entry of entries) {
      const job = readJob(entry);
      if (job) {
        jobs.push({ row: entry.id, job });
        continue;
      }
      this.#log.error({ outbox: String(entry.id), job: entry.job }, 'an outbox entry that this version does not understand');
      puzzling.push(entry.id);
    }
    return { jobs, puzzling };
  }
}

function readJob(entry: WaitingEntry): QueuedJob | null {
  if (!isJobName(entry.job)) return null;
  try {
    return queuedJob(`outbox-${entry.id}`, entry.job, parsePayload(entry.job, entry.payload));
  } catch {
    return null;
  }
}
