import { type Clock, limits } from '@alcove/base';
import { EmbeddingsEndpoint, type MemoryPolicy, type Principal, Problem, type SetMemoryPolicy } from '@alcove/contracts';
import type { Audit } from '@alcove/audit';
import type { Db, SqlTx } from '@alcove/db';
import { actorOf, requireScope } from '@alcove/identity';
import type { KeyOwner } from '@alcove/keys';
import type { MemoryKeys } from './memory-unit';
import { Sealing } from './sealed/sealing';

/** What a tenant has settled for its users' memories; the endpoint's key stays sealed. */
export interface Policy {
  readonly embeddings: EmbeddingsEndpoint | null;
  readonly apiKey: { readonly keyVersion: number; readonly sealed: Buffer } | null;
  readonly index: 'sealed' | 'qdrant';
  readonly recordsPerUser: number;
  readonly bytesPerUser: number;
  readonly eventsPerUser: number;
  readonly eventRetentionMs: number;
}

export const defaultPolicy: Policy = {
  embeddings: null, apiKey: null, index: 'sealed', recordsPerUser: limits.memory.recordsPerUser, bytesPerUser: limits.memory.bytesPerUser, eventsPerUser: limits.memory.eventsPerUser,
  eventRetentionMs: limits.memory.eventRetentionMs,
};

/** How long a policy is believed without looking, milliseconds: a change in another process takes effect within this. */
export const policyMs = 5_000;
const kept = 10_000;

/** The owner of the tenant's own secrets. No user is called so: user ids hold no slash. */
const tenantsOwn = (tenantId: string): KeyOwner => ({ tenantId, userId: '/memory' });
const place = { id: 'policy', field: 'embeddings-key', version: 0 };

interface PolicyRow {
  embeddings: unknown;
  apiKey: Uint8Array | null;
  apiKeyVersion: number | null;
  index: 'sealed' | 'qdrant';
  recordsPerUser: number;
  bytesPerUser: string;
  eventsPerUser: number;
  eventRetentionMs: string;
}

/** The operator settles them, because an endpoint sees plain text and is asked from inside the platform's network. */
export class MemoryPolicies {
  readonly #known = new Map<string, { policy: Policy; until: number }>();

  constructor(
    private readonly db: Db,
    private readonly keys: MemoryKeys,
    private readonly audit: Audit,
    private readonly clock: Clock,
  ) {}

