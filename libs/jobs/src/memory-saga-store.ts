import type { Clock } from '@alcove/base';
import type { MemoryScope, Outbox } from './outbox';
import { type Lease, type NewSaga, type SagaProgress, type SagaRecord, SagaStore } from './saga-store';

interface Entry {
  record: SagaRecord;
  lease: Lease | null;
  updatedAt: number;
}

/** The saga store of the simulator. Values are copied in and out as JSON, as the table would. */
export class MemorySagaStore extends SagaStore<MemoryScope | undefined> {
  readonly #outbox: Outbox<MemoryScope | undefined>;
  readonly #clock: Clock;
  readonly #entries = new Map<string, Entry>();

  constructor(outbox: Outbox<MemoryScope | undefined>, clock: Clock) {
    super();
    this.#outbox = outbox;
    this.#clock = clock;
  }

  async insert(scope: MemoryScope | undefined, saga: NewSaga): Promise<void> {
    const { lease, ...rest } = saga;
    const record: SagaRecord = copy({ ...rest, state: 'running', step: 0, outputs: {}, attempts: 0, notBefore: null, error: null });
    this.#entries.set(saga.id, { record, lease, updatedAt: this.#clock.now() });
    scope?.onRollback(() => this.#entries.delete(saga.id));
    if (!lease) await this.#outbox.enqueue(scope, 'saga.advance', { sagaId: saga.id, tenantId: saga.tenantId });
  }

  async find(id: string): Promise<SagaRecord | null> {
    const entry = this.#entries.get(id);
    return entry ? copy(entry.record) : null;
  }

  async acquire(id: string, lease: Lease): Promise<SagaRecord | null> {
    const entry = this.#entries.get(id);
    const now = this.#clock.now();
    if (!entry || !isOpen(entry.record) || (entry.lease && entry.lease.until >= now)) return null;
    if (entry.record.notBefore !== null && entry.record.notBefore > now) return null;
    const abandoned = entry.lease ? 1 : 0;
    entry.record = { ...entry.record, attempts: entry.record.attempts + abandoned };
    entry.lease = lease;
    entry.updatedAt = now;
    return copy(entry.record);
  }

  async renew(id: string, lease: Lease): Promise<boolean> {
    const entry = this.#entries.get(id);
    if (entry?.lease?.token !== lease.token) return false;
    entry.lease = lease;
    return true;
  }

  async save(id: string, token: string, progress: SagaProgress): Promise<boolean> {
    const entry = this.#entries.get(id);
    if (entry?.lease?.token !== token) return false;
    const { retryAt, ...rest } = progress;
    entry.record = copy({ ...entry.record, ...rest, notBefore: retryAt });
    entry.updatedAt = this.#clock.now();
    if (retryAt !== null || !isOpen(entry.record)) entry.lease = null;
    if (retryAt !== null) await this.#outbox.enqueue(undefined, 'saga.advance', { sagaId: id, tenantId: entry.record.tenantId }, { notBefore: retryAt });
    return true;
  }

  async overdue(graceMs: number, limit: number): Promise<{ id: string; tenantId: string }[]> {
    const now = this.#clock.now();
    const before = now - graceMs;
    return [...this.#entries.values()]
      .filter(({ record, lease, updatedAt }) => isOpen(record) && updatedAt < before && (!lease || lease.until < now) && (record.notBefore ?? 0) < before)
      .sort((a, b) => a.updatedAt - b.updatedAt)
      .slice(0, limit)
      .map(({ record }) => ({ id: record.id, tenantId: record.tenantId }));
  }

  async wake(id: string, tenantId: string): Promise<void> {
    const entry = this.#entries.get(id);
    if (entry) entry.updatedAt = this.#clock.now();
    await this.#outbox.enqueue(undefined, 'saga.advance', { sagaId: id, tenantId });
  }

  async unstick(id: string): Promise<boolean> {
    const entry = this.#entries.get(id);
    if (entry?.record.state !== 'stuck') return false;
    entry.record = { ...entry.record, state: 'undoing', attempts: 0, notBefore: null };
    await this.wake(id, entry.record.tenantId);
    return true;
  }

  async prune(before: number): Promise<number> {
    const old = [...this.#entries].filter(([, { record, updatedAt }]) => (record.state === 'done' || record.state === 'undone') && updatedAt < before);
    for (const [id] of old) this.#entries.delete(id);
    return old.length;
  }
}

function isOpen(record: SagaRecord): boolean {
  return record.state === 'running' || record.state === 'undoing';
}

function copy<T>(value: T): T {
  return JSON.parse(JSON.stringify(value)) as T;
}
