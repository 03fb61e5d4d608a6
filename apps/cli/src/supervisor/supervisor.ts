import { readFileSync } from 'node:fs';
import { request } from 'node:https';
import { join } from 'node:path';
import { limits, systemClock, type Clock } from '@alcove/base';
import { migrate } from '@alcove/db';
import { migrateJobs } from '@alcove/jobs';
import { acceptsQueries, createDatabase } from '../embedded-postgres';
import { messageOf } from '../failure';
import { tlsFiles } from '../setup/certificates';
import { carryOver } from './carry-over';
import { clusterOf, databaseUrls, e2bDomain, keysClusterOf, keysDatabaseUrls, servicePlans, type PlanFacts, type ServiceName } from './plan';
import { Service } from './service';
import { startTicksOf, writeStatus, type PlatformStatus } from './status-file';

const readyTimeoutMs = 90_000;
const probeMs = 50;
/** A process that ended this often before it was ready will not become ready by waiting. */
const hopelessRestarts = 6;
const lookMs = 500;
const roundsPerLogCheck = 60;
/** Longer than any of them gives itself to close (the api lets calls finish): who is killed here would not have ended. */
export const stopMs = limits.http.processCloseMs + 2_000;
/** The databases, which everything else needs. */
const databases: readonly ServiceName[] = ['postgres', 'keys'];
const databaseStopMs = 30_000;
/**
 * One after the other: the edge, whose calls need all the others; the api lets calls finish, and they need the host agent; and the host agent's lease is renewed through the api for as long as that takes, so
 * that most of it is left for the next start, which adopts the rooms before it is over.
 */
const stopOrder: readonly ServiceName[] = ['edge', 'worker', 'api', 'host', 'postgres', 'keys'];

class ServiceFailed extends Error {
  constructor(
    readonly service: ServiceName,
    what: string,
  ) {
    super(`${service}: ${what}`);
  }
}

/** Runs the platform's processes: PostgreSQL first, then migrations, then the rest at once. Reports all that happens in the status file. */
export class Supervisor {
  readonly #services: Map<ServiceName, Service>;
  readonly #halt = new AbortController();
  readonly #startedAt: string;
  #phase: PlatformStatus['phase'] = 'starting';
  #failure: PlatformStatus['failure'] = null;
  #writing: Promise<void> = Promise.resolve();

  constructor(
    private readonly facts: PlanFacts,
    private readonly clock: Clock = systemClock,
  ) {
    const logFile = (name: string): string => join(facts.paths.logs, `${name}.log`);
    this.#services = new Map(servicePlans(facts).map((plan) => [plan.name, new Service(plan, logFile(plan.name), clock, () => void this.#report())]));
    this.#startedAt = new Date(clock.now()).toISOString();
  }

  /** Brings everything up; resolves when all is ready. After a failure everything is stopped and the status file says why. */
  async start(): Promise<void> {
    try {
      await this.#startAll();
      this.#phase = 'ready';
      await this.#report();
    } catch (error) {
      this.#failure = { service: error instanceof ServiceFailed ? error.service : null, message: messageOf(error) };
      await this.#stopAll('failed');
      throw error;
    }
  }

