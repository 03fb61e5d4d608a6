import type { Server } from 'node:https';
import { type Clock, limits, type Log, newId, type Random } from '@alcove/base';
import type { Capacity, HostDescription, HostState, IncarnationState } from '@alcove/contracts';
import type { Driver, MemoryFigures, ProbeReport } from '@alcove/runtime';
import type { ControlPlane } from './control-plane';
import { createHostServer, type TlsFiles } from './http/server';
import type { Journal } from './journal';
import { Lease } from './lease';
import { HostMetrics } from './metrics';
import { Reporter } from './reporter';
import { Rooms } from './rooms/rooms';
import { execRoute } from './routes/exec';
import { figuresRoute } from './routes/figures';
import { fileRoutes } from './routes/files';
import { invocationRoute } from './routes/invocations';
import { logsRoute } from './routes/logs';
import { portsRoute } from './routes/ports';
import { processRoutes } from './routes/processes';
import { stateRoutes } from './routes/state';
import { verbRoutes } from './routes/verbs';
import { Figures } from './services/figures';
import { surfaceRoute } from './surface/surface';
import type { Templates } from './templates';
import type { LeaseRecord } from './warden/lease-file';

export interface HostOptions {
  hostId: string;
  /** Hosts of one group see the same store. */
  storeGroup?: string;
  roomsMax: number;
  heartbeatMs: number;
  leaseMs: number;
  leaseMarginMs: number;
  orphanGraceMs: number;
}

/** What a host agent is made of; all of it is replaced in a simulator. */
export interface HostParts {
  driver: Driver;
  journal: Journal;
  templates: Templates;
  controlPlane: ControlPlane;
  clock: Clock;
  random: Random;
  log: Log;
  /** What the machine has left, given the rooms that it may have and has. */
  capacity: (rooms: { max: number; used: number }) => Promise<Capacity>;
  /** The lease of the agent before, and where this one's is kept. */
  lease: { earlier: LeaseRecord | null; machineBootId: string; keep: (expiresAt: number) => Promise<void> | void };
}

/** The host agent: its rooms, its reporter, and, when it serves, its HTTPS server. `start` before anything else; `stop` leaves every VM running. */
export class Host {
  readonly rooms: Rooms;
  readonly metrics: HostMetrics;
  readonly bootId: string;
  readonly #reporter: Reporter;
  readonly #figures: Figures;
  readonly #stopped = new AbortController();
  #probe: ProbeReport | null = null;
  #loops: Promise<unknown> = Promise.resolve();
  #server: Server | null = null;

  constructor(
    private readonly parts: HostParts,
    private readonly options: HostOptions,
    /** How the control plane reaches this host; known only when the server listens. */
    private url: string,
  ) {
    this.bootId = newId('boot', parts.random);
    this.rooms = new Rooms(parts, options);
    const { rooms } = this;
    this.#figures = new Figures(rooms, parts.clock);
    this.metrics = new HostMetrics({ rooms: () => rooms.used(), streams: () => rooms.streams(), fenced: () => rooms.fenced, journalRooms: () => parts.journal.records().size });
    const lease = new Lease(parts.clock, options.leaseMs, { record: parts.lease.earlier, machineBootId: parts.lease.machineBootId });
    this.#reporter = new Reporter(
      this.bootId,
      { ...parts, rooms: this.rooms, lease, describe: () => this.#describe(), keepLease: parts.lease.keep, observed: this.metrics },
      options,
    );
    this.rooms.onChange = () => this.#reporter.nudge();
  }

