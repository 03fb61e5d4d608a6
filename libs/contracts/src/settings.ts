import { readFileSync } from 'node:fs';
import { errorCode, Secret } from '@alcove/base';
import { z } from 'zod';
import { isProblem } from './problem';

/** The pieces that the settings of more than one process are made of. Settings are environment variables, all named ALCOVE_…, parsed once at start. */

const hostAndPort = /^(?:\[(?<six>[0-9A-Fa-f:.]+)\]|(?<name>[^:\s[\]]+)):(?<port>\d{1,5})$/;

/** `host:port` or `[ipv6]:port`; port 0 asks the kernel for a free one. */
export const ListenAddress = z.string().transform((text, context): { host: string; port: number } => {
  const parts = hostAndPort.exec(text)?.groups;
  const port = Number(parts?.port);
  if (!parts || port > 65_535) {
    context.addIssue({ code: 'custom', message: 'must be host:port' });
    return z.NEVER;
  }
  return { host: parts.six ?? parts.name ?? '', port };
});
export type ListenAddress = z.infer<typeof ListenAddress>;

/** `postgres` (the queue lives in the same database) or `redis://…` / `rediss://…`. */
export const QueueSetting = z.string().transform((text, context): 'postgres' | URL => {
  if (text === 'postgres') return 'postgres';
  const url = URL.parse(text);
  if (url?.protocol === 'redis:' || url?.protocol === 'rediss:') return url;
  context.addIssue({ code: 'custom', message: 'must be postgres or a redis:// address' });
  return z.NEVER;
});
export type QueueSetting = z.infer<typeof QueueSetting>;

export const LogLevel = z.enum(['trace', 'debug', 'info', 'warn', 'error', 'silent']);

const file = z.string().startsWith('/', 'must be an absolute path');

/** Whom a process is on the connections between control plane and hosts: files in PEM. */
export const tlsSettings = { ALCOVE_TLS_CA: file, ALCOVE_TLS_CERT: file, ALCOVE_TLS_KEY: file };

/** What every process of the control plane needs. */
export const controlPlaneSettings = {
  ALCOVE_DATABASE_URL: z.url({ protocol: /^postgres(ql)?$/, error: 'must be a postgres:// address' }),
  /** Wraps of keys: a cluster of its own, whose backups are kept for a short time. */
  ALCOVE_KEYS_DATABASE_URL: z.url({ protocol: /^postgres(ql)?$/, error: 'must be a postgres:// address' }),
  ALCOVE_KEYS_CACHE_SECONDS: z.coerce.number().int().min(1).max(3600).default(60),
  ALCOVE_QUEUE: QueueSetting.default('postgres'),
  ALCOVE_ROOT_KEY_FILE: file,
  ALCOVE_RECEIPT_KEY_FILE: file,
  /** How long backups of the database of wraps are kept: receipts of erasures say it. */
  ALCOVE_KEYS_BACKUP_DAYS: z.coerce.number().int().min(0).max(3660).default(7),
  ALCOVE_LOG_LEVEL: LogLevel.default('info'),
  ALCOVE_QDRANT_URL: z.url({ protocol: /^https?$/, error: 'must be an http:// or https:// address' }).optional(),
  /** The server's key, in a file; without one the server asks for none. */
  ALCOVE_QDRANT_API_KEY_FILE: file.optional(),
  ...tlsSettings,
};

/** What the keys lib is given. */
export interface KeysConfig {
  /** The database of wraps. */
  readonly databaseUrl: Secret<string>;
  /** How long an unwrapped key stays in memory: within that time a key that its provider revoked is out of use. Milliseconds. */
  readonly cacheMs: number;
  readonly rootKeyFile: string;
  readonly receiptKeyFile: string;
  readonly backupsKeptMs: number;
}

export function keysConfig(settings: { readonly ALCOVE_KEYS_DATABASE_URL: string; readonly ALCOVE_KEYS_CACHE_SECONDS: number; readonly ALCOVE_ROOT_KEY_FILE: string; readonly ALCOVE_RECEIPT_KEY_FILE: string; readonly ALCOVE_KEYS_BACKUP_DAYS: number }): KeysConfig {
  return {
    databaseUrl: new Secret(settings.ALCOVE_KEYS_DATABASE_URL),
    cacheMs: settings.ALCOVE_KEYS_CACHE_SECONDS * 1000,
    rootKeyFile: settings.ALCOVE_ROOT_KEY_FILE,
    receiptKeyFile: settings.ALCOVE_RECEIPT_KEY_FILE,
    backupsKeptMs: settings.ALCOVE_KEYS_BACKUP_DAYS * 24 * 3600_000,
  };
}