  /** Keeps logs bounded and readiness current until stop(). */
  async keepUp(): Promise<void> {
    for (let round = 0; ; round++) {
      try {
        await this.clock.sleep(lookMs, this.#halt.signal);
      } catch {
        return;
      }
      for (const [name, service] of this.#services) {
        if (round % roundsPerLogCheck === 0) await service.boundLog();
        if (service.status.state === 'starting' && (await this.#answers(name))) service.markReady();
      }
    }
  }

  async stop(): Promise<void> {
    await this.#stopAll('stopping');
  }

  async #startAll(): Promise<void> {
    for (const name of databases) this.#service(name).start();
    await Promise.all(databases.map((name) => this.#untilReady(name)));
    await this.#prepareDatabases();
    const rest: ServiceName[] = ['api', 'worker', 'host', 'edge'];
    for (const name of rest) this.#service(name).start();
    await Promise.all(rest.map((name) => this.#untilReady(name)));
  }

  async #prepareDatabases(): Promise<void> {
    const { config, settings } = this.facts;
    const [urls, keys] = [databaseUrls(this.facts), keysDatabaseUrls(this.facts)];
    await createDatabase(clusterOf(this.facts), urls.name);
    await createDatabase(keysClusterOf(this.facts), keys.name);
    await migrate({ ownerUrl: urls.owner, folder: join(config.root, 'prisma', 'migrations'), appPassword: settings.appPassword });
    await migrate({ ownerUrl: keys.owner, folder: join(config.root, 'prisma', 'keys-migrations'), appPassword: new URL(keys.app).password });
    if (config.queue === 'postgres') await migrateJobs(urls.owner);
    await carryOver(urls, keys);
  }

  async #untilReady(name: ServiceName): Promise<void> {
    const service = this.#service(name);
    const deadline = this.clock.monotonic() + readyTimeoutMs;
    while (!(service.status.state === 'starting' && (await this.#answers(name)))) {
      const { state, restarts, lastEnd } = service.status;
      if (state === 'misconfigured') throw new ServiceFailed(name, 'its configuration is wrong (exit 78)');
      if (restarts >= hopelessRestarts) throw new ServiceFailed(name, `it ended ${restarts} times (the last time with ${lastEnd ?? 'nothing'})`);
      if (this.clock.monotonic() > deadline) throw new ServiceFailed(name, `it did not become ready in ${readyTimeoutMs / 1000} s`);
      await this.clock.sleep(probeMs, this.#halt.signal);
    }
    service.markReady();
  }

  async #answers(name: ServiceName): Promise<boolean> {
    if (name === 'api') return answersHttp(`http://127.0.0.1:${this.facts.ports.api}/readyz`);
    if (name === 'host') return this.#hostServes();
    if (name === 'edge') return this.#edgeServes();
    if (name === 'postgres') return acceptsQueries(clusterOf(this.facts));
    if (name === 'keys') return acceptsQueries(keysClusterOf(this.facts));
    // The worker serves nothing: running is all there is to see from outside.
    return this.#service(name).status.pid !== null;
  }

  /** The host agent answers and holds a lease: the control plane has heard of it. */
  #hostServes(): Promise<boolean> {
    const files = tlsFiles(this.facts.paths.tls, 'control-plane');
    const credentials = { ca: readFileSync(files.ca), cert: readFileSync(files.cert), key: readFileSync(files.key), servername: this.facts.settings.hostId };
    return new Promise((resolve) => {
      const asked = request({ host: '127.0.0.1', port: this.facts.ports.host, path: '/state', agent: false, timeout: 2000, ...credentials }, (answer) => {
        let text = '';
        answer.on('data', (chunk: Buffer) => (text += chunk.toString()));
        answer.on('end', () => resolve(answer.statusCode === 200 && /"fenced":\s*false/.test(text)));
        answer.on('error', () => resolve(false));
      });
      asked.on('timeout', () => asked.destroy());
      asked.on('error', () => resolve(false));
      asked.end();
    });
  }

  /** The edge answers: what, and whether clients will trust the certificate, does not matter here (the doctor judges that). */
  #edgeServes(): Promise<boolean> {
    const { config, ports } = this.facts;
    const host = config.e2bDomain.name;
    return new Promise((resolve) => {
      const asked = request({ host: reachable(config.edge.address), port: ports.edge, path: '/', agent: false, timeout: 2000, rejectUnauthorized: false, servername: host, headers: { host } }, (answer) => {
        answer.resume();
        resolve(answer.statusCode !== undefined);
      });
      asked.on('timeout', () => asked.destroy());
      asked.on('error', () => resolve(false));
      asked.end();
    });
  }

  async #stopAll(phase: PlatformStatus['phase']): Promise<void> {
    this.#phase = phase;
    this.#halt.abort(new Error('stopping'));
    for (const name of stopOrder) await this.#service(name).stop(databases.includes(name) ? databaseStopMs : stopMs);
    await this.#report();
  }

  #service(name: ServiceName): Service {
    const service = this.#services.get(name);
    if (!service) throw new Error(`no service is called ${name}`);
    return service;
  }

  #report(): Promise<void> {
    this.#writing = this.#writing.then(async () => {
      const startTicks = (await startTicksOf(process.pid)) ?? '';
      await writeStatus(this.facts.paths.status, {
        pid: process.pid,
        startTicks,
        build: this.facts.config.build,
        driver: this.facts.config.driver,
        phase: this.#phase,
        failure: this.#failure,
        url: `http://127.0.0.1:${this.facts.ports.api}`,
        e2bDomain: e2bDomain(this.facts),
        debugRoom: this.facts.config.debugRoom,
        startedAt: this.#startedAt,
        services: [...this.#services.values()].map((service) => service.status),
      });
    });
    return this.#writing;
  }
}

/** Where one reaches what listens on the address: an address that means all of them is none to connect to. */
function reachable(address: string): string {
  if (address === '0.0.0.0') return '127.0.0.1';
  return address === '::' ? '::1' : address;
}

async function answersHttp(url: string): Promise<boolean> {
  try {
    const answer = await fetch(url, { signal: AbortSignal.timeout(2000) });
    await answer.arrayBuffer();
    return answer.ok;
  } catch {
    return false;
  }
}
