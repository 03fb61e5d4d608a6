import { createHash, randomBytes } from 'node:crypto';
import { type Clock, Secret } from '@alcove/base';
import { Problem, type SetKeyProvider } from '@alcove/contracts';
import type { SqlTx } from '@alcove/db';
import { type HttpFetch, type KeyProvider, KeyUnavailable, keyBytes, openTenantProvider, openValue, sealValue, TenantKeyProviderSettings, wipe } from '@alcove/vault';
import type { Providers } from './key-tree';
import type { ProviderState, WrapsDb } from './wraps';

export interface ProviderRow {
  readonly tenantId: string;
  readonly kind: 'aws_kms' | 'vault_transit';
  readonly keyId: string;
  readonly settingsKey: Uint8Array;
  readonly settings: Uint8Array;
  readonly state: ProviderState;
  readonly stateSince: Date;
  readonly askedAt: Date;
}

const context = (tenantId: string): string[] => ['tenant-provider', tenantId];

/**
 * The providers that tenants brought. Their settings, which hold credentials, are sealed under a key of their own that the platform's root wraps: the root says who may be asked, and
 * opens nothing that the tenant's provider wrapped.
 */
export class TenantProviders implements Providers {
  /** Opened ones, by tenant, and of which settings: those that were replaced are closed at the next use. */
  readonly #opened = new Map<string, { of: string; provider: KeyProvider }>();

  constructor(
    private readonly db: WrapsDb,
    readonly root: KeyProvider,
    private readonly options: { readonly clock: Clock; readonly fetch?: HttpFetch },
  ) {}

  async ofTenant(tenantId: string): Promise<KeyProvider> {
    const row = await this.find(tenantId);
    if (!row) throw new KeyUnavailable('denied', 'this tenant brought no key provider');
    const of = createHash('sha256').update(row.settings).digest('hex');
    const known = this.#opened.get(tenantId);
    if (known?.of === of) return known.provider;
    const provider = await this.open(JSON.parse(await this.#settingsOf(row)) as SetKeyProvider);
    this.#opened.set(tenantId, { of, provider });
    await known?.provider.close();
    return provider;
  }

  /** Problem `request.invalid` for settings that are none. Nothing is asked. */
  async open(given: SetKeyProvider): Promise<KeyProvider> {
    const settings = TenantKeyProviderSettings.safeParse(given);
    if (!settings.success) throw new Problem('request.invalid', { errors: settings.error.issues.map(({ path, message }) => ({ path: ['body', ...path].join('.'), message })) });
    return openTenantProvider(settings.data, this.options);
  }

  find(tenantId: string): Promise<ProviderRow | undefined> {
    return this.db.withTenantSql(tenantId, async (tx) => (await rowsOf(tx, tenantId))[0]);
  }

  /** Of all tenants, those asked longest ago first. */
  all(limit: number): Promise<ProviderRow[]> {
    return this.db.asSystemSql('reconcile', (tx) => rowsOf(tx, null, limit));
  }

  /** Adds or replaces. */
  async save(tenantId: string, given: SetKeyProvider, keyId: string): Promise<void> {
    const key = new Secret(randomBytes(keyBytes));
    const plain = Buffer.from(JSON.stringify(given));
    try {
      const settingsKey = await this.root.wrap(key, context(tenantId));
      const settings = sealValue(key, plain, context(tenantId));
      const now = new Date(this.options.clock.now());
      await this.db.withTenantSql(tenantId, async (tx) => tx.$executeRaw`
        insert into tenant_provider (tenant_id, kind, key_id, settings_key, settings_root_id, settings, state, state_since, asked_at, created_at)
        values (${tenantId}::uuid, ${given.kind}, ${keyId}, ${settingsKey}, ${this.root.keyId}, ${settings}, 'available', ${now}::timestamptz, ${now}::timestamptz, ${now}::timestamptz)
        on conflict (tenant_id) do update set kind = excluded.kind, key_id = excluded.key_id, settings_key = excluded.settings_key, settings_root_id = excluded.settings_root_id,
          settings = excluded.settings, state = 'available', state_since = excluded.state_since, asked_at = excluded.asked_at`);
    } finally {
      wipe(plain);
      wipe(key.expose());
    }
  }

  /** What the provider answered just now. True when it had answered otherwise before. */
  async mark(tenantId: string, state: ProviderState): Promise<boolean> {
    const now = new Date(this.options.clock.now());
    return this.db.withTenantSql(tenantId, async (tx) => {
      await tx.$executeRaw`update tenant_provider set asked_at = ${now}::timestamptz where tenant_id = ${tenantId}::uuid`;
      return (await tx.$executeRaw`update tenant_provider set state = ${state}, state_since = ${now}::timestamptz where tenant_id = ${tenantId}::uuid and state <> ${state}`) > 0;
    });
  }

  /** Forgets the provider of a tenant under which nothing is any more. */
  async removeUnused(tenantId: string): Promise<void> {
    await this.db.withTenantSql(tenantId, async (tx) => tx.$executeRaw`
      delete from tenant_provider p where p.tenant_id = ${tenantId}::uuid
        and not exists (select 1 from tenant_kek k where k.tenant_id = p.tenant_id and k.holder = 'tenant' and k.state <> 'retired')`);
  }

  /** Moves the seal of all settings to the newest version of the root. How many. */
  async rewrapSettings(): Promise<number> {
    const rows = await this.all(Number.MAX_SAFE_INTEGER);
    for (const { tenantId, settingsKey } of rows) {
      const again = await this.root.rewrap(Buffer.from(settingsKey), context(tenantId));
      await this.db.withTenantSql(tenantId, async (tx) => tx.$executeRaw`
        update tenant_provider set settings_key = ${again}, settings_root_id = ${this.root.keyId} where tenant_id = ${tenantId}::uuid and settings_key = ${Buffer.from(settingsKey)}`);
    }
    return rows.length;
  }

  async close(): Promise<void> {
    for (const { provider } of this.#opened.values()) await provider.close();
    this.#opened.clear();
  }

  async #settingsOf({ tenantId, settingsKey, settings }: ProviderRow): Promise<string> {
    const key = await this.root.unwrap(Buffer.from(settingsKey), context(tenantId));
    try {
      return openValue(key, Buffer.from(settings), context(tenantId)).toString('utf8');
    } finally {
      wipe(key.expose());
    }
  }
}

async function rowsOf(tx: SqlTx, tenantId: string | null, limit = 1): Promise<ProviderRow[]> {
  return tx.$queryRaw<ProviderRow[]>`
    select tenant_id::text as "tenantId", kind, key_id as "keyId", settings_key as "settingsKey", settings, state, state_since as "stateSince", asked_at as "askedAt"
    from tenant_provider where ${tenantId}::uuid is null or tenant_id = ${tenantId}::uuid order by asked_at limit ${limit}::bigint`;
}
