import type { Clock } from '@alcove/base';
import type { JobName, JobPayload } from '@alcove/contracts';
import { parsePayload } from './catalogue';
import { type DispatchReport, type EnqueueOptions, type MemoryScope, Outbox } from './outbox';
import { type QueuedJob, queuedJob } from './queue';

interface Entry {
  job: QueuedJob;
  notBefore: number;
  dispatchedAt: number | null;
  locked: boolean;
}

/** The outbox of the simulator. */
export class MemoryOutbox extends Outbox<MemoryScope | undefined> {
  readonly #clock: Clock;
  readonly #entries = new Map<number, Entry>();
  #last = 0;

  constructor(clock: Clock) {
    super();
    this.#clock = clock;
  }

  async enqueue<N extends JobName>(scope: MemoryScope | undefined, name: N, payload: JobPayload<N>, options: EnqueueOptions = {}): Promise<void> {
    const id = ++this.#last;
    const job = queuedJob(`outbox-${id}`, name, parsePayload(name, payload));
    this.#entries.set(id, { job, notBefore: options.notBefore ?? this.#clock.now(), dispatchedAt: null, locked: false });
    scope?.onRollback(() => this.#entries.delete(id));
  }

  async dispatch(batch: number, take: (jobs: QueuedJob[]) => Promise<void>): Promise<DispatchReport> {
    const now = this.#clock.now();
    const due = this.#waiting()
      .filter((entry) => entry.notBefore <= now && !entry.locked)
      .slice(0, batch);
    for (const entry of due) entry.locked = true;
    try {
      if (due.length > 0) await take(due.map((entry) => entry.job));
      for (const entry of due) entry.dispatchedAt = this.#clock.now();
    } finally {
      for (const entry of due) entry.locked = false;
    }
    return { taken: due.length, nextDueAt: this.#waiting()[0]?.notBefore ?? null };
  }

  async prune(before: number): Promise<number> {
    const old = [...this.#entries].filter(([, entry]) => entry.dispatchedAt !== null && entry.dispatchedAt < before);
    for (const [id] of old) this.#entries.delete(id);
    return old.length;
  }

  #waiting(): Entry[] {
    return [...this.#entries.values()].filter((entry) => entry.dispatchedAt === null).sort((a, b) => a.notBefore - b.notBefore);
  }
}