  async of(tenantId: string): Promise<Policy> {
    const known = this.#known.get(tenantId);
    if (known && known.until > this.clock.monotonic()) return known.policy;
    const policy = await this.db.withTenantSql(tenantId, (tx) => this.#read(tx, tenantId));
    this.#known.delete(tenantId);
    this.#known.set(tenantId, { policy, until: this.clock.monotonic() + policyMs });
    const oldest = this.#known.keys().next();
    if (this.#known.size > kept && !oldest.done) this.#known.delete(oldest.value);
    return policy;
  }

  /** Problems: `auth.scope`, `tenant.not_found`. */
  async get(principal: Principal, tenantId: string): Promise<MemoryPolicy> {
    requireScope(principal, 'platform');
    return this.db.withTenantSql(tenantId, async (tx) => {
      await requireTenant(tx, tenantId);
      return toAnswer(await this.#read(tx, tenantId));
    });
  }

  /** Replaces it; a key that is not given stays while the endpoint's address does. Problems: `auth.scope`, `tenant.not_found`, `vault.key_unavailable`. */
  async set(principal: Principal, tenantId: string, input: SetMemoryPolicy): Promise<MemoryPolicy> {
    requireScope(principal, 'platform');
    const { apiKey, ...endpoint } = input.embeddings ?? { apiKey: undefined };
    const embeddings = input.embeddings && EmbeddingsEndpoint.parse(endpoint);
    const answer = await this.db.withTenantSql(tenantId, async (tx) => {
      await requireTenant(tx, tenantId);
      const before = await this.#read(tx, tenantId);
      const kept = embeddings && before.embeddings?.baseUrl === embeddings.baseUrl ? before.apiKey : null;
      const owner = tenantsOwn(tenantId);
      const sealed = apiKey === undefined ? undefined : await this.keys.withUserKeys(owner, tx, (lent) => new Sealing(lent, owner).sealText(place, apiKey));
      const key = sealed ? { keyVersion: sealed.keyVersion, sealed: sealed.bytes } : kept;
      const policy: Policy = { ...input, embeddings, apiKey: key };
      await this.#write(tx, tenantId, policy);
      await this.audit.append(tx, { tenantId, actor: actorOf(principal), action: 'memory.policy', resource: `tenant:${tenantId}`, facts: { index: policy.index, embeddings: embeddings?.model ?? null } });
      return toAnswer(policy);
    });
    this.#known.delete(tenantId);
    return answer;
  }

  /** The endpoint's key, as text for a header: not to be kept. Null: it has none. */
  async apiKeyOf(tenantId: string, { apiKey }: Policy): Promise<string | null> {
    if (!apiKey) return null;
    const owner = tenantsOwn(tenantId);
    return this.keys.withUserKeys(owner, undefined, (lent) => new Sealing(lent, owner).openText(place, apiKey.keyVersion, apiKey.sealed));
  }

  async #read(tx: SqlTx, tenantId: string): Promise<Policy> {
    const [row] = await tx.$queryRaw<PolicyRow[]>`
      select embeddings, api_key as "apiKey", api_key_version as "apiKeyVersion", index_kind as index, records_per_user as "recordsPerUser", bytes_per_user as "bytesPerUser",
        events_per_user as "eventsPerUser", event_retention_ms as "eventRetentionMs" from memory_policy where tenant_id = ${tenantId}::uuid`;
    if (!row) return defaultPolicy;
    const { apiKey, apiKeyVersion, ...rest } = row;
    return {
      ...rest,
      embeddings: row.embeddings === null ? null : EmbeddingsEndpoint.parse(row.embeddings),
      apiKey: apiKey && apiKeyVersion !== null ? { keyVersion: apiKeyVersion, sealed: Buffer.from(apiKey) } : null,
      bytesPerUser: Number(row.bytesPerUser),
      eventRetentionMs: Number(row.eventRetentionMs),
    };
  }

  async #write(tx: SqlTx, tenantId: string, policy: Policy): Promise<void> {
    await tx.$executeRaw`
      insert into memory_policy (tenant_id, embeddings, api_key, api_key_version, index_kind, records_per_user, bytes_per_user, events_per_user, event_retention_ms)
      values (${tenantId}::uuid, ${policy.embeddings && JSON.stringify(policy.embeddings)}::jsonb, ${policy.apiKey?.sealed ?? null}, ${policy.apiKey?.keyVersion ?? null}, ${policy.index},
        ${policy.recordsPerUser}, ${policy.bytesPerUser}, ${policy.eventsPerUser}, ${policy.eventRetentionMs})
      on conflict (tenant_id) do update set embeddings = excluded.embeddings, api_key = excluded.api_key, api_key_version = excluded.api_key_version, index_kind = excluded.index_kind,
        records_per_user = excluded.records_per_user, bytes_per_user = excluded.bytes_per_user, events_per_user = excluded.events_per_user, event_retention_ms = excluded.event_retention_ms`;
  }
}

async function requireTenant(tx: SqlTx, tenantId: string): Promise<void> {
  const rows = await tx.$queryRaw<unknown[]>`select 1 from tenant where id = ${tenantId}::uuid`;
  if (rows.length === 0) throw new Problem('tenant.not_found');
}

function toAnswer({ embeddings, apiKey, ...same }: Policy): MemoryPolicy {
  return { ...same, embeddings: embeddings && { ...embeddings, hasApiKey: apiKey !== null } };
}
