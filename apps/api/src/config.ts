import { readFileSync } from 'node:fs';
import { errorCode, Secret } from '@alcove/base';
import { BadSettings, ListenAddress, LogLevel, QueueSetting, readSettings } from '@alcove/contracts';
import { z } from 'zod';

const file = z.string().startsWith('/', 'must be an absolute path');

/** Whom Fastify believes the X-Forwarded- headers of: nobody, everybody, or these addresses and networks. */
const TrustProxy = z.string().transform((text): boolean | string[] => (text === 'true' ? true : text === 'false' ? false : text.split(',').map((part) => part.trim())));

export const ApiSettings = z.strictObject({
  ALCOVE_API_LISTEN: ListenAddress,
  ALCOVE_INTERNAL_LISTEN: ListenAddress,
  ALCOVE_DATABASE_URL: z.url({ protocol: /^postgres(ql)?$/, error: 'must be a postgres:// address' }),
  ALCOVE_QUEUE: QueueSetting.default('postgres'),
  ALCOVE_TLS_CA: file,
  ALCOVE_TLS_CERT: file,
  ALCOVE_TLS_KEY: file,
  ALCOVE_ROOT_KEY_FILE: file,
  ALCOVE_PLATFORM_KEY_SHA256: z.string().regex(/^[0-9a-f]{64}$/, 'must be 64 lower-case hex digits'),
  ALCOVE_DOCS: z.enum(['keys', 'public', 'off']).default('keys'),
  ALCOVE_TRUST_PROXY: TrustProxy.default(false),
  ALCOVE_LOG_LEVEL: LogLevel.default('info'),
});

/** Who this process is between control plane and hosts: its certificate serves heartbeats and is shown to hosts. PEM. */
export interface TlsIdentity {
  readonly ca: string;
  readonly cert: string;
  readonly key: Secret<string>;
}

export interface ApiConfig {
  readonly listen: ListenAddress;
  readonly internalListen: ListenAddress;
  readonly databaseUrl: Secret<string>;
  readonly queue: QueueSetting;
  readonly tls: TlsIdentity;
  readonly rootKeyFile: string;
  /** SHA-256 of the operator's key, hex: the key itself is nowhere on this machine. */
  readonly platformKeySha256: string;
  /** Who may read /docs and /openapi.json: holders of any key, everybody, nobody. */
  readonly docs: 'keys' | 'public' | 'off';
  readonly trustProxy: boolean | string[];
  readonly logLevel: string;
}

/** Reads a file that a setting names. Throws BadSettings that says which setting, and how the file failed. */
function readNamed(setting: string, path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw new BadSettings(`${setting}: ${path} cannot be read (${errorCode(error) ?? 'unknown'})`);
  }
}

/** The API's configuration. Throws BadSettings: also for an ALCOVE_ name that is none of its settings, for it may be a mistyped one. */
export function apiConfig(environment: NodeJS.ProcessEnv = process.env): ApiConfig {
  const { settings, unknown } = readSettings(ApiSettings, environment);
  if (unknown.length > 0) throw new BadSettings(`${unknown.join(', ')}: no such setting`);
  return {
    listen: settings.ALCOVE_API_LISTEN,
    internalListen: settings.ALCOVE_INTERNAL_LISTEN,
    databaseUrl: new Secret(settings.ALCOVE_DATABASE_URL),
    queue: settings.ALCOVE_QUEUE,
    tls: {
      ca: readNamed('ALCOVE_TLS_CA', settings.ALCOVE_TLS_CA),
      cert: readNamed('ALCOVE_TLS_CERT', settings.ALCOVE_TLS_CERT),
      key: new Secret(readNamed('ALCOVE_TLS_KEY', settings.ALCOVE_TLS_KEY)),
    },
    rootKeyFile: settings.ALCOVE_ROOT_KEY_FILE,
    platformKeySha256: settings.ALCOVE_PLATFORM_KEY_SHA256,
    docs: settings.ALCOVE_DOCS,
    trustProxy: settings.ALCOVE_TRUST_PROXY,
    logLevel: settings.ALCOVE_LOG_LEVEL,
  };
}

/** What may be logged of the configuration at start. */
export function describeConfig(config: ApiConfig): Record<string, unknown> {
  const database = new URL(config.databaseUrl.expose());
  return {
    listen: config.listen,
    internalListen: config.internalListen,
    database: `${database.protocol}//${database.host}${database.pathname}`,
    queue: config.queue === 'postgres' ? 'postgres' : `${config.queue.protocol}//${config.queue.host}`,
    rootKeyFile: config.rootKeyFile,
    docs: config.docs,
    trustProxy: config.trustProxy,
    logLevel: config.logLevel,
  };
}
