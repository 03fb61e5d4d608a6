import { randomBytes } from 'node:crypto';
import { type Clock, type Log, Secret } from '@alcove/base';
import type { Audit } from '@alcove/audit';
import { type KeyRotation, type Principal, Problem, type SetKeyProvider, type TenantKeyProvider } from '@alcove/contracts';
import type { Db, SqlTx } from '@alcove/db';
import { actorOf, requireScope } from '@alcove/identity';
import { keyBytes, type KeyProvider, keyUnavailableReason, wipe } from '@alcove/vault';
import { kekContext } from './derivation';
import type { KeyTree } from './key-tree';
import type { Rotations } from './rotations';
import type { ProviderRow, TenantProviders } from './tenant-providers';
import type { ProviderState, WrapsDb } from './wraps';

export interface TenantKeysParts {
  readonly db: Db;
  readonly wraps: WrapsDb;
  readonly tree: KeyTree;
  readonly providers: TenantProviders;
  readonly rotations: Rotations;
  readonly audit: Audit;
  readonly clock: Clock;
  readonly log: Log;
  /** Within this time a revocation closes everything, milliseconds: that of the cache of unwrapped keys. */
  readonly closesWithinMs: number;
}

/** Who holds the key above a tenant's: the platform, or a provider that the tenant brought. Never one in place of the other: what cannot be opened stays closed. */
export class TenantKeys {
  constructor(private readonly parts: TenantKeysParts) {}

  /** Problems: `auth.scope`, `tenant.not_found`. */
  async get(principal: Principal, tenantId: string): Promise<TenantKeyProvider> {
    requireScope(principal, 'platform');
    await this.parts.db.withTenantSql(tenantId, (tx) => requireTenant(tx, tenantId));
    return this.#answer(tenantId);
  }

  /**
   * Brings a provider, or changes how the same key is asked. It is tried first. The tenant's key is replaced by one that it wraps, and users' keys follow by a rotation. Problems: `auth.scope`,
   * `tenant.not_found`, `request.invalid`, `key.provider_refused`, `key.provider_in_use` when wraps are under another key that this one does not open.
   */
  async set(principal: Principal, tenantId: string, given: SetKeyProvider): Promise<TenantKeyProvider> {
    requireScope(principal, 'platform');
    const { db, providers, rotations, tree } = this.parts;
    await db.withTenantSql(tenantId, (tx) => requireTenant(tx, tenantId));
    const provider = await providers.open(given);
    const { keyId } = provider;
    try {
      await tried(provider, tenantId);
      const others = await this.#heldByTenant(tenantId);
      if (others.some((other) => !provider.opens(other))) throw new Problem('key.provider_in_use');
    } finally {
      await provider.close();
    }
    await providers.save(tenantId, given, keyId);
    await this.#record(principal, tenantId, { kind: given.kind, keyId });
    const active = await tree.activeKek(tenantId);
    if (active.holder !== 'tenant' || active.keyId !== keyId) await rotations.start(tenantId, 'tenant');
    return this.#answer(tenantId);
  }

  /** Back to the platform's root; the provider is asked until the last wrap has moved. Problems: `auth.scope`, `tenant.not_found`, `vault.key_unavailable` when it does not answer any more. */
  async remove(principal: Principal, tenantId: string): Promise<TenantKeyProvider> {
    requireScope(principal, 'platform');
    const { db, rotations, tree, providers } = this.parts;
    await db.withTenantSql(tenantId, (tx) => requireTenant(tx, tenantId));
    const active = await tree.activeKek(tenantId);
    if (active.holder === 'tenant') {
      // Else what is under it would stay closed while new keys were made under the platform's root.
      wipe((await (await providers.ofTenant(tenantId)).unwrap(Buffer.from(active.wrapped ?? []), kekContext(tenantId, active.version))).expose());
      await this.#record(principal, tenantId, { kind: 'platform', keyId: null });
      await rotations.start(tenantId, 'platform');
    }
    return this.#answer(tenantId);
  }

  /** A new version of the tenant's key under the same holder. Problems: `auth.scope`, `tenant.not_found`, `vault.key_unavailable`. */
  async rotate(principal: Principal, tenantId: string): Promise<KeyRotation> {
    requireScope(principal, 'platform');
    const { db, rotations, audit } = this.parts;
    await db.withTenantSql(tenantId, async (tx) => {
      await requireTenant(tx, tenantId);
      await audit.append(tx, { tenantId, actor: actorOf(principal), action: 'key.rotate_tenant', resource: `tenant:${tenantId}`, facts: {} });
    });
    return rotations.start(tenantId);
  }

  /** Problems: `auth.scope`, `key.rotation_not_found`. */
  rotation(principal: Principal, tenantId: string, id: string): Promise<KeyRotation> {
    requireScope(principal, 'platform');
    return this.parts.rotations.get(tenantId, id);
  }