  /** Finds out what the machine can do and takes over or ends what an earlier agent left. */
  async prepare(): Promise<void> {
    this.#probe = await this.parts.driver.probe();
    for (const finding of this.#probe.findings) if (!finding.ok) this.parts.log.warn(finding, 'a finding of the driver');
    const plan = await this.rooms.reclaim();
    const counts = { adopted: plan.adopt.length, ended: plan.end.length, forgotten: plan.forget.length, watched: plan.watch.size };
    this.parts.log.info(counts, 'journal and machine compared');
    // Hashing takes a while where it was never done before: it begins now, and the first beat waits for it.
    this.parts.templates.list().catch((err: unknown) => this.parts.log.error({ err }, 'the templates could not be listed'));
  }
  /** Begins to beat and to look for orphans. */
  run(): void {
    this.#loops = Promise.all([this.#reporter.run(this.#stopped.signal), this.#sweep(), this.#figures.run(this.#stopped.signal)]);
  }
  /** Serves the host API. Resolves with the bound address. */
  async listen(address: { host: string; port: number }, tls: TlsFiles, publicUrl: string | undefined): Promise<{ host: string; port: number }> {
    const { rooms, metrics } = this;
    const { clock, log } = this.parts;
    const streams = [invocationRoute(rooms, clock), execRoute(rooms), ...processRoutes(rooms), ...fileRoutes(rooms), logsRoute(rooms), figuresRoute(this.#figures), portsRoute(rooms), surfaceRoute(rooms, this.#figures, clock)];
    const routes = [...verbRoutes(rooms), ...streams, ...stateRoutes((memory) => this.state(memory), metrics)];
    const server = createHostServer(tls, { routes, log, observe: (route, status, ms) => metrics.request(route, status, ms) });
    await new Promise<void>((resolve, reject) => server.once('error', reject).listen(address.port, address.host, resolve));
    this.#server = server;
    const bound = server.address();
    const port = typeof bound === 'object' && bound ? bound.port : address.port;
    this.url = publicUrl ?? `https://${address.host.includes(':') ? `[${address.host}]` : address.host}:${port}`;
    return { host: address.host, port };
  }
  /** Takes no more requests, lets go of every guest, leaves every VM running. */
  async stop(): Promise<void> {
    this.#stopped.abort();
    const server = this.#server;
    if (server) {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeIdleConnections();
      await Promise.race([closed, this.parts.clock.sleep(limits.hostAgent.shutdownMs)]);
      server.closeAllConnections();
    }
    await this.#loops;
    this.rooms.release();
    this.parts.controlPlane.close();
    await this.parts.driver.close();
    await this.parts.journal.close();
  }
  /** What a beat says, on demand. `memory`: with what each running room costs, which takes a look at every page of it. */
  async state(memory = false): Promise<HostState> {
    await this.rooms.decided();
    const states = this.rooms.states().incarnations;
    const incarnations: IncarnationState[] = [];
    for (const state of states) incarnations.push(memory && state.phase === 'running' ? { ...state, ...(await this.#memoryOf(state)) } : state);
    return { hostId: this.options.hostId, bootId: this.bootId, fenced: this.rooms.fenced, ...(await this.#describe()), incarnations };
  }

  async #memoryOf(room: IncarnationState): Promise<Partial<MemoryFigures>> {
    // A room may end while it is looked at.
    return (await this.parts.driver.memoryOf?.(room).catch(() => undefined)) ?? {};
  }
  async #describe(): Promise<{ description: HostDescription; capacity: Capacity }> {
    const probe = this.#probe ?? (this.#probe = await this.parts.driver.probe());
    const templates = (await this.parts.templates.list()).map(({ manifest: { id, name, builtAt, cloneSafe, size } }) => ({ id, name, builtAt, cloneSafe, size }));
    const { isolation, accelerator, engineBuild } = probe;
    const { storeGroup } = this.options;
    return {
      description: { url: this.url, ...(storeGroup === undefined ? {} : { storeGroup }), driver: this.parts.driver.capabilities.name, isolation, accelerator, engineBuild, templates: templates.slice(0, 256) },
      capacity: await this.parts.capacity({ max: probe.ok ? this.options.roomsMax : 0, used: this.rooms.used() }),
    };
  }
  async #sweep(): Promise<void> {
    const { clock, log } = this.parts;
    while (!this.#stopped.signal.aborted) {
      await clock.sleep(this.options.orphanGraceMs / 2, this.#stopped.signal).catch(() => undefined);
      if (this.#stopped.signal.aborted) return;
      await this.rooms.reclaim().catch((err: unknown) => log.error({ err }, 'the machine could not be inspected'));
    }
  }
}
