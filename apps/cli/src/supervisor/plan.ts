import { createHash } from 'node:crypto';
import { isIPv6 } from 'node:net';
import { join } from 'node:path';
import type { CliConfig } from '../cli.config';
import type { Account, Cluster, Command } from '../embedded-postgres';
import { postgresCommand, superuserUrl } from '../embedded-postgres';
import type { HomePaths, Ports, Settings } from '../home';
import { publicCertificate, tlsFiles } from '../setup/certificates';

/** One process that the supervisor keeps running. Pure data: made of the settings, performed by Service. */
export interface ServicePlan extends Command {
  name: ServiceName;
  /** How it is asked to end. */
  stopSignal: NodeJS.Signals;
}

export const serviceNames = ['postgres', 'keys', 'api', 'worker', 'host', 'edge'] as const;
export type ServiceName = (typeof serviceNames)[number];

export interface PlanFacts {
  config: CliConfig;
  paths: HomePaths;
  settings: Settings;
  ports: Ports;
  /** The folder of PostgreSQL's binaries. */
  binaries: string;
  account: Account | null;
  /** What every process of the platform inherits. */
  environment: Record<string, string>;
}

/** User ids from here on belong to VMs when the platform runs as root: above what systems give to people, services and user namespaces of containers. */
const vmUidBase = 7_340_032;
/** The user that a template is captured as: below those of rooms, so that none of them owns it. */
export const templateUid = vmUidBase - 1;
const databaseName = 'alcove';
const keysDatabaseName = 'alcove_keys';
const appRole = 'alcove_app';

export function clusterOf(facts: Pick<PlanFacts, 'binaries' | 'paths' | 'ports' | 'settings'>): Cluster {
  return { binaries: facts.binaries, dataFolder: facts.paths.postgres, port: facts.ports.postgres, password: facts.settings.databasePassword, durable: true };
}

/**
 * The cluster of wraps: small, and with as little of the past in its log as PostgreSQL can do with. Segments are removed after a checkpoint, not used again, and nobody
 * copies them.
 */
export function keysClusterOf(facts: Pick<PlanFacts, 'binaries' | 'paths' | 'ports' | 'settings'>): Cluster {
  const settings = { max_connections: '60', shared_buffers: '16MB', wal_level: 'minimal', max_wal_senders: '0', max_wal_size: '64MB', min_wal_size: '32MB', wal_recycle: 'off', checkpoint_timeout: '5min' };
  return { binaries: facts.binaries, dataFolder: facts.paths.keysPostgres, port: facts.ports.keys, password: keysPasswords(facts.settings).databasePassword, durable: true, settings };
}

function keysPasswords({ keys }: Settings): { databasePassword: string; appPassword: string } {
  if (!keys) throw new Error('this home has no passwords for the cluster of wraps: ./alcove setup draws them');
  return keys;
}

/** As databaseUrls, of the cluster of wraps. */
export function keysDatabaseUrls(facts: PlanFacts): { owner: string; app: string; name: string } {
  return {
    owner: superuserUrl(keysClusterOf(facts), keysDatabaseName),
    app: `postgres://${appRole}:${keysPasswords(facts.settings).appPassword}@127.0.0.1:${facts.ports.keys}/${keysDatabaseName}`,
    name: keysDatabaseName,
  };
}

/** Connection strings: of the tables' owner, for migrations, and of the role that the processes use. */
export function databaseUrls(facts: PlanFacts): { owner: string; app: string; name: string } {
  return {
    owner: superuserUrl(clusterOf(facts), databaseName),
    app: `postgres://${appRole}:${facts.settings.appPassword}@127.0.0.1:${facts.ports.postgres}/${databaseName}`,
    name: databaseName,
  };
}

/** What runs, in the order in which it is started. */
export function servicePlans(facts: PlanFacts): ServicePlan[] {
  return [
    { name: 'postgres', ...postgresCommand(clusterOf(facts), facts.account), stopSignal: 'SIGINT' },
    { name: 'keys', ...postgresCommand(keysClusterOf(facts), facts.account), stopSignal: 'SIGINT' },
    nodeService(facts, 'api', { ...controlPlane(facts), ALCOVE_API_LISTEN: `127.0.0.1:${facts.ports.api}`, ALCOVE_INTERNAL_LISTEN: `127.0.0.1:${facts.ports.internal}`, ALCOVE_PLATFORM_KEY_SHA256: sha256(facts.settings.platformKey), ALCOVE_E2B_DOMAIN: e2bDomain(facts) }),
    nodeService(facts, 'worker', controlPlane(facts)),
    nodeService(facts, 'host', host(facts)),
    nodeService(facts, 'edge', edge(facts)),
  ];
}

