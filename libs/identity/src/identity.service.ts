import { type Clock, systemClock } from '@alcove/base';
import type { ApiKey, ChangeTenant, CreateApiKey, CreateTenant, ListUsers, NewApiKey, Principal, RotateApiKey, Tenant, TenantPage, User, UserPage } from '@alcove/contracts';
import type { Audit } from '@alcove/audit';
import type { Db } from '@alcove/db';
import { ApiKeys } from './api-keys';
import { Authenticator } from './authenticator';
import { requireScope, tenantOf } from './principals';
import { Tenants } from './tenants';
import type { Users } from './users';

export interface IdentityOptions {
  /** SHA-256 of the operator's key, 64 hex digits; the key is in no table. Null: there is no such key here. */
  platformKeySha256: string | null;
  clock?: Clock;
}

/** Who asks, and the tenants, keys and users there are. Every call checks what its principal may do; the problems are those of the parts. */
export class IdentityService {
  readonly #db: Db;
  readonly #users: Users;
  readonly #authenticator: Authenticator;
  readonly #tenants: Tenants;
  readonly #keys: ApiKeys;

  constructor(db: Db, audit: Audit, users: Users, options: IdentityOptions) {
    const clock = options.clock ?? systemClock;
    this.#db = db;
    this.#users = users;
    this.#authenticator = new Authenticator(db, clock, options.platformKeySha256);
    this.#tenants = new Tenants(db, audit, clock);
    this.#keys = new ApiKeys(db, audit, clock, this.#authenticator);
  }

  /**
   * Who sent this key. An answer is kept for up to five seconds, so a key that is revoked in another process may work that much longer; expiry and the end of
   * an overlap are exact. Problems: `auth.invalid`, `auth.expired`, `auth.revoked`.
   */
  authenticate(bearer: string): Promise<Principal> {
    return this.#authenticator.authenticate(bearer);
  }

  createTenant(principal: Principal, input: CreateTenant): Promise<Tenant> {
    return this.#tenants.create(principal, input);
  }

  listTenants(principal: Principal, query: ListUsers): Promise<TenantPage> {
    return this.#tenants.list(principal, query);
  }

  getTenant(principal: Principal, tenantId: string): Promise<Tenant> {
    return this.#tenants.get(principal, tenantId);
  }

  changeTenant(principal: Principal, tenantId: string, input: ChangeTenant): Promise<Tenant> {
    return this.#tenants.change(principal, tenantId, input);
  }

  createKey(principal: Principal, tenantId: string, input: CreateApiKey): Promise<NewApiKey> {
    return this.#keys.create(principal, tenantId, input);
  }

  listKeys(principal: Principal, tenantId: string): Promise<ApiKey[]> {
    return this.#keys.list(principal, tenantId);
  }

  rotateKey(principal: Principal, tenantId: string, keyId: string, input: RotateApiKey): Promise<NewApiKey> {
    return this.#keys.rotate(principal, tenantId, keyId, input);
  }

  revokeKey(principal: Principal, tenantId: string, keyId: string): Promise<void> {
    return this.#keys.revoke(principal, tenantId, keyId);
  }

  /** Problems: `auth.scope`, `request.invalid` for a cursor that is not ours. */
  async listUsers(principal: Principal, query: ListUsers): Promise<UserPage> {
    requireScope(principal, 'rooms:read');
    const tenantId = tenantOf(principal);
    return this.#db.withTenant(tenantId, (tx) => this.#users.list(tx, tenantId, query));
  }

  /** Problems: `auth.scope`, `user.not_found`. */
  async getUser(principal: Principal, userId: string): Promise<User> {
    requireScope(principal, 'rooms:read');
    const tenantId = tenantOf(principal);
    return this.#db.withTenant(tenantId, (tx) => this.#users.get(tx, tenantId, userId));
  }
}
