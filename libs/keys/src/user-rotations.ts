import { randomBytes } from 'node:crypto';
import { type Clock, type Log, newId, Secret } from '@alcove/base';
import type { Audit } from '@alcove/audit';
import { isProblem, type Principal, Problem, type UserKeyRotation } from '@alcove/contracts';
import type { Db, SqlTx } from '@alcove/db';
import { actorOf, requireScope, tenantOf, type Users } from '@alcove/identity';
import { keyBytes, wipe, wrapKey } from '@alcove/vault';
import { dekContext, type KeyOwner } from './derivation';
import type { Reseal } from './erasure-ports';
import type { KeyTree } from './key-tree';
import { holdActiveKek, readVersions, type WrapsDb } from './wraps';

export interface UserRotationsParts {
  readonly db: Db;
  readonly wraps: WrapsDb;
  readonly tree: KeyTree;
  readonly users: Pick<Users, 'get' | 'requireActive'>;
  readonly audit: Audit;
  readonly clock: Clock;
  readonly log: Log;
}

interface Row {
  readonly id: string;
  readonly tenantId: string;
  readonly userId: string;
  readonly state: UserKeyRotation['state'];
  readonly done: string;
  readonly error: string | null;
  readonly startedAt: Date;
  readonly endedAt: Date | null;
}

/** Parts that one run seals again for one user. */
const partsPerRun = 50;
/** A lost race for a version is tried so often. */
const attempts = 5;

/**
 * Gives a user a new version of its key, for when the one before may be known to somebody: what is written from then on is under it, and what libs registered to seal again is sealed again by a
 * reconciler. Older versions still open what is under them: what a room has is derived from the first one and stays so.
 */
export class UserRotations {
  readonly #reseals: Reseal[] = [];

  constructor(private readonly parts: UserRotationsParts) {}

  /** Makes known what a lib seals again: before anything runs, in every process that runs reconcilers. */
  register(reseal: Reseal): void {
    this.#reseals.push(reseal);
  }

  /** While one runs, that one is the answer. Problems: `auth.scope`, `user.not_found`, `user.gone`, `vault.key_unavailable`. */
  async rotate(principal: Principal, userId: string): Promise<UserKeyRotation> {
    requireScope(principal, 'users:write');
    const owner = { tenantId: tenantOf(principal), userId };
    const { db, users, audit } = this.parts;
    await db.withTenantSql(owner.tenantId, async (tx) => {
      await users.requireActive(tx, owner.tenantId, userId);
      await audit.append(tx, { tenantId: owner.tenantId, actor: actorOf(principal), action: 'key.rotate_user', resource: `user:${userId}`, facts: {} });
    });
    return this.start(owner);
  }

  /** Problems: `auth.scope`, `user.not_found`, `key.rotation_not_found`. */
  async rotation(principal: Principal, userId: string, id: string): Promise<UserKeyRotation> {
    requireScope(principal, 'users:write');
    const tenantId = tenantOf(principal);
    await this.parts.db.withTenantSql(tenantId, (tx) => this.parts.users.get(tx, tenantId, userId));
    return this.get({ tenantId, userId }, id);
  }

  /** The new version and the rotation come to be in one transaction, so there is never one without the other. Problem `vault.key_unavailable`. */
  async start(owner: KeyOwner): Promise<UserKeyRotation> {
    // There is a first version from here on, and what is above it opens.
    await this.parts.tree.lend(owner, () => undefined);
    for (let attempt = 0; attempt < attempts; attempt++) {
      const id = await this.#begin(owner);
      if (id !== null) return this.get(owner, id);
    }
    throw new Problem('vault.key_unavailable', { detail: 'the key of this tenant is being replaced' });
  }

  /** Problem `key.rotation_not_found`. */
  async get({ tenantId, userId }: KeyOwner, id: string): Promise<UserKeyRotation> {
    const [row] = await this.parts.wraps.withTenantSql(tenantId, async (tx) => tx.$queryRaw<Row[]>`
      select id, tenant_id::text as "tenantId", user_id as "userId", state, done::text as done, error, started_at as "startedAt", ended_at as "endedAt"
      from rotation where tenant_id = ${tenantId}::uuid and kind = 'dek' and user_id = ${userId} and id = ${id}`);
    if (!row) throw new Problem('key.rotation_not_found');
    const { state, done, error, startedAt, endedAt } = row;
    return { id, state, resealed: Number(done), error, startedAt: startedAt.toISOString(), endedAt: endedAt?.toISOString() ?? null };
  }

