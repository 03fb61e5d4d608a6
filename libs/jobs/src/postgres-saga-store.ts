import type { Clock } from '@alcove/base';
import type { Db, SqlTx } from '@alcove/db';
import type { Outbox } from './outbox';
import type { SagaError, SagaOutputs } from './saga';
import { type Lease, type NewSaga, type SagaProgress, type SagaRecord, type SagaState, SagaStore } from './saga-store';

interface Row {
  id: string;
  tenantId: string;
  name: string;
  params: unknown;
  state: string;
  step: number;
  outputs: unknown;
  attempts: number;
  notBefore: Date | null;
  deadlineAt: Date;
  error: unknown;
}

/** The saga table. Times come from the injected clock, so the clocks of the processes must agree to well within a lease. */
export class PostgresSagaStore extends SagaStore {
  readonly #db: Db;
  readonly #outbox: Outbox;
  readonly #clock: Clock;

  constructor(db: Db, outbox: Outbox, clock: Clock) {
    super();
    this.#db = db;
    this.#outbox = outbox;
    this.#clock = clock;
  }

  async insert(tx: SqlTx, saga: NewSaga): Promise<void> {
    const now = new Date(this.#clock.now());
    const { id, tenantId, name, lease } = saga;
    const leaseUntil = lease ? new Date(lease.until) : null;
    await tx.$executeRaw`
      insert into saga (id, tenant_id, name, params, state, lease_owner, lease_until, deadline_at, created_at, updated_at)
      values (
        ${id}, ${tenantId}::uuid, ${name}, ${JSON.stringify(saga.params)}::jsonb, 'running', ${lease?.token ?? null}, ${leaseUntil}::timestamptz,
        ${new Date(saga.deadlineAt)}::timestamptz, ${now}::timestamptz, ${now}::timestamptz
      )`;
    if (!lease) await this.#outbox.enqueue(tx, 'saga.advance', { sagaId: id, tenantId });
  }

  async find(id: string): Promise<SagaRecord | null> {
    const row = await this.#db.asSystem('saga', (tx) => tx.saga.findUnique({ where: { id } }));
    return row ? toRecord(row) : null;
  }

  async acquire(id: string, lease: Lease): Promise<SagaRecord | null> {
    const now = new Date(this.#clock.now());
    const rows = await this.#db.asSystemSql(
      'saga',
      async (tx) => tx.$queryRaw<Row[]>`
        update saga set
          attempts = attempts + case when lease_owner is null then 0 else 1 end,
          lease_owner = ${lease.token}, lease_until = ${new Date(lease.until)}::timestamptz, updated_at = ${now}::timestamptz
        where id = ${id} and state in ('running', 'undoing')
          and (lease_until is null or lease_until < ${now}::timestamptz) and (not_before is null or not_before <= ${now}::timestamptz)
        returning id, tenant_id::text as "tenantId", name, params, state, step, outputs, attempts,
          not_before as "notBefore", deadline_at as "deadlineAt", error`,
    );
    return rows[0] ? toRecord(rows[0]) : null;
  }

  async renew(id: string, lease: Lease): Promise<boolean> {
    const count = await this.#db.asSystemSql(
      'saga',
      async (tx) => tx.$executeRaw`update saga set lease_until = ${new Date(lease.until)}::timestamptz where id = ${id} and lease_owner = ${lease.token}`,
    );
    return count === 1;
  }

  save(id: string, token: string, progress: SagaProgress): Promise<boolean> {
    const now = new Date(this.#clock.now());
    const { state, step, attempts, retryAt } = progress;
    const keepsLease = retryAt === null && (state === 'running' || state === 'undoing');
    const notBefore = retryAt === null ? null : new Date(retryAt);
    const error = progress.error === null ? null : JSON.stringify(progress.error);
    return this.#db.asSystemSql('saga', async (tx) => {
      const rows = await tx.$queryRaw<{ tenantId: string }[]>`
        update saga set
          state = ${state}, step = ${step}, attempts = ${attempts}, outputs = ${JSON.stringify(progress.outputs)}::jsonb, error = ${error}::jsonb,
          not_before = ${notBefore}::timestamptz, updated_at = ${now}::timestamptz,
          lease_owner = case when ${keepsLease}::boolean then lease_owner end, lease_until = case when ${keepsLease}::boolean then lease_until end
        where id = ${id} and lease_owner = ${token}
        returning tenant_id::text as "tenantId"`;
      const tenantId = rows[0]?.tenantId;
      if (tenantId === undefined) return false;
      if (retryAt !== null) await this.#outbox.enqueue(tx, 'saga.advance', { sagaId: id, tenantId }, { notBefore: retryAt });
      return true;
    });
  }

  overdue(graceMs: number, limit: number): Promise<{ id: string; tenantId: string }[]> {
    const now = new Date(this.#clock.now());
    const before = new Date(this.#clock.now() - graceMs);
    return this.#db.asSystem('saga', (tx) =>
      tx.saga.findMany({
        where: {
          state: { in: ['running', 'undoing'] },
          updatedAt: { lt: before },
          AND: [{ OR: [{ leaseUntil: null }, { leaseUntil: { lt: now } }] }, { OR: [{ notBefore: null }, { notBefore: { lt: before } }] }],
        },
        orderBy: { updatedAt: 'asc' },
        take: limit,
        select: { id: true, tenantId: true },
      }),
    );
  }

  async wake(id: string, tenantId: string): Promise<void> {
    await this.#db.asSystem('saga', async (tx) => {
      // Counts as a sign of life, so that the next look does not wake it again before the queue had time.
      await tx.saga.updateMany({ where: { id }, data: { updatedAt: new Date(this.#clock.now()) } });
      await this.#outbox.enqueue(tx, 'saga.advance', { sagaId: id, tenantId });
    });
  }

  unstick(id: string): Promise<boolean> {
    const now = new Date(this.#clock.now());
    return this.#db.asSystem('saga', async (tx) => {
      const stuck = await tx.saga.findFirst({ where: { id, state: 'stuck' }, select: { tenantId: true } });
      if (!stuck) return false;
      const { count } = await tx.saga.updateMany({ where: { id, state: 'stuck' }, data: { state: 'undoing', attempts: 0, notBefore: null, updatedAt: now } });
      if (count === 1) await this.#outbox.enqueue(tx, 'saga.advance', { sagaId: id, tenantId: stuck.tenantId });
      return count === 1;
    });
  }

  async prune(before: number): Promise<number> {
    const { count } = await this.#db.asSystem('saga', (tx) =>
      tx.saga.deleteMany({ where: { state: { in: ['done', 'undone'] }, updatedAt: { lt: new Date(before) } } }),
    );
    return count;
  }
}

function toRecord(row: Row): SagaRecord {
  return {
    id: row.id,
    tenantId: row.tenantId,
    name: row.name,
    params: row.params,
    state: row.state as SagaState,
    step: row.step,
    outputs: row.outputs as SagaOutputs,
    attempts: row.attempts,
    notBefore: row.notBefore?.getTime() ?? null,
    deadlineAt: row.deadlineAt.getTime(),
    error: row.error as SagaError | null,
  };
}
