import { type Clock, limits } from '@alcove/base';
import { EmbeddingsEndpoint, type MemoryPolicy, ModelEndpoint, type Principal, Problem, type SetMemoryPolicy } from '@alcove/contracts';
import type { Audit } from '@alcove/audit';
import type { Db, SqlTx } from '@alcove/db';
import { actorOf, requireScope } from '@alcove/identity';
import type { KeyOwner } from '@alcove/keys';
import type { MemoryKeys } from './memory-unit';
import { Sealing } from './sealed/sealing';

/** The endpoints that see plain text. */
export type EndpointName = 'embeddings' | 'extraction';
interface SealedKey {
  readonly keyVersion: number;
  readonly sealed: Buffer;
}

/** What a tenant has settled for its users' memories; the endpoints' keys stay sealed. */
export interface Policy {
  readonly embeddings: EmbeddingsEndpoint | null;
  readonly extraction: ModelEndpoint | null;
  readonly apiKeys: Readonly<Record<EndpointName, SealedKey | null>>;
  readonly index: 'sealed' | 'qdrant';
  readonly recordsPerUser: number;
  readonly bytesPerUser: number;
  readonly eventsPerUser: number;
  readonly eventRetentionMs: number;
}

export const defaultPolicy: Policy = {
  embeddings: null, extraction: null, apiKeys: { embeddings: null, extraction: null }, index: 'sealed', recordsPerUser: limits.memory.recordsPerUser, bytesPerUser: limits.memory.bytesPerUser, eventsPerUser: limits.memory.eventsPerUser,
  eventRetentionMs: limits.memory.eventRetentionMs,
};

/** How long a policy is believed without looking, milliseconds: a change in another process takes effect within this. */
export const policyMs = 5_000;
const kept = 10_000;

/** The owner of the tenant's own secrets. No user is called so: user ids hold no slash. */
const tenantsOwn = (tenantId: string): KeyOwner => ({ tenantId, userId: '/memory' });
const place = (endpoint: EndpointName) => ({ id: 'policy', field: `${endpoint}-key`, version: 0 });