  /** The reconciler: seals a good deal more again of every user whose rotation runs. */
  async advance(limit: number): Promise<{ resealed: number; ended: number }> {
    const rows = await this.parts.wraps.asSystemSql('reconcile', async (tx) => tx.$queryRaw<{ id: string; tenantId: string; userId: string }[]>`
      select id, tenant_id::text as "tenantId", user_id as "userId" from rotation where state = 'running' and kind = 'dek' order by started_at limit ${limit}::int`);
    const report = { resealed: 0, ended: 0 };
    for (const { id, ...owner } of rows) {
      try {
        report.ended += (await this.#further(owner, id, (count) => void (report.resealed += count))) ? 1 : 0;
      } catch (error) {
        if (!isProblem(error)) throw error;
        this.parts.log.warn({ err: error, ...owner }, "a rotation of a user's key waits");
        await this.#write(owner, id, { state: 'running', resealed: 0, error: error.code });
      }
    }
    return report;
  }

  /** The id of the rotation that runs now; null when the tenant's or the user's key was replaced meanwhile. */
  async #begin(owner: KeyOwner): Promise<string | null> {
    const { tree, wraps, clock } = this.parts;
    const { tenantId, userId } = owner;
    const kek = await tree.activeKek(tenantId);
    const versions = await wraps.withTenantSql(tenantId, (tx) => readVersions(tx, owner));
    const version = Math.max(...versions.map((one) => one.version)) + 1;
    const { key: tenantKey } = await tree.openKek(tenantId, kek);
    const fresh = new Secret(randomBytes(keyBytes));
    const wrapped = wrapKey(tenantKey, fresh, dekContext(owner, version));
    wipe(fresh.expose());
    wipe(tenantKey.expose());
    const now = new Date(clock.now());
    return wraps.withTenantSql(tenantId, async (tx) => {
      if (!(await holdActiveKek(tx, tenantId, kek.version))) return null;
      // As destroying does: the first version stands for all of them.
      await tx.$queryRaw`select 1 from user_dek where tenant_id = ${tenantId}::uuid and user_id = ${userId} and version = 1 for update`;
      const [running] = await tx.$queryRaw<{ id: string }[]>`select id from rotation where tenant_id = ${tenantId}::uuid and kind = 'dek' and user_id = ${userId} and state = 'running'`;
      if (running) return running.id;
      if (!(await replace(tx, owner, { version, kekVersion: kek.version, wrapped, at: now }))) return null;
      const id = newId('rot');
      await tx.$executeRaw`
        insert into rotation (id, tenant_id, kind, user_id, state, total, done, started_at) values (${id}, ${tenantId}::uuid, 'dek', ${userId}, 'running', 0, 0, ${now}::timestamptz)`;
      return id;
    });
  }

  async #further(owner: KeyOwner, id: string, count: (resealed: number) => void): Promise<boolean> {
    const versions = await this.parts.wraps.withTenantSql(owner.tenantId, (tx) => readVersions(tx, owner));
    if (versions.some(({ state }) => state === 'destroyed')) {
      await this.#write(owner, id, { state: 'failed', resealed: 0, error: 'the key of this user was destroyed' });
      return true;
    }
    let left = partsPerRun;
    for (const reseal of this.#reseals) {
      for (let over = false; !over; left -= 1) {
        if (left === 0) return false;
        const part = await reseal.reseal(owner);
        over = part.over;
        count(part.resealed);
        await this.#write(owner, id, { state: 'running', resealed: part.resealed, error: null });
      }
    }
    await this.#write(owner, id, { state: 'done', resealed: 0, error: null });
    return true;
  }

  async #write({ tenantId }: KeyOwner, id: string, { state, resealed, error }: { state: UserKeyRotation['state']; resealed: number; error: string | null }): Promise<void> {
    const endedAt = state === 'running' ? null : new Date(this.parts.clock.now());
    await this.parts.wraps.withTenantSql(tenantId, async (tx) => tx.$executeRaw`
      update rotation set state = ${state}, done = done + ${resealed}::bigint, error = ${error}, ended_at = ${endedAt}::timestamptz where tenant_id = ${tenantId}::uuid and id = ${id} and state = 'running'`);
  }
}

/** False when there is a version of that number by now, or none that is active. */
async function replace(tx: SqlTx, { tenantId, userId }: KeyOwner, dek: { version: number; kekVersion: number; wrapped: Buffer; at: Date }): Promise<boolean> {
  const older = await tx.$executeRaw`
    update user_dek set state = 'decrypt_only' where tenant_id = ${tenantId}::uuid and user_id = ${userId} and version = ${dek.version - 1}::int and state = 'active'`;
  if (older === 0) return false;
  await tx.$executeRaw`
    insert into user_dek (tenant_id, user_id, version, state, kek_version, wrapped, created_at)
    values (${tenantId}::uuid, ${userId}, ${dek.version}::int, 'active', ${dek.kekVersion}::int, ${dek.wrapped}, ${dek.at}::timestamptz)`;
  return true;
}
