import { type Clock, limits } from '@alcove/base';
import { type ApiKey, type CreateApiKey, type NewApiKey, type Principal, Problem, type RotateApiKey } from '@alcove/contracts';
import type { Audit } from '@alcove/audit';
import type { Db, Json, Tx } from '@alcove/db';
import { type ApiKeyRow, defaultRate, makeKey, tenantScopes, toApiKey } from './api-key';
import type { Authenticator } from './authenticator';
import { actorOf, requireScope } from './principals';

/** Makes, shows, rotates and revokes a tenant's keys: for the operator, and for the tenant's own keys that may write keys. */
export class ApiKeys {
  constructor(
    private readonly db: Db,
    private readonly audit: Audit,
    private readonly clock: Clock,
    private readonly authenticator: Authenticator,
  ) {}

  /** Problems: `auth.scope`, `tenant.not_found`, `request.invalid` (expired already, or too many keys). */
  async create(principal: Principal, tenantId: string, input: CreateApiKey): Promise<NewApiKey> {
    this.#mayWrite(principal, tenantId);
    const now = this.clock.now();
    const expiresAt = input.expiresAt === undefined ? null : new Date(input.expiresAt);
    if (expiresAt && expiresAt.getTime() <= now) throw invalid('expiresAt', 'lies in the past');
    const scopes = input.scopes ?? [...tenantScopes];
    if (principal.kind === 'key') for (const scope of scopes) requireScope(principal, scope);
    const fresh = makeKey();
    return this.db.withTenant(tenantId, async (tx) => {
      if (!(await tx.tenant.findUnique({ where: { id: tenantId }, select: { id: true } }))) throw new Problem('tenant.not_found');
      const living = await tx.apiKey.count({ where: { tenantId, revokedAt: null } });
      if (living >= limits.page.max) throw invalid('name', `a tenant has at most ${limits.page.max} keys that are not revoked`);
      const row = await tx.apiKey.create({
        data: {
          id: fresh.id,
          tenantId,
          name: input.name,
          scopes,
          ratePerSecond: input.ratePerSecond ?? defaultRate.ratePerSecond,
          concurrent: input.concurrent ?? defaultRate.concurrent,
          secretHash: Uint8Array.from(fresh.hash),
          createdAt: new Date(now),
          expiresAt,
        },
      });
      await this.#record(tx, principal, tenantId, 'key.create', fresh.id, { name: input.name, scopes, expiresAt: input.expiresAt ?? null });
      return { ...toApiKey(row), key: fresh.key };
    });
  }

  /** Keys that work first, then the revoked ones; newest first. At most a page. Problems: `auth.scope`, `tenant.not_found`. */
  async list(principal: Principal, tenantId: string): Promise<ApiKey[]> {
    this.#mayWrite(principal, tenantId);
    return this.db.withTenant(tenantId, async (tx) => {
      if (!(await tx.tenant.findUnique({ where: { id: tenantId }, select: { id: true } }))) throw new Problem('tenant.not_found');
      const rows = await tx.apiKey.findMany({
        where: { tenantId },
        orderBy: [{ revokedAt: { sort: 'desc', nulls: 'first' } }, { createdAt: 'desc' }, { id: 'asc' }],
        take: limits.page.max,
      });
      return rows.map(toApiKey);
    });
  }

  /** A new secret under the same id and settings; the old one is good for overlapMs more. Problems: `auth.scope`, `key.not_found` (also when revoked). */
  async rotate(principal: Principal, tenantId: string, keyId: string, input: RotateApiKey): Promise<NewApiKey> {
    this.#mayWrite(principal, tenantId);
    const fresh = makeKey(keyId);
    const overlaps = input.overlapMs > 0;
    const result = await this.db.withTenant(tenantId, async (tx) => {
      const before = await this.#lock(tx, tenantId, keyId);
      if (before.revokedAt) throw new Problem('key.not_found', { detail: 'This key was revoked.' });
      if (principal.kind === 'key') for (const scope of toApiKey(before).scopes) requireScope(principal, scope);
      const row = await tx.apiKey.update({
        where: { id: keyId },
        data: {
          secretHash: Uint8Array.from(fresh.hash),
          previousHash: overlaps ? Uint8Array.from(before.secretHash) : null,
          previousUntil: overlaps ? new Date(this.clock.now() + input.overlapMs) : null,
        },
      });
      await this.#record(tx, principal, tenantId, 'key.rotate', keyId, { overlapMs: input.overlapMs });
      return { ...toApiKey(row), key: fresh.key };
    });
    this.authenticator.forget(keyId);
    return result;
  }

  /** At once in this process, within five seconds in the others. To revoke twice is no error. Problems: `auth.scope`, `key.not_found`. */
  async revoke(principal: Principal, tenantId: string, keyId: string): Promise<void> {
    this.#mayWrite(principal, tenantId);
    await this.db.withTenant(tenantId, async (tx) => {
      const row = await this.#lock(tx, tenantId, keyId);
      if (row.revokedAt) return;
      await tx.apiKey.update({ where: { id: keyId }, data: { revokedAt: new Date(this.clock.now()) } });
      await this.#record(tx, principal, tenantId, 'key.revoke', keyId, {});
    });
    this.authenticator.forget(keyId);
  }

  #mayWrite(principal: Principal, tenantId: string): void {
    if (principal.scopes.includes('platform')) return;
    if (principal.tenantId !== tenantId) throw new Problem('tenant.not_found');
    requireScope(principal, 'keys:write');
  }

  async #lock(tx: Tx, tenantId: string, keyId: string): Promise<ApiKeyRow> {
    await tx.$executeRaw`select 1 from api_key where tenant_id = ${tenantId}::uuid and id = ${keyId} for update`;
    const row = await tx.apiKey.findFirst({ where: { tenantId, id: keyId } });
    if (!row) throw new Problem('key.not_found');
    return row;
  }

  #record(tx: Tx, principal: Principal, tenantId: string, action: string, keyId: string, facts: { [name: string]: Json }): Promise<void> {
    return this.audit.append(tx, { tenantId, actor: actorOf(principal), action, resource: keyId, facts });
  }
}

function invalid(field: string, message: string): Problem {
  return new Problem('request.invalid', { errors: [{ path: `body.${field}`, message }] });
}
