import { isIP } from 'node:net';
import { Secret } from '@alcove/base';
import { BadSettings, controlPlaneSettings, describeKeys, keysConfig, ListenAddress, qdrantConfig, readSettings, readTlsIdentity, TemplateName, withoutCredentials, type KeysConfig, type QdrantConfig, type QueueSetting, type TlsIdentity } from '@alcove/contracts';
import { z } from 'zod';

/** Whom Fastify believes the X-Forwarded- headers of: nobody, everybody, or these addresses and networks. */
const TrustProxy = z.string().transform((text, context): boolean | string[] => {
  if (text === 'true' || text === 'false') return text === 'true';
  const networks = text.split(',').map((part) => part.trim());
  if (networks.every(isNetwork)) return networks;
  context.addIssue({ code: 'custom', message: 'must be true, false, or addresses and networks such as 10.0.0.0/8' });
  return z.NEVER;
});

function isNetwork(text: string): boolean {
  const [address = '', bits, ...more] = text.split('/');
  const size = isIP(address) === 6 ? 128 : 32;
  return isIP(address) !== 0 && more.length === 0 && (bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= size));
}

export const ApiSettings = z.strictObject({
  ...controlPlaneSettings,
  ALCOVE_API_LISTEN: ListenAddress,
  ALCOVE_INTERNAL_LISTEN: ListenAddress,
  ALCOVE_PLATFORM_KEY_SHA256: z.string().regex(/^[0-9a-f]{64}$/, 'must be 64 lower-case hex digits'),
  ALCOVE_DOCS: z.enum(['keys', 'public', 'off']).default('keys'),
  ALCOVE_TRUST_PROXY: TrustProxy.default(false),
  ALCOVE_E2B_DOMAIN: z.string().max(261).regex(/^[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:\d{1,5})?$/, 'must be a domain, with a port where it is not 443').optional(),
  ALCOVE_E2B_BASE_TEMPLATE: TemplateName.default('default'),
});

export interface ApiConfig {
  readonly listen: ListenAddress;
  /** Where hosts send their heartbeats, over mutual TLS. */
  readonly internalListen: ListenAddress;
  readonly databaseUrl: Secret<string>;
  readonly keys: KeysConfig;
  /** Where vectors of tenants who chose it lie, obfuscated; null: nowhere but in the database. */
  readonly qdrant: QdrantConfig | null;
  readonly queue: QueueSetting;
  readonly tls: TlsIdentity;
  /** SHA-256 of the operator's key, hex: the key itself is nowhere on this machine. */
  readonly platformKeySha256: string;
  /** Who may read /docs and /openapi.json: holders of any key, everybody, nobody. */
  readonly docs: 'keys' | 'public' | 'off';
  readonly trustProxy: boolean | string[];
  /** `domain`: below which the edge serves rooms to E2B's clients, with its port; null where clients are told otherwise. `base`: the template that they call so. */
  readonly e2b?: { readonly domain: string | null; readonly base: string };
  readonly logLevel: string;
}

/** The API's configuration. Throws BadSettings: also for an ALCOVE_ name that is none of its settings, for it may be a mistyped one. */
export function apiConfig(environment: NodeJS.ProcessEnv = process.env): ApiConfig {
  const { settings, unknown } = readSettings(ApiSettings, environment);
  if (unknown.length > 0) throw new BadSettings(`${unknown.join(', ')}: no such setting`);
  return {
    listen: settings.ALCOVE_API_LISTEN,
    internalListen: settings.ALCOVE_INTERNAL_LISTEN,
    databaseUrl: new Secret(settings.ALCOVE_DATABASE_URL),
    keys: keysConfig(settings),
    qdrant: qdrantConfig(settings),
    queue: settings.ALCOVE_QUEUE,
    tls: readTlsIdentity(settings),
    platformKeySha256: settings.ALCOVE_PLATFORM_KEY_SHA256,
    docs: settings.ALCOVE_DOCS,
    trustProxy: settings.ALCOVE_TRUST_PROXY,
    e2b: { domain: settings.ALCOVE_E2B_DOMAIN ?? null, base: settings.ALCOVE_E2B_BASE_TEMPLATE },
    logLevel: settings.ALCOVE_LOG_LEVEL,
  };
}

/** What may be logged of the configuration at start. */
export function describeConfig(config: ApiConfig): Record<string, unknown> {
  const { listen, internalListen, docs, trustProxy, e2b, logLevel } = config;
  return {
    listen,
    internalListen,
    database: withoutCredentials(config.databaseUrl.expose()),
    queue: config.queue === 'postgres' ? 'postgres' : withoutCredentials(config.queue),
    keys: describeKeys(config.keys),
    qdrant: config.qdrant && withoutCredentials(config.qdrant.url),
    docs,
    trustProxy,
    e2b,
    logLevel,
  };
}
