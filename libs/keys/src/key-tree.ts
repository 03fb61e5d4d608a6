import { createHash, randomBytes } from 'node:crypto';
import { assert, type Clock, Secret } from '@alcove/base';
import { Problem } from '@alcove/contracts';
import type { SqlTx } from '@alcove/db';
import { keyBytes, type KeyProvider, KeyUnavailable, unwrapKey, wipe, wrapKey } from '@alcove/vault';
import { dekContext, kekContext, type KeyOwner } from './derivation';
import { writeLedger } from './erasure-store';
import { type CopiedKey, KeyCache } from './key-cache';
import { type ChainRow, destroyDeks, holdActiveKek, insertFirstDek, insertFirstKek, type KekRow, type ProviderState, readActiveKek, readChain, readVersions, type WrapsDb } from './wraps';

/** Where the provider of a tenant's key is had: the platform's root, or the one that the tenant brought. */
export interface Providers {
  readonly root: KeyProvider;
  /** Opens the tenant's own; kept open. Problem `vault.key_unavailable` when there is none or it cannot be opened. */
  ofTenant(tenantId: string): Promise<KeyProvider>;
}

export interface KeyTreeOptions {
  readonly clock: Clock;
  /** Most unwrapped keys that are kept in memory. */
  readonly cacheSize: number;
  /** How long an unwrapped key is kept, milliseconds: within that time a key that was revoked at its provider is out of use. */
  readonly cacheMs: number;
}

/** A user's keys while they are lent. */
export interface LentVersions {
  readonly current: number;
  /** Problem `vault.corrupt` for a version that the user never had. */
  key(version: number): Secret<Buffer>;
}

/** A lost race for a version of the tenant's key is tried so often. */
const attempts = 5;

/**
 * root (a provider's) → tenant key → user key, each in versions. Every use reads the user's rows, so destruction and revocation take effect at once in every process,
 * and the cache only saves the unwrapping.
 */
export class KeyTree {
  readonly cache: KeyCache;

  constructor(
    private readonly db: WrapsDb,
    private readonly providers: Providers,
    private readonly options: KeyTreeOptions,
  ) {
    this.cache = new KeyCache(options.cacheSize, options.clock);
  }

  /** Lends every version of the user's key to a function that does not keep them: they are copies, overwritten when it returns. The first comes to be at the first use. */
  async lend<T>(owner: KeyOwner, use: (keys: LentVersions) => T): Promise<T> {
    const rows = await this.#chain(owner);
    const current = judge(rows);
    const keys = await this.#open(owner, rows);
    try {
      return use({ current, key: (version) => keys.get(version) ?? unknownVersion(version) });
    } finally {
      for (const key of keys.values()) wipe(key.expose());
    }
  }

  /** As lend, for who must not make a key: undefined when the user never had one. */
  async lendExisting<T>(owner: KeyOwner, use: (keys: LentVersions) => T): Promise<T | undefined> {
    const rows = await this.db.withTenantSql(owner.tenantId, (tx) => readChain(tx, owner));
    return rows.length === 0 ? undefined : this.lend(owner, use);
  }

  /** Removes every version for good; how many this call removed, and all that there ever were. */
  destroy(owner: KeyOwner): Promise<{ removed: number; versions: { version: number; destroyedAt: Date | null }[] }> {
    return this.#destroy(owner, async () => undefined);
  }

  /** As destroy, with the user in the ledger of this database, all at once: from then on no key is made for the user, whatever else is put back. */
  async erase(entry: KeyOwner & { id: string; requestedAt: Date }): Promise<{ removed: number; versions: { version: number; destroyedAt: Date | null }[] }> {
    return this.#destroy(entry, (tx) => writeLedger(tx, entry));
  }

  /** The tenant's key of this row, as a copy that is the caller's to wipe, and until when what it opens may be kept. */
  async openKek(tenantId: string, kek: Pick<KekRow, 'version' | 'holder' | 'wrapped' | 'keyId'>): Promise<CopiedKey> {
    if (!kek.wrapped) throw new Problem('vault.key_unavailable', { detail: `version ${kek.version} of the tenant's key was retired` });
    const wrapped = Buffer.from(kek.wrapped);
    const name = `tenant/${tenantId}/${kek.version}/${fingerprint(wrapped)}`;
    const known = this.cache.get(name);
    if (known) return known;
    const provider = await this.provider(tenantId, kek);
    const until = this.options.clock.monotonic() + this.options.cacheMs;
    const key = await provider.unwrap(wrapped, kekContext(tenantId, kek.version));
    this.cache.put(name, key, until);
    return { key, until };
  }

  /** Who wraps the tenant's key of this row. Problem `vault.key_unavailable` when it was wrapped under a key that this process does not have. */
  async provider(tenantId: string, kek: Pick<KekRow, 'holder' | 'keyId'>): Promise<KeyProvider> {
    const provider = await this.holderOf(tenantId, kek.holder);
    if (!provider.opens(kek.keyId)) throw new KeyUnavailable('denied', `the key of this tenant is wrapped by ${kek.keyId}, and this process has ${provider.keyId}`);
    return provider;
  }

  /** Problem `vault.key_unavailable` when the tenant's own cannot be had. */
  async holderOf(tenantId: string, holder: 'platform' | 'tenant'): Promise<KeyProvider> {
    return holder === 'tenant' ? this.providers.ofTenant(tenantId) : this.providers.root;
  }