  /** Tenants whose provider refuses its key: their rooms may not run. */
  async revoked(): Promise<string[]> {
    const rows = await this.parts.wraps.asSystemSql('reconcile', async (tx) => tx.$queryRaw<{ tenantId: string }[]>`select tenant_id::text as "tenantId" from tenant_provider where state = 'revoked'`);
    return rows.map(({ tenantId }) => tenantId);
  }

  /** The reconciler: asks each provider whether it still opens the tenant's key, and writes down what it says. Every process heeds that at the next use of a key. */
  async watch(limit: number): Promise<{ revoked: number; unreachable: number; back: number }> {
    const report = { revoked: 0, unreachable: 0, back: 0 };
    for (const row of await this.parts.providers.all(limit)) {
      const state = await this.#ask(row);
      if (!(await this.parts.providers.mark(row.tenantId, state))) continue;
      this.parts.log.warn({ tenantId: row.tenantId, from: row.state, state }, "a tenant's key provider answers otherwise than before");
      if (state !== 'available') this.#forget(row.tenantId);
      report[state === 'available' ? 'back' : state] += 1;
    }
    return report;
  }

  async #ask({ tenantId, state }: ProviderRow): Promise<ProviderState> {
    const { providers, wraps } = this.parts;
    const [kek] = await wraps.withTenantSql(tenantId, async (tx) => tx.$queryRaw<{ version: number; wrapped: Uint8Array }[]>`
      select version, wrapped from tenant_kek where tenant_id = ${tenantId}::uuid and holder = 'tenant' and state <> 'retired' order by version desc limit 1`);
    // Brought, and nothing is under it yet.
    if (!kek) return state;
    try {
      wipe((await (await providers.ofTenant(tenantId)).unwrap(Buffer.from(kek.wrapped), kekContext(tenantId, kek.version))).expose());
      return 'available';
    } catch (error) {
      return keyUnavailableReason(error) === 'denied' ? 'revoked' : 'unreachable';
    }
  }

  /** What this process has unwrapped; others heed the state, or their cache's time. */
  #forget(tenantId: string): void {
    this.parts.tree.cache.forget(`tenant/${tenantId}/`);
    this.parts.tree.cache.forget(`user/${tenantId}/`);
  }

  async #heldByTenant(tenantId: string): Promise<string[]> {
    const rows = await this.parts.wraps.withTenantSql(tenantId, async (tx) => tx.$queryRaw<{ keyId: string }[]>`
      select distinct key_id as "keyId" from tenant_kek where tenant_id = ${tenantId}::uuid and holder = 'tenant' and state <> 'retired'`);
    return rows.map(({ keyId }) => keyId);
  }

  async #record(principal: Principal, tenantId: string, facts: { kind: string; keyId: string | null }): Promise<void> {
    const { db, audit } = this.parts;
    await db.withTenantSql(tenantId, async (tx) => void (await audit.append(tx, { tenantId, actor: actorOf(principal), action: 'key.provider', resource: `tenant:${tenantId}`, facts })));
  }

  async #answer(tenantId: string): Promise<TenantKeyProvider> {
    const { providers, rotations, tree, closesWithinMs } = this.parts;
    const row = await providers.find(tenantId);
    const { holder } = await tree.activeKek(tenantId);
    return {
      holder, kind: row?.kind ?? null, keyId: row?.keyId ?? null, state: row?.state ?? null, stateSince: row?.stateSince.toISOString() ?? null, askedAt: row?.askedAt.toISOString() ?? null,
      closesWithinMs, rotation: await rotations.newest(tenantId),
    };
  }
}

/** Whether it wraps and unwraps. Problem `key.provider_refused` with what it said. */
async function tried(provider: KeyProvider, tenantId: string): Promise<void> {
  const key = new Secret(randomBytes(keyBytes));
  try {
    const context = ['tenant-provider', tenantId, 'trial'];
    const back = await provider.unwrap(await provider.wrap(key, context), context);
    const same = back.expose().equals(key.expose());
    wipe(back.expose());
    if (!same) throw new Problem('key.provider_refused', { detail: 'it gave back another key than it was given' });
  } catch (error) {
    if (error instanceof Problem && error.code !== 'key.provider_refused') throw new Problem('key.provider_refused', { detail: error.detail, cause: error });
    throw error;
  } finally {
    wipe(key.expose());
  }
}

async function requireTenant(tx: SqlTx, tenantId: string): Promise<void> {
  const rows = await tx.$queryRaw<unknown[]>`select 1 from tenant where id = ${tenantId}::uuid`;
  if (rows.length === 0) throw new Problem('tenant.not_found');
}