/** What may be logged of it. */
export function describeKeys({ databaseUrl, ...rest }: KeysConfig): Record<string, unknown> {
  return { database: withoutCredentials(databaseUrl.expose()), ...rest };
}

/** A Qdrant server. */
export interface QdrantConfig {
  readonly url: string;
  readonly apiKey: Secret<string> | null;
}

const loopback = /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/;

/** Null: none. Throws BadSettings: a key without an address, a file that cannot be read or is empty, a key that would cross a network in the clear, credentials in the address. */
export function qdrantConfig(settings: { readonly ALCOVE_QDRANT_URL?: string | undefined; readonly ALCOVE_QDRANT_API_KEY_FILE?: string | undefined }): QdrantConfig | null {
  const { ALCOVE_QDRANT_URL: url, ALCOVE_QDRANT_API_KEY_FILE: path } = settings;
  if (url === undefined) {
    if (path !== undefined) throw new BadSettings('ALCOVE_QDRANT_URL is missing, though ALCOVE_QDRANT_API_KEY_FILE is given');
    return null;
  }
  const { protocol, hostname, username, password } = new URL(url);
  if (username !== '' || password !== '') throw new BadSettings('ALCOVE_QDRANT_URL: must hold no user and no password');
  if (path === undefined) return { url, apiKey: null };
  if (protocol === 'http:' && !loopback.test(hostname)) throw new BadSettings('ALCOVE_QDRANT_URL: must be https:// where ALCOVE_QDRANT_API_KEY_FILE is given');
  const apiKey = readText('ALCOVE_QDRANT_API_KEY_FILE', path).trim();
  if (apiKey === '') throw new BadSettings(`ALCOVE_QDRANT_API_KEY_FILE: ${path} is empty`);
  return { url, apiKey: new Secret(apiKey) };
}

/** A process refuses to start: one line for each setting that is wrong. The exit code is 78 (EX_CONFIG of sysexits.h). */
export class BadSettings extends Error {
  override readonly name = 'BadSettings';
  static readonly exitCode = 78;
}

/** EX_TEMPFAIL of sysexits.h: something that a process needs is not there yet, and whoever started it may start it again. */
const notReadyExitCode = 75;

/** How a start that failed ends: 78 and a line for the operator where the settings are wrong, the root key's file included; else 75. */
export function startFailure(error: unknown): { exitCode: number; line: string | null } {
  if (error instanceof BadSettings) return { exitCode: BadSettings.exitCode, line: error.message };
  if (isProblem(error, 'vault.key_unavailable')) return { exitCode: BadSettings.exitCode, line: `ALCOVE_ROOT_KEY_FILE: ${error.detail ?? error.code}` };
  return { exitCode: notReadyExitCode, line: null };
}

/**
 * Parses the ALCOVE_ variables of an environment. An empty variable counts as absent. `unknown` names those that the schema does not have: another
 * process may own them, a typing mistake may too, so the caller says them at start. Throws BadSettings; the message holds no value, which may be secret.
 */
export function readSettings<S extends z.ZodObject>(schema: S, environment: Readonly<Record<string, string | undefined>>): { settings: z.output<S>; unknown: string[] } {
  const given = Object.entries(environment).filter(([name, value]) => name.startsWith('ALCOVE_') && value);
  const parsed = schema.safeParse(Object.fromEntries(given.filter(([name]) => name in schema.shape)));
  if (!parsed.success) {
    const named = parsed.error.issues.map((issue) => {
      const name = issue.path.join('.');
      return given.some(([known]) => known === name) ? `${name}: ${issue.message}` : `${name} is missing`;
    });
    throw new BadSettings(named.join('; '));
  }
  return { settings: parsed.data, unknown: given.map(([name]) => name).filter((name) => !(name in schema.shape)) };
}

export interface TlsIdentity {
  readonly ca: string;
  readonly cert: string;
  readonly key: Secret<string>;
}

/** Reads the three files of tlsSettings. Throws BadSettings that says which of them cannot be read, and why. */
export function readTlsIdentity(settings: { readonly [N in keyof typeof tlsSettings]: string }): TlsIdentity {
  const read = (name: keyof typeof tlsSettings): string => readText(name, settings[name]);
  return { ca: read('ALCOVE_TLS_CA'), cert: read('ALCOVE_TLS_CERT'), key: new Secret(read('ALCOVE_TLS_KEY')) };
}

function readText(name: string, path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw new BadSettings(`${name}: ${path} cannot be read (${errorCode(error) ?? 'unknown'})`);
  }
}

/** An address without its user, password and parameters: what may be logged of it. */
export function withoutCredentials(address: string | URL): string {
  const { protocol, host, pathname } = new URL(address);
  return `${protocol}//${host}${pathname}`;
}
