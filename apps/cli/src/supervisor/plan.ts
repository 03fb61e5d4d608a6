import { createHash } from 'node:crypto';
import { join } from 'node:path';
import type { CliConfig } from '../cli.config';
import type { Account, Cluster, Command } from '../embedded-postgres';
import { postgresCommand, superuserUrl } from '../embedded-postgres';
import type { HomePaths, Ports, Settings } from '../home';
import { publicName, tlsFiles } from '../setup/certificates';

/** One process that the supervisor keeps running. Pure data: made of the settings, performed by Service. */
export interface ServicePlan extends Command {
  name: ServiceName;
  /** How it is asked to end. */
  stopSignal: NodeJS.Signals;
}

export const serviceNames = ['postgres', 'api', 'worker', 'host', 'edge'] as const;
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
const appRole = 'alcove_app';

export function clusterOf(facts: Pick<PlanFacts, 'binaries' | 'paths' | 'ports' | 'settings'>): Cluster {
  return { binaries: facts.binaries, dataFolder: facts.paths.postgres, port: facts.ports.postgres, password: facts.settings.databasePassword, durable: true };
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
    ALCOVE_QUEUE: facts.config.queue,
    ALCOVE_ROOT_KEY_FILE: facts.paths.rootKey,
    ...tls(facts, 'control-plane'),
  };
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
  const shown = tlsFiles(facts.paths.tls, publicName);
  return {
    ALCOVE_EDGE_LISTEN: `127.0.0.1:${facts.ports.edge}`,
    ALCOVE_EDGE_DOMAIN: e2bDomain(facts),
    ALCOVE_EDGE_CERT: shown.cert,
    ALCOVE_EDGE_KEY: shown.key,
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
