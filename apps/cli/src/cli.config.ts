import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { BadSettings, readSettings } from '@alcove/contracts';

/** `host` or `host:port`: below it the edge serves rooms to E2B's clients. */
const E2bDomain = z
  .string()
  .max(190)
  .toLowerCase()
  .regex(/^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+(:\d{1,5})?$/, 'must be a domain of two labels or more, with a port where one is wanted')
  .transform((text): E2bDomain => {
    const [name = '', port] = text.split(':');
    return { name, port: port === undefined ? null : Number(port) };
  });
export interface E2bDomain {
  readonly name: string;
  /** The port that was asked for; null: the one that is kept in the settings, or 8443. */
  readonly port: number | null;
}

/** What `./alcove` takes from the environment. The platform's processes get theirs from the supervisor, never from the user's shell. */
const schema = z.object({
  ALCOVE_ROOT: z.string().default(process.cwd()),
  ALCOVE_BUILD: z.string().default('unknown'),
  ALCOVE_HOME: z.string().optional(),
  ALCOVE_CACHE: z.string().optional(),
  ALCOVE_DRIVER: z.enum(['qemu', 'fake']).default('qemu'),
  ALCOVE_ACCELERATOR: z.enum(['auto', 'kvm', 'tcg']).default('auto'),
  ALCOVE_QUEUE: z.string().default('postgres'),
  ALCOVE_LOG_LEVEL: z.string().default('info'),
  ALCOVE_QDRANT_URL: z.string().optional(),
  ALCOVE_QDRANT_API_KEY_FILE: z.string().optional(),
  ALCOVE_E2B_DOMAIN: E2bDomain.default({ name: 'alcove.test', port: null }),
  ALCOVE_EDGE_ADDRESS: z.union([z.ipv4(), z.ipv6()], 'must be an IP address').default('127.0.0.1'),
  ALCOVE_EDGE_CERT: z.string().optional(),
  ALCOVE_EDGE_KEY: z.string().optional(),
  ALCOVE_EDGE_BEHIND_PROXY: z.enum(['yes', 'no']).default('no'),
  ALCOVE_EDGE_DEBUG_ROOM: z.string().optional(),
  ALCOVE_PKCS11: z.enum(['0', '1']).default('0'),
});

/** Where the edge listens and what it shows to clients. */
export interface EdgeOptions {
  /** The IP address; its port is chosen with the others. */
  readonly address: string;
  /** PEM files for `*.<domain>` that the user has; null: a development certificate, which setup makes. */
  readonly certificate: { readonly cert: string; readonly key: string } | null;
  /** All callers come from a proxy's address, which is not bounded then. */
  readonly behindProxy: 'yes' | 'no';
}

export interface CliConfig {
  /** The checkout. */
  root: string;
  /** Names the sources that were compiled: another value means that the running platform is of another version. */
  build: string;
  /** Data: database, keys, images, templates. */
  home: string;
  /** What can be made again. */
  cache: string;
  driver: 'qemu' | 'fake';
  accelerator: 'auto' | 'kvm' | 'tcg';
  queue: string;
  logLevel: string;
  /** A Qdrant server for tenants whose policy names one; the services check it. Null: none. */
  qdrant: { readonly url: string; readonly apiKeyFile: string | null } | null;
  e2bDomain: E2bDomain;
  edge: EdgeOptions;
  /** The room whose surface the edge opens to every program of this machine, for E2B_DEBUG; null: none. */
  debugRoom: string | null;
  /** Whether setup builds what a key in a PKCS#11 token needs. */
  pkcs11: boolean;
  asRoot: boolean;
  colour: boolean;
  interactive: boolean;
}

/** Reads the environment; throws BadSettings with one line per setting that is wrong. */
export function readCliConfig(): CliConfig {
  const { settings } = readSettings(schema, process.env);
  const asRoot = process.getuid?.() === 0;
  return {
    root: resolve(settings.ALCOVE_ROOT),
    build: settings.ALCOVE_BUILD,
    home: resolve(settings.ALCOVE_HOME ?? (asRoot ? '/var/lib/alcove' : join(homedir(), '.local/share/alcove'))),
    cache: resolve(settings.ALCOVE_CACHE ?? (asRoot ? '/var/cache/alcove' : join(homedir(), '.cache/alcove'))),
    driver: settings.ALCOVE_DRIVER,
    accelerator: settings.ALCOVE_ACCELERATOR,
    queue: settings.ALCOVE_QUEUE,
    logLevel: settings.ALCOVE_LOG_LEVEL,
    qdrant: qdrantServer(settings.ALCOVE_QDRANT_URL, settings.ALCOVE_QDRANT_API_KEY_FILE),
    e2bDomain: settings.ALCOVE_E2B_DOMAIN,
    edge: { address: settings.ALCOVE_EDGE_ADDRESS, certificate: ownCertificate(settings.ALCOVE_EDGE_CERT, settings.ALCOVE_EDGE_KEY), behindProxy: settings.ALCOVE_EDGE_BEHIND_PROXY },
    debugRoom: settings.ALCOVE_EDGE_DEBUG_ROOM ?? null,
    pkcs11: settings.ALCOVE_PKCS11 === '1',
    asRoot,
    colour: !process.env['NO_COLOR'] && process.stdout.isTTY === true && process.env['TERM'] !== 'dumb',
    interactive: process.stdin.isTTY === true && process.stderr.isTTY === true,
  };
}

function ownCertificate(cert: string | undefined, key: string | undefined): EdgeOptions['certificate'] {
  if (cert === undefined && key === undefined) return null;
  if (cert === undefined || key === undefined) throw new BadSettings('ALCOVE_EDGE_CERT and ALCOVE_EDGE_KEY are given together, or neither');
  return { cert: resolve(cert), key: resolve(key) };
}

function qdrantServer(url: string | undefined, apiKeyFile: string | undefined): CliConfig['qdrant'] {
  if (url === undefined && apiKeyFile !== undefined) throw new BadSettings('ALCOVE_QDRANT_URL is missing, though ALCOVE_QDRANT_API_KEY_FILE is given');
  return url === undefined ? null : { url, apiKeyFile: apiKeyFile === undefined ? null : resolve(apiKeyFile) };
}

/** The environment that child programs (apt, tsc, jest …) inherit: the user's own, with additions. */
export function inheritedEnvironment(additions: Record<string, string> = {}): Record<string, string> {
  const inherited = Object.entries(process.env).filter((entry): entry is [string, string] => entry[1] !== undefined);
  return { ...Object.fromEntries(inherited), ...additions };
}

/** What the platform's processes get beside their own settings: nothing of the user's shell but where programs are. */
export function plainEnvironment(): Record<string, string> {
  return { PATH: process.env['PATH'] ?? '/usr/sbin:/usr/bin:/sbin:/bin', HOME: homedir(), LANG: 'C.UTF-8', TZ: 'UTC' };
}
