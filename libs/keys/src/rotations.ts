import { type Clock, type Log, newId } from '@alcove/base';
import { isProblem, type KeyRotation, Problem } from '@alcove/contracts';
import type { SqlTx } from '@alcove/db';
import type { KekRotation } from './kek-rotation';
import type { KeyTree } from './key-tree';
import type { TenantProviders } from './tenant-providers';
import type { WrapsDb } from './wraps';

interface RotationRow {
  readonly id: string;
  readonly tenantId: string;
  readonly state: KeyRotation['state'];
  readonly total: string;
  readonly done: string;
  readonly error: string | null;
  readonly startedAt: Date;
  readonly endedAt: Date | null;
}

export interface RotationsParts {
  readonly wraps: WrapsDb;
  readonly tree: KeyTree;
  readonly kek: KekRotation;
  readonly providers: TenantProviders;
  readonly clock: Clock;
  readonly log: Log;
}

/** Batches that one run gives one tenant, so that a large one does not keep the others waiting. */
const batchesPerRun = 50;

/** Rotations of tenants' keys, with their progress. One is begun by a call and brought to its end by a reconciler, whoever dies meanwhile; what is left to do is in the rows of the wraps. */
export class Rotations {
  constructor(private readonly parts: RotationsParts) {}

  /** A new version of the tenant's key, held by whom it says (default: as before). While one runs for the same holder, that one is the answer. */
  async start(tenantId: string, holder?: 'platform' | 'tenant'): Promise<KeyRotation> {
    const { tree, kek, wraps, clock } = this.parts;
    const active = await tree.activeKek(tenantId);
    const running = await this.newest(tenantId);
    if (running?.state === 'running' && (holder ?? active.holder) === active.holder) return running;
    await kek.begin(tenantId, active.version, holder);
    const id = newId('rot');
    const now = new Date(clock.now());
    await wraps.withTenantSql(tenantId, async (tx) => tx.$executeRaw`
      insert into rotation (id, tenant_id, kind, state, total, done, started_at)
      values (${id}, ${tenantId}::uuid, 'kek', 'running', (select count(*) from user_dek where tenant_id = ${tenantId}::uuid and wrapped is not null), 0, ${now}::timestamptz)`);
    return this.get(tenantId, id);
  }

  /** Problem `key.rotation_not_found`. */
  async get(tenantId: string, id: string): Promise<KeyRotation> {
    const [row] = await this.parts.wraps.withTenantSql(tenantId, (tx) => select(tx, tenantId, id));
    if (!row) throw new Problem('key.rotation_not_found');
    return toAnswer(row);
  }

  async newest(tenantId: string): Promise<KeyRotation | null> {
    const [row] = await this.parts.wraps.withTenantSql(tenantId, (tx) => select(tx, tenantId, null));
    return row ? toAnswer(row) : null;
  }

  /** The reconciler: brings those that run a good deal further. How many wraps it moved, and how many rotations it ended. */
  async advance(limit: number): Promise<{ rewrapped: number; ended: number }> {
    const rows = await this.parts.wraps.asSystemSql('reconcile', async (tx) => tx.$queryRaw<{ id: string; tenantId: string }[]>`
      select id, tenant_id::text as "tenantId" from rotation where state = 'running' and kind = 'kek' order by started_at limit ${limit}::int`);
    const report = { rewrapped: 0, ended: 0 };
    for (const { id, tenantId } of rows) {
      try {
        const { rewrapped, ended } = await this.#further(tenantId, id);
        report.rewrapped += rewrapped;
        report.ended += ended ? 1 : 0;
      } catch (error) {
        if (!isProblem(error)) throw error;
        this.parts.log.warn({ err: error, tenantId }, 'a rotation of keys waits');
        await this.#note(tenantId, id, error.code);
      }
    }
    return report;
  }

  async #further(tenantId: string, id: string): Promise<{ rewrapped: number; ended: boolean }> {
    const { kek, providers } = this.parts;
    let rewrapped = 0;
    for (let batch = 0; batch < batchesPerRun; batch++) {
      const report = await kek.rewrapBatch(tenantId);
      rewrapped += report.rewrapped;
      await this.#progress(tenantId, id, report.left);
      if (report.left === 0) {
        await kek.retire(tenantId);
        await providers.removeUnused(tenantId);
        await this.#end(tenantId, id, 'done', null);
        return { rewrapped, ended: true };
      }
      // What is damaged opens under no version, and its old version stays for whoever mends it.
      if (report.rewrapped === 0 && report.damaged === report.left) {
        await this.#end(tenantId, id, 'failed', `${report.damaged} wraps are damaged and stay under older versions`);
        return { rewrapped, ended: true };
      }
    }
    return { rewrapped, ended: false };
  }

  async #progress(tenantId: string, id: string, left: number): Promise<void> {
    await this.parts.wraps.withTenantSql(tenantId, async (tx) => tx.$executeRaw`update rotation set done = greatest(0, total - ${left}::bigint), error = null where tenant_id = ${tenantId}::uuid and id = ${id} and state = 'running'`);
  }

  async #note(tenantId: string, id: string, error: string): Promise<void> {
    await this.parts.wraps.withTenantSql(tenantId, async (tx) => tx.$executeRaw`update rotation set error = ${error} where tenant_id = ${tenantId}::uuid and id = ${id} and state = 'running'`);
  }

  async #end(tenantId: string, id: string, state: 'done' | 'failed', error: string | null): Promise<void> {
    const now = new Date(this.parts.clock.now());
    await this.parts.wraps.withTenantSql(tenantId, async (tx) => tx.$executeRaw`
      update rotation set state = ${state}, error = ${error}, ended_at = ${now}::timestamptz where tenant_id = ${tenantId}::uuid and id = ${id} and state = 'running'`);
  }
}

/** One, or the newest. */
async function select(tx: SqlTx, tenantId: string, id: string | null): Promise<RotationRow[]> {
  return tx.$queryRaw<RotationRow[]>`
    select id, tenant_id::text as "tenantId", state, total::text as total, done::text as done, error, started_at as "startedAt", ended_at as "endedAt"
    from rotation where tenant_id = ${tenantId}::uuid and kind = 'kek' and (${id}::text is null or id = ${id}) order by started_at desc, state = 'running' desc limit 1`;
}

function toAnswer({ id, state, total, done, error, startedAt, endedAt }: RotationRow): KeyRotation {
  return { id, state, total: Number(total), done: Number(done), error, startedAt: startedAt.toISOString(), endedAt: endedAt?.toISOString() ?? null };
}
