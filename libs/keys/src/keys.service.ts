import { createHash, createHmac, randomBytes } from 'node:crypto';
import { type Clock, Secret, systemClock } from '@alcove/base';
import { EnvVars, Problem, type RoomKeys } from '@alcove/contracts';
import type { Audit } from '@alcove/audit';
import type { Db, SqlTx } from '@alcove/db';
import { deriveSubkey, keyBytes, type KeyProvider, openValue, sealValue, unwrapKey, wipe, wrapKey } from '@alcove/vault';
import type { z } from 'zod';
import { KeyCache } from './key-cache';

type Env = z.infer<typeof EnvVars>;

export interface KeysOptions {
  clock?: Clock;
  /** Most unwrapped keys that are kept in memory. Default 500. */
  cacheSize?: number;
}

/** What opens a room at the edge: its surface, and its other ports where they are not public. */
export interface RoomTokens {
  readonly surface: string;
  readonly traffic: string;
}

/** Whose key. */
export interface KeyOwner {
  tenantId: string;
  userId: string;
}

/**
 * The key tree: root key (a provider's) → tenant key → user key → what hangs on the user key. Wrapped keys lie in tables; every call reads the user's row, so a
 * destroyed key is unavailable at once in every process, and the memory of unwrapped keys only saves the unwrapping.
 *
 * Every call can be given the caller's transaction; without one it opens its own, so it must not be called inside another one then.
 */
export class KeysService {
  readonly #db: Db;
  readonly #provider: KeyProvider;
  readonly #audit: Audit;
  readonly #clock: Clock;
  readonly #cache: KeyCache;

  constructor(db: Db, provider: KeyProvider, audit: Audit, options: KeysOptions = {}) {
    this.#db = db;
    this.#provider = provider;
    this.#audit = audit;
    this.#clock = options.clock ?? systemClock;
    this.#cache = new KeyCache(options.cacheSize ?? 500);
  }

  /**
   * The keys of a room's image and disk, made from the user's key, which comes to be at its first use. The same room always gets the same keys. Base64,
   * for the host; strings cannot be wiped, so do not keep them. Problems: `vault.key_unavailable` (destroyed, or the root key is another one), `vault.corrupt`.
   */
  async roomKeys(tenantId: string, userId: string, roomId: string, tx?: SqlTx): Promise<RoomKeys> {
    return this.#withUserKey({ tenantId, userId }, tx, (key) => ({ image: subkeyText(key, roomId, 'image'), disk: subkeyText(key, roomId, 'disk') }));
  }

  /**
   * What must be shown at the edge to come into a room: HMAC-SHA256 under a subkey of the user's key that is for this room and for nothing else. The same room
   * always gets the same tokens, nothing is stored, and they die with the key. Problems as roomKeys.
   */
  async roomTokens(tenantId: string, userId: string, roomId: string, tx?: SqlTx): Promise<RoomTokens> {
    return this.#withUserKey({ tenantId, userId }, tx, (key) => withSubkey(key, roomId, 'token', (subkey) => ({ surface: tokenOf(subkey, 'surface'), traffic: tokenOf(subkey, 'traffic') })));
  }

  /** Seals a room's environment variables. Problems as roomKeys. */
  async sealEnv(tenantId: string, userId: string, roomId: string, env: Env, tx?: SqlTx): Promise<Buffer> {
    const plain = Buffer.from(JSON.stringify(env));
    try {
      return await this.#withUserKey({ tenantId, userId }, tx, (key) => withSubkey(key, roomId, 'env', (subkey) => sealValue(subkey, plain, ['env', tenantId, userId, roomId])));
    } finally {
      wipe(plain);
    }
  }