interface PolicyRow {
  embeddings: unknown;
  apiKey: Uint8Array | null;
  apiKeyVersion: number | null;
  extraction: unknown;
  extractionKey: Uint8Array | null;
  extractionKeyVersion: number | null;
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
    /** Whether there is a Qdrant server. */
    private readonly qdrant: boolean,
  ) {}

  async of(tenantId: string): Promise<Policy> {
    const known = this.#known.get(tenantId);
    if (known && known.until > this.clock.monotonic()) return known.policy;
    const policy = await this.now(tenantId);
    this.#known.delete(tenantId);
    this.#known.set(tenantId, { policy, until: this.clock.monotonic() + policyMs });
    const oldest = this.#known.keys().next();
    if (this.#known.size > kept && !oldest.done) this.#known.delete(oldest.value);
    return policy;
  }

  /** As it is, where a change of a moment ago must not be missed. */
  now(tenantId: string): Promise<Policy> {
    return this.db.withTenantSql(tenantId, (tx) => this.#read(tx, tenantId));
  }

  /** Problems: `auth.scope`, `tenant.not_found`. */
  async get(principal: Principal, tenantId: string): Promise<MemoryPolicy> {
    requireScope(principal, 'platform');
    return this.db.withTenantSql(tenantId, async (tx) => {
      await requireTenant(tx, tenantId);
      return toAnswer(await this.#read(tx, tenantId));
    });
  }

  /** Replaces it; a key that is not given stays while the endpoint's address does. Problems: `auth.scope`, `tenant.not_found`, `vault.key_unavailable`, `request.invalid` for an index that is not there. */
  async set(principal: Principal, tenantId: string, input: SetMemoryPolicy): Promise<MemoryPolicy> {
    requireScope(principal, 'platform');
    if (input.index === 'qdrant' && !this.qdrant) throw new Problem('request.invalid', { errors: [{ path: 'body.index', message: 'no Qdrant server is configured: ALCOVE_QDRANT_URL names one' }] });
    const { apiKey: embeddingsKey, ...embeddings } = input.embeddings ?? { apiKey: undefined };
    const { apiKey: extractionKey, ...extraction } = input.extraction ?? { apiKey: undefined };
    const given = { embeddings: input.embeddings && EmbeddingsEndpoint.parse(embeddings), extraction: input.extraction && ModelEndpoint.parse(extraction) };
    const answer = await this.db.withTenantSql(tenantId, async (tx) => {
      await requireTenant(tx, tenantId);
      const before = await this.#read(tx, tenantId);
      const keyOf = async (name: EndpointName, key: string | undefined): Promise<SealedKey | null> => {
        if (key !== undefined) return this.#seal(tenantId, name, key);
        return given[name] && before[name]?.baseUrl === given[name].baseUrl ? before.apiKeys[name] : null;
      };
      const policy: Policy = { ...input, ...given, apiKeys: { embeddings: await keyOf('embeddings', embeddingsKey), extraction: await keyOf('extraction', extractionKey) } };
      await this.#write(tx, tenantId, policy);
      await this.audit.append(tx, { tenantId, actor: actorOf(principal), action: 'memory.policy', resource: `tenant:${tenantId}`, facts: { index: policy.index, embeddings: policy.embeddings?.model ?? null, extraction: policy.extraction?.model ?? null } });
      return toAnswer(policy);
    });
    this.#known.delete(tenantId);
    return answer;
  }

  /** An endpoint's key, as text for a header: not to be kept. Null: it has none. */
  async apiKeyOf(tenantId: string, { apiKeys }: Policy, endpoint: EndpointName): Promise<string | null> {
    const key = apiKeys[endpoint];
    if (!key) return null;
    const owner = tenantsOwn(tenantId);
    return this.keys.withUserKeys(owner, undefined, (lent) => new Sealing(lent, owner).openText(place(endpoint), key.keyVersion, key.sealed));
  }

  async #seal(tenantId: string, endpoint: EndpointName, key: string): Promise<SealedKey> {
    const owner = tenantsOwn(tenantId);
    const { keyVersion, bytes } = await this.keys.withUserKeys(owner, undefined, (lent) => new Sealing(lent, owner).sealText(place(endpoint), key));
    return { keyVersion, sealed: bytes };
  }

  async #read(tx: SqlTx, tenantId: string): Promise<Policy> {
    const [row] = await tx.$queryRaw<PolicyRow[]>`
      select embeddings, api_key as "apiKey", api_key_version as "apiKeyVersion", extraction, extraction_key as "extractionKey", extraction_key_version as "extractionKeyVersion", index_kind as index, records_per_user as "recordsPerUser", bytes_per_user as "bytesPerUser",
        events_per_user as "eventsPerUser", event_retention_ms as "eventRetentionMs" from memory_policy where tenant_id = ${tenantId}::uuid`;
    if (!row) return defaultPolicy;
    const { apiKey, apiKeyVersion, extractionKey, extractionKeyVersion, ...rest } = row;
    return {
      ...rest,
      embeddings: row.embeddings === null ? null : EmbeddingsEndpoint.parse(row.embeddings),
      extraction: row.extraction === null ? null : ModelEndpoint.parse(row.extraction),
      apiKeys: { embeddings: keyFrom(apiKey, apiKeyVersion), extraction: keyFrom(extractionKey, extractionKeyVersion) },
      bytesPerUser: Number(row.bytesPerUser),
      eventRetentionMs: Number(row.eventRetentionMs),
    };
  }

  async #write(tx: SqlTx, tenantId: string, policy: Policy): Promise<void> {
    const { embeddings, extraction } = policy.apiKeys;
    await tx.$executeRaw`
      insert into memory_policy (tenant_id, embeddings, api_key, api_key_version, extraction, extraction_key, extraction_key_version, index_kind, records_per_user, bytes_per_user, events_per_user, event_retention_ms)
      values (${tenantId}::uuid, ${policy.embeddings && JSON.stringify(policy.embeddings)}::jsonb, ${embeddings?.sealed ?? null}, ${embeddings?.keyVersion ?? null},
        ${policy.extraction && JSON.stringify(policy.extraction)}::jsonb, ${extraction?.sealed ?? null}, ${extraction?.keyVersion ?? null}, ${policy.index},
        ${policy.recordsPerUser}, ${policy.bytesPerUser}, ${policy.eventsPerUser}, ${policy.eventRetentionMs})
      on conflict (tenant_id) do update set embeddings = excluded.embeddings, api_key = excluded.api_key, api_key_version = excluded.api_key_version, extraction = excluded.extraction,
        extraction_key = excluded.extraction_key, extraction_key_version = excluded.extraction_key_version, index_kind = excluded.index_kind,
        records_per_user = excluded.records_per_user, bytes_per_user = excluded.bytes_per_user, events_per_user = excluded.events_per_user, event_retention_ms = excluded.event_retention_ms`;
  }
}

async function requireTenant(tx: SqlTx, tenantId: string): Promise<void> {
  const rows = await tx.$queryRaw<unknown[]>`select 1 from tenant where id = ${tenantId}::uuid`;
  if (rows.length === 0) throw new Problem('tenant.not_found');
}

function keyFrom(sealed: Uint8Array | null, keyVersion: number | null): SealedKey | null {
  return sealed && keyVersion !== null ? { keyVersion, sealed: Buffer.from(sealed) } : null;
}

function toAnswer({ embeddings, extraction, apiKeys, ...same }: Policy): MemoryPolicy {
  return { ...same, embeddings: embeddings && { ...embeddings, hasApiKey: apiKeys.embeddings !== null }, extraction: extraction && { ...extraction, hasApiKey: apiKeys.extraction !== null } };
}
