import { randomBytes } from 'node:crypto';
import { assert, type Clock, Secret } from '@alcove/base';
import { isProblem, Problem } from '@alcove/contracts';
import type { SqlTx } from '@alcove/db';
import { keyBytes, unwrapKey, wipe, wrapKey } from '@alcove/vault';
import { dekContext, kekContext, type KeyOwner } from './derivation';
import type { KeyTree } from './key-tree';
import { holdActiveKek, type KekRow, type WrapsDb } from './wraps';

interface WrappedDek {
  readonly userId: string;
  readonly version: number;
  readonly kekVersion: number;
  readonly wrapped: Uint8Array;
}

export interface RewrapReport {
  readonly rewrapped: number;
  /** Wraps that are still under older versions. */
  readonly left: number;
  /** Of those of this batch: they open nothing, and stay where they are. */
  readonly damaged: number;
}

const batchSize = 200;

/**
 * Gives a tenant a new version of its key: begun, then every user's key wrapped again under it, batch by batch, then the old versions retired (their wraps removed). No
 * data is touched. Each part may be done again, by several at once, and goes on where a process died: what is left to do is in the rows.
 */
export class KekRotation {
  constructor(
    private readonly db: WrapsDb,
    private readonly tree: KeyTree,
    private readonly clock: Clock,
  ) {}

  /** Makes a new version the active one, held by whom it says (default: as before), unless the active one is not `from` any more. Resolves with the active version. */
  async begin(tenantId: string, from: number, holder?: 'platform' | 'tenant'): Promise<number> {
    const active = await this.tree.activeKek(tenantId);
    if (active.version !== from) return active.version;
    const version = (await this.#newest(tenantId)) + 1;
    const provider = await this.tree.holderOf(tenantId, holder ?? active.holder);
    const fresh = new Secret(randomBytes(keyBytes));
    const wrapped = await provider.wrap(fresh, kekContext(tenantId, version)).finally(() => wipe(fresh.expose()));
    const at = new Date(this.clock.now());
    await this.db.withTenantSql(tenantId, async (tx) => {
      const left = await tx.$executeRaw`update tenant_kek set state = 'decrypt_only' where tenant_id = ${tenantId}::uuid and version = ${from}::int and state = 'active'`;
      // Somebody else has replaced it meanwhile.
      if (left === 0) return;
      await tx.$executeRaw`
        insert into tenant_kek (tenant_id, version, state, holder, wrapped, key_id, created_at)
        values (${tenantId}::uuid, ${version}::int, 'active', ${holder ?? active.holder}, ${wrapped}, ${provider.keyId}, ${at}::timestamptz)`;
    });
    return (await this.tree.activeKek(tenantId)).version;
  }

  /** Wraps the next users' keys again under the active version. */
  async rewrapBatch(tenantId: string, limit: number = batchSize): Promise<RewrapReport> {
    const active = await this.tree.activeKek(tenantId);
    const rows = await this.db.withTenantSql(tenantId, async (tx) => tx.$queryRaw<WrappedDek[]>`
      select user_id as "userId", version, kek_version as "kekVersion", wrapped from user_dek
      where tenant_id = ${tenantId}::uuid and wrapped is not null and kek_version <> ${active.version}::int order by kek_version, user_id, version limit ${limit}`);
    const again = await this.#wrapAgain(tenantId, active, rows);
    const rewrapped = await this.db.withTenantSql(tenantId, (tx) => store(tx, tenantId, active.version, again));
    return { rewrapped, left: await this.left(tenantId), damaged: rows.length - again.length };
  }

  /** How many users' keys are not under the active version. */
  async left(tenantId: string): Promise<number> {
    const [row] = await this.db.withTenantSql(tenantId, async (tx) => tx.$queryRaw<{ left: number }[]>`
      select count(*)::int as left from user_dek d join tenant_kek k on k.tenant_id = d.tenant_id and k.version = d.kek_version
      where d.tenant_id = ${tenantId}::uuid and d.wrapped is not null and k.state <> 'active'`);
    return row?.left ?? 0;
  }

  /** Removes the wraps of old versions under which nothing is any more. Resolves with the versions that this call retired. */
  async retire(tenantId: string): Promise<number[]> {
    const at = new Date(this.clock.now());
    const rows = await this.db.withTenantSql(tenantId, async (tx) => tx.$queryRaw<{ version: number }[]>`
      update tenant_kek k set state = 'retired', wrapped = null, retired_at = ${at}::timestamptz
      where k.tenant_id = ${tenantId}::uuid and k.state = 'decrypt_only'
        and not exists (select 1 from user_dek d where d.tenant_id = k.tenant_id and d.kek_version = k.version and d.wrapped is not null)
      returning version`);
    for (const { version } of rows) this.tree.cache.forget(`tenant/${tenantId}/${version}/`);
    return rows.map(({ version }) => version);
  }

  /** The versions that can still open something. */
  async live(tenantId: string): Promise<{ version: number; state: 'active' | 'decrypt_only' }[]> {
    return this.db.withTenantSql(tenantId, async (tx) => tx.$queryRaw<{ version: number; state: 'active' | 'decrypt_only' }[]>`
      select version, state from tenant_kek where tenant_id = ${tenantId}::uuid and state <> 'retired' order by version`);
  }

  async #newest(tenantId: string): Promise<number> {
    const [row] = await this.db.withTenantSql(tenantId, async (tx) => tx.$queryRaw<{ version: number }[]>`select max(version) as version from tenant_kek where tenant_id = ${tenantId}::uuid`);
    assert(row !== undefined, 'a tenant with an active key has a newest one');
    return row.version;
  }