  async #destroy(owner: KeyOwner, first: (tx: SqlTx) => Promise<void>): Promise<{ removed: number; versions: { version: number; destroyedAt: Date | null }[] }> {
    const at = new Date(this.options.clock.now());
    const result = await this.db.withTenantSql(owner.tenantId, async (tx) => {
      await first(tx);
      return { removed: await destroyDeks(tx, owner, at), versions: await readVersions(tx, owner) };
    });
    this.cache.forget(userName(owner));
    return result;
  }

  async #chain(owner: KeyOwner): Promise<ChainRow[]> {
    const read = (tx: SqlTx): Promise<ChainRow[]> => readChain(tx, owner);
    const rows = await this.db.withTenantSql(owner.tenantId, read);
    if (rows.length > 0) return rows;
    for (let attempt = 0; attempt < attempts; attempt++) if (await this.#makeFirst(owner)) break;
    const stored = await this.db.withTenantSql(owner.tenantId, read);
    if (stored.length === 0) throw new Problem('vault.key_unavailable', { detail: 'this user was erased, or its key could not be stored' });
    return stored;
  }

  /** Makes the user's first key; false when the tenant's key was replaced meanwhile. Whoever is first made it. */
  async #makeFirst(owner: KeyOwner): Promise<boolean> {
    const kek = await this.activeKek(owner.tenantId);
    assertUsable(kek.providerState);
    const { key: tenantKey } = await this.openKek(owner.tenantId, kek);
    const fresh = new Secret(randomBytes(keyBytes));
    const wrapped = wrapKey(tenantKey, fresh, dekContext(owner, 1));
    wipe(fresh.expose());
    wipe(tenantKey.expose());
    return this.db.withTenantSql(owner.tenantId, async (tx) => {
      if (!(await holdActiveKek(tx, owner.tenantId, kek.version))) return false;
      await insertFirstDek(tx, owner, { kekVersion: kek.version, wrapped, at: new Date(this.options.clock.now()) });
      return true;
    });
  }

  /** The version of the tenant's key that wraps now; the first one comes to be here, under the platform's root. */
  async activeKek(tenantId: string): Promise<KekRow & { providerState: ProviderState | null }> {
    const read = (tx: SqlTx): ReturnType<typeof readActiveKek> => readActiveKek(tx, tenantId);
    const known = await this.db.withTenantSql(tenantId, read);
    if (known) return known;
    const { root } = this.providers;
    const fresh = new Secret(randomBytes(keyBytes));
    const wrapped = await root.wrap(fresh, kekContext(tenantId, 1)).finally(() => wipe(fresh.expose()));
    const kek = { version: 1, holder: 'platform' as const, wrapped, keyId: root.keyId, at: new Date(this.options.clock.now()) };
    await this.db.withTenantSql(tenantId, (tx) => insertFirstKek(tx, tenantId, kek));
    const stored = await this.db.withTenantSql(tenantId, read);
    if (!stored) throw new Problem('vault.key_unavailable', { detail: 'the key of this tenant could not be stored' });
    return stored;
  }

  /** Copies of the keys of these rows. */
  async #open(owner: KeyOwner, rows: readonly ChainRow[]): Promise<Map<number, Secret<Buffer>>> {
    const keks = new Map<number, CopiedKey>();
    const keys = new Map<number, Secret<Buffer>>();
    try {
      for (const row of rows) keys.set(row.version, await this.#openDek(owner, row, keks));
      return keys;
    } catch (error) {
      for (const key of keys.values()) wipe(key.expose());
      throw error;
    } finally {
      for (const { key } of keks.values()) wipe(key.expose());
    }
  }

  async #openDek(owner: KeyOwner, row: ChainRow, keks: Map<number, CopiedKey>): Promise<Secret<Buffer>> {
    const { version, wrapped, kekVersion, kekKeyId, kekHolder } = row;
    assert(wrapped !== null && kekVersion !== null && kekKeyId !== null && kekHolder !== null, 'a live key has a wrap and a key above it');
    const bytes = Buffer.from(wrapped);
    const name = `${userName(owner)}${version}/${fingerprint(bytes)}`;
    const known = this.cache.get(name);
    if (known) return known.key;
    const above = keks.get(kekVersion) ?? (await this.openKek(owner.tenantId, { version: kekVersion, holder: kekHolder, wrapped: row.kekWrapped, keyId: kekKeyId }));
    keks.set(kekVersion, above);
    const key = unwrapKey(above.key, bytes, dekContext(owner, version));
    // Not for longer than the key above it: or revoking that one would take twice the time.
    this.cache.put(name, key, above.until);
    return key;
  }
}

/** The version that writes. Problem `vault.key_unavailable` when the keys were destroyed or the tenant's provider refuses. */
function judge(rows: readonly ChainRow[]): number {
  if (rows.some(({ state }) => state === 'destroyed')) throw new Problem('vault.key_unavailable', { detail: 'the key of this user was destroyed' });
  assertUsable(rows[0]?.providerState ?? null);
  const current = rows.find(({ state }) => state === 'active')?.version;
  if (current === undefined) throw new Problem('vault.corrupt', { detail: 'no version of the key of this user is active' });
  return current;
}

function assertUsable(state: ProviderState | null): void {
  if (state === 'revoked') throw new KeyUnavailable('denied', "the tenant's key provider refuses its key");
}

function unknownVersion(version: number): never {
  throw new Problem('vault.corrupt', { detail: `the user never had a key of version ${version}` });
}

function userName({ tenantId, userId }: KeyOwner): string {
  // User ids hold no slash (contracts), so one name is no beginning of another user's.
  return `user/${tenantId}/${userId}/`;
}

function fingerprint(wrapped: Buffer): string {
  return createHash('sha256').update(wrapped).digest('base64');
}