function nodeService(facts: PlanFacts, name: ServiceName, settings: Record<string, string>): ServicePlan {
  const main = join(facts.config.root, 'dist', 'apps', name, 'src', 'main.js');
  return {
    name,
    command: 'setpriv',
    // The kernel asks the process to end when the supervisor dies, so a killed supervisor leaves nothing behind that a new one would fight with. Rooms go on.
    args: ['--pdeathsig', 'TERM', '--', process.execPath, '--no-warnings', main],
    // Compiled code is kept between starts, which shortens each by a third.
    env: { ...facts.environment, NODE_ENV: 'production', NODE_COMPILE_CACHE: join(facts.config.cache, 'node'), ALCOVE_LOG_LEVEL: facts.config.logLevel, ...settings },
    stopSignal: 'SIGTERM',
  };
}

function controlPlane(facts: PlanFacts): Record<string, string> {
  return {
    ALCOVE_DATABASE_URL: databaseUrls(facts).app,
    ALCOVE_KEYS_DATABASE_URL: keysDatabaseUrls(facts).app,
    ALCOVE_QUEUE: facts.config.queue,
    ALCOVE_ROOT_KEY_FILE: facts.paths.rootKey,
    ALCOVE_RECEIPT_KEY_FILE: facts.paths.receiptKey,
    ...qdrant(facts),
    ...tls(facts, 'control-plane'),
  };
}

function qdrant({ config }: PlanFacts): Record<string, string> {
  if (!config.qdrant) return {};
  const { url, apiKeyFile } = config.qdrant;
  return { ALCOVE_QDRANT_URL: url, ...(apiKeyFile === null ? {} : { ALCOVE_QDRANT_API_KEY_FILE: apiKeyFile }) };
}

function host(facts: PlanFacts): Record<string, string> {
  return {
    ALCOVE_HOST_ID: facts.settings.hostId,
    ALCOVE_HOST_LISTEN: `127.0.0.1:${facts.ports.host}`,
    ALCOVE_CONTROL_URL: `https://127.0.0.1:${facts.ports.internal}`,
    ALCOVE_STORE_DIR: facts.paths.store,
    ALCOVE_HOST_DIR: facts.paths.host,
    ALCOVE_DRIVER: facts.config.driver,
    ALCOVE_ACCELERATOR: facts.config.accelerator,
    ...(facts.config.asRoot ? { ALCOVE_VM_UID_BASE: String(vmUidBase) } : {}),
    ...tls(facts, facts.settings.hostId),
  };
}

function edge(facts: PlanFacts): Record<string, string> {
  const { address, behindProxy } = facts.config.edge;
  const { cert, key } = publicCertificate(facts.config.edge, facts.paths.tls);
  return {
    ALCOVE_EDGE_LISTEN: `${isIPv6(address) ? `[${address}]` : address}:${facts.ports.edge}`,
    ALCOVE_EDGE_DOMAIN: e2bDomain(facts),
    ALCOVE_EDGE_CERT: cert,
    ALCOVE_EDGE_KEY: key,
    ALCOVE_EDGE_BEHIND_PROXY: behindProxy,
    ALCOVE_API_URL: `http://127.0.0.1:${facts.ports.api}`,
    ALCOVE_CONTROL_URL: `https://127.0.0.1:${facts.ports.internal}`,
    ...(facts.config.debugRoom === null ? {} : { ALCOVE_EDGE_DEBUG_ROOM: facts.config.debugRoom }),
    ...tls(facts, 'edge'),
  };
}

/** What clients are told as E2B_DOMAIN. */
export function e2bDomain({ config, ports }: Pick<PlanFacts, 'config' | 'ports'>): string {
  return ports.edge === 443 ? config.e2bDomain.name : `${config.e2bDomain.name}:${ports.edge}`;
}

function tls(facts: PlanFacts, name: string): Record<string, string> {
  const files = tlsFiles(facts.paths.tls, name);
  return { ALCOVE_TLS_CA: files.ca, ALCOVE_TLS_CERT: files.cert, ALCOVE_TLS_KEY: files.key };
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