  async #wrapAgain(tenantId: string, active: KekRow, rows: readonly WrappedDek[]): Promise<(WrappedDek & { again: Buffer })[]> {
    const keks = new Map<number, Secret<Buffer>>();
    try {
      for (const version of new Set([active.version, ...rows.map(({ kekVersion }) => kekVersion)])) keks.set(version, await this.#open(tenantId, version));
      return rows.flatMap((row) => {
        const again = wrapAgain({ tenantId, userId: row.userId }, row, at(keks, row.kekVersion), at(keks, active.version));
        return again ? [{ ...row, again }] : [];
      });
    } finally {
      for (const key of keks.values()) wipe(key.expose());
    }
  }

  async #open(tenantId: string, version: number): Promise<Secret<Buffer>> {
    const [row] = await this.db.withTenantSql(tenantId, async (tx) => tx.$queryRaw<KekRow[]>`
      select version, state, holder, wrapped, key_id as "keyId" from tenant_kek where tenant_id = ${tenantId}::uuid and version = ${version}::int`);
    if (!row) throw new Problem('vault.corrupt', { detail: `the tenant never had a key of version ${version}` });
    return (await this.tree.openKek(tenantId, row)).key;
  }
}

/** Undefined for a wrap that is damaged: it opens nothing under any version, and must not keep the others from being wrapped again. */
function wrapAgain(owner: KeyOwner, row: WrappedDek, from: Secret<Buffer>, to: Secret<Buffer>): Buffer | undefined {
  const context = dekContext(owner, row.version);
  try {
    const key = unwrapKey(from, Buffer.from(row.wrapped), context);
    const again = wrapKey(to, key, context);
    wipe(key.expose());
    return again;
  } catch (error) {
    if (isProblem(error, 'vault.corrupt')) return undefined;
    throw error;
  }
}

/** Nothing when the version does not wrap any more; and no key that was destroyed or wrapped again meanwhile. */
async function store(tx: SqlTx, tenantId: string, kekVersion: number, rows: readonly (WrappedDek & { again: Buffer })[]): Promise<number> {
  if (rows.length === 0 || !(await holdActiveKek(tx, tenantId, kekVersion))) return 0;
  let stored = 0;
  for (const { userId, version, wrapped, again } of rows) {
    stored += await tx.$executeRaw`
      update user_dek set wrapped = ${again}, kek_version = ${kekVersion}::int
      where tenant_id = ${tenantId}::uuid and user_id = ${userId} and version = ${version}::int and wrapped = ${Buffer.from(wrapped)}`;
  }
  return stored;
}

function at(keks: ReadonlyMap<number, Secret<Buffer>>, version: number): Secret<Buffer> {
  const key = keks.get(version);
  assert(key !== undefined, 'the keys of these versions are open');
  return key;
}