  /** Opens what sealEnv made for the same room. Problems as roomKeys. */
  async openEnv(tenantId: string, userId: string, roomId: string, sealed: Uint8Array, tx?: SqlTx): Promise<Env> {
    const plain = await this.#withUserKey({ tenantId, userId }, tx, (key) =>
      withSubkey(key, roomId, 'env', (subkey) => openValue(subkey, Buffer.from(sealed), ['env', tenantId, userId, roomId])),
    );
    try {
      return EnvVars.parse(JSON.parse(plain.toString('utf8')));
    } finally {
      wipe(plain);
    }
  }

  /**
   * Removes the user's key for good, with an audit record, in the caller's transaction; a tombstone keeps it from being made again. What was sealed under it can
   * be opened no more, but for copies of the table (backups, old WAL). True when this call did it.
   */
  async destroyUserKeys(tx: SqlTx, owner: KeyOwner & { actor: string }): Promise<boolean> {
    const { tenantId, userId, actor } = owner;
    const now = new Date(this.#clock.now());
    const changed = await tx.$executeRaw`
      insert into user_key as k (tenant_id, user_id, wrapped, created_at, destroyed_at) values (${tenantId}::uuid, ${userId}, null, ${now}, ${now})
      on conflict (tenant_id, user_id) do update set wrapped = null, destroyed_at = excluded.destroyed_at where k.destroyed_at is null`;
    this.#cache.forget(userName({ tenantId, userId }));
    if (changed === 0) return false;
    await this.#audit.append(tx, { tenantId, actor, action: 'user.destroy_keys', resource: `user:${userId}`, facts: {} });
    return true;
  }

  /** Lends the user's key to a function that does not keep it and does not wait: the cache may overwrite the key at the next await of anybody. */
  async #withUserKey<T>(owner: KeyOwner, tx: SqlTx | undefined, use: (key: Secret<Buffer>) => T): Promise<T> {
    const read = async (open: SqlTx): Promise<T> => {
      const wrapped = await this.#userWrap(open, owner);
      const name = `${userName(owner)}${fingerprint(wrapped)}`;
      const known = this.#cache.get(name);
      if (known) return use(known);
      const tenantWrap = await this.#tenantWrap(open, owner.tenantId);
      return this.#withTenantKey(owner.tenantId, tenantWrap, (tenantKey) => use(this.#cache.put(name, unwrapKey(tenantKey, wrapped, userContext(owner)))));
    };
    return tx ? read(tx) : this.#db.withTenantSql(owner.tenantId, read);
  }

  /** The user's wrapped key, made when there is none. */
  async #userWrap(tx: SqlTx, owner: KeyOwner): Promise<Buffer> {
    const { tenantId, userId } = owner;
    const existing = await this.#readUserWrap(tx, owner);
    if (existing) return existing;
    const tenantWrap = await this.#tenantWrap(tx, tenantId);
    const fresh = new Secret(randomBytes(keyBytes));
    const wrapped = await this.#withTenantKey(tenantId, tenantWrap, (tenantKey) => wrapKey(tenantKey, fresh, userContext(owner)));
    wipe(fresh.expose());
    await tx.$executeRaw`
      insert into user_key (tenant_id, user_id, wrapped, created_at) values (${tenantId}::uuid, ${userId}, ${wrapped}, ${new Date(this.#clock.now())}::timestamptz)
      on conflict do nothing`;
    // Somebody else's may have been first: then it is theirs that counts.
    const stored = await this.#readUserWrap(tx, owner);
    if (!stored) throw new Problem('vault.key_unavailable', { detail: 'the key of this user could not be stored' });
    return stored;
  }

  async #readUserWrap(tx: SqlTx, { tenantId, userId }: KeyOwner): Promise<Buffer | null> {
    const [row] = await tx.$queryRaw<{ wrapped: Uint8Array | null }[]>`select wrapped from user_key where tenant_id = ${tenantId}::uuid and user_id = ${userId}`;
    if (!row) return null;
    if (!row.wrapped) throw new Problem('vault.key_unavailable', { detail: 'the key of this user was destroyed' });
    return Buffer.from(row.wrapped);
  }

  /** The tenant's wrapped key, made when there is none. */
  async #tenantWrap(tx: SqlTx, tenantId: string): Promise<Buffer> {
    const existing = await this.#readTenantWrap(tx, tenantId);
    if (existing) return existing;
    const fresh = new Secret(randomBytes(keyBytes));
    const wrapped = await this.#provider.wrap(fresh, tenantContext(tenantId));
    wipe(fresh.expose());
    await tx.$executeRaw`
      insert into tenant_key (tenant_id, wrapped, root_key_id, created_at)
      values (${tenantId}::uuid, ${wrapped}, ${this.#provider.keyId}, ${new Date(this.#clock.now())}) on conflict do nothing`;
    const stored = await this.#readTenantWrap(tx, tenantId);
    if (!stored) throw new Problem('vault.key_unavailable', { detail: 'the key of this tenant could not be stored' });
    return stored;
  }

  async #readTenantWrap(tx: SqlTx, tenantId: string): Promise<Buffer | null> {
    const [row] = await tx.$queryRaw<{ wrapped: Uint8Array; rootKeyId: string }[]>`select wrapped, root_key_id as "rootKeyId" from tenant_key where tenant_id = ${tenantId}::uuid`;
    if (!row) return null;
    if (row.rootKeyId !== this.#provider.keyId) {
      throw new Problem('vault.key_unavailable', { detail: `the key of this tenant is wrapped by the root key ${row.rootKeyId}, and this process has ${this.#provider.keyId}` });
    }
    return Buffer.from(row.wrapped);
  }

  /** Lends the tenant's key to a function that does not keep it. */
  async #withTenantKey<T>(tenantId: string, wrapped: Buffer, use: (key: Secret<Buffer>) => T): Promise<T> {
    const name = `tenant/${tenantId}/${fingerprint(wrapped)}`;
    const known = this.#cache.get(name);
    if (known) return use(known);
    const key = await this.#provider.unwrap(wrapped, tenantContext(tenantId));
    return use(this.#cache.put(name, key));
  }
}

function tenantContext(tenantId: string): string[] {
  return ['tenant-key', tenantId];
}

function userContext({ tenantId, userId }: KeyOwner): string[] {
  return ['user-key', tenantId, userId];
}

function userName({ tenantId, userId }: KeyOwner): string {
  // User ids hold no slash (contracts), so one name is no beginning of another user's.
  return `user/${tenantId}/${userId}/`;
}

function fingerprint(wrapped: Buffer): string {
  return createHash('sha256').update(wrapped).digest('base64');
}

function withSubkey<T>(key: Secret<Buffer>, roomId: string, purpose: string, use: (subkey: Secret<Buffer>) => T): T {
  const subkey = deriveSubkey(key, ['room', roomId, purpose]);
  try {
    return use(subkey);
  } finally {
    wipe(subkey.expose());
  }
}

function subkeyText(key: Secret<Buffer>, roomId: string, purpose: string): string {
  return withSubkey(key, roomId, purpose, (subkey) => subkey.expose().toString('base64'));
}

function tokenOf(subkey: Secret<Buffer>, purpose: 'surface' | 'traffic'): string {
  return createHmac('sha256', subkey.expose()).update(purpose).digest('hex');
}
