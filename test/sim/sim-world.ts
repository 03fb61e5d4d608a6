import { type Random, seededRandom, silentLog } from '@alcove/base';
import { isProblem, Problem, type Principal } from '@alcove/contracts';
import { FleetService, HostClient, type HostAddress, type IncarnationKey, MemoryHostsStore } from '@alcove/fleet';
import {
  jobsReconcilers, JobWorker, MemoryOutbox, MemoryQueue, MemorySagaStore, type MemoryScope, OutboxDispatcher, ReconcilerDriver, sagaProcessor, SagaRunner, type SagaStore,
} from '@alcove/jobs';
import type { MemoryService } from '@alcove/memory';
import { assembleRooms, type AssembledRooms, MemoryRoomsStore, type RoomRecord } from '@alcove/rooms';
import { type PlatformSnapshot, SimAudit, SimDatabase, SimLocks, SimNetwork, SimOwners, simSecrets, throughDatabase, Unreachable, type VirtualNode, VirtualTime } from '@alcove/testing';
import { destroyUser } from '../../apps/worker/src/processors/destroy-user.processor';
import { consolidateMemory, embedMemory, indexMemory } from '../../apps/worker/src/processors/memory.processors';
import { reconcileRoom } from '../../apps/worker/src/processors/reconcile-room.processor';
import { SimMachine, SimStoreGroup, type MachineFaults } from './sim-machine';

export type Scope = MemoryScope | undefined;

export interface SimOptions {
  readonly seed: number;
  /** How many hosts each store group has. */
  readonly groups: readonly number[];
  readonly roomsPerUser?: number;
  readonly network?: { readonly latencyMaxMs: number; readonly lossOneIn: number; readonly twiceOneIn: number };
  readonly faults?: MachineFaults;
  /** A SagaRunner of a test's own, for every process that starts. */
  readonly makeRunner?: (store: SagaStore<Scope>, node: VirtualNode, random: Random) => SagaRunner<Scope>;
}

/** Nobody remembers anything here: the jobs are known, as every worker's must be, and never come. */
const noMemory = {} as MemoryService;
const quiet = { latencyMaxMs: 2, lossOneIn: 0, twiceOneIn: 0 };

/** One process of the control plane. */
export interface SimPlane {
  readonly node: VirtualNode;
  readonly fleet: FleetService;
  readonly rooms: AssembledRooms<Scope>;
  readonly runner: SagaRunner<Scope>;
}

export const simTenant = '00000000-0000-4000-8000-000000000001';
export const simPrincipal: Principal = { kind: 'system', keyId: 'sim', tenantId: simTenant, scopes: [], ratePerSecond: 1, concurrent: 1 };

/**
 * The whole platform in one process and one thread: the real lifecycle, sagas, reconcilers, fleet, job machinery and host agents, on stores in memory and the
 * fake driver, with clock, network, database and chance replaced. The same seed does the same again.
 */
export class SimWorld {
  readonly time = new VirtualTime();
  readonly random: Random;
  readonly network: SimNetwork;
  readonly database = new SimDatabase();
  readonly store = new MemoryRoomsStore();
  readonly machines: SimMachine[] = [];
  readonly audit = new SimAudit();
  readonly outbox: MemoryOutbox;
  readonly sagas: MemorySagaStore;
  readonly queue: MemoryQueue;
  readonly owners: SimOwners;
  readonly #hosts = new MemoryHostsStore();
  readonly #locks = new SimLocks();
  readonly #options: SimOptions;
  /** Called with every row that is saved. */
  onSaved: (room: RoomRecord) => void = () => undefined;
  api: SimPlane;
  worker: SimPlane;

  constructor(options: SimOptions) {
    this.#options = options;
    this.random = seededRandom(options.seed);
    this.network = new SimNetwork({ random: this.random, ...(options.network ?? quiet) });
    const database = this.time.node('database');
    this.outbox = new MemoryOutbox(database);
    this.sagas = new MemorySagaStore(this.outbox, database);
    this.queue = new MemoryQueue(database);
    this.owners = new SimOwners(options.roomsPerUser ?? 100);
    this.store.onSaved = (room) => {
      this.onSaved(room);
      for (const plane of [this.api, this.worker]) if (plane.node.alive) plane.rooms.watchers.heard(`${room.id} ${room.generation}`);
    };
    this.api = this.#plane('api');
    this.worker = this.#plane('worker');
    options.groups.forEach((hosts, g) => {
      const group = new SimStoreGroup(`group-${g}`);
      for (let h = 0; h < hosts; h++) this.machines.push(new SimMachine(`host-${g}-${h}`, group, this, options.faults ?? null));
    });
  }

  /** Starts the worker and every host; the first heartbeats make the hosts known. */
  async start(): Promise<void> {
    await this.#startWorker();
    for (const machine of this.machines) await machine.startAgent();
    await this.run(3_000);
  }

  /** Lets time pass. */
  run(ms: number, after: () => void = () => undefined): Promise<void> {
    return this.time.run(this.time.elapsedMs + ms, after);
  }

  machine(hostId: string): SimMachine {
    const machine = this.machines.find(({ id }) => id === hostId);
    if (!machine) throw new Error(`no machine ${hostId}`);
    return machine;
  }

  /** Everything that the checker of the invariants looks at. */
  snapshot(): PlatformSnapshot {
    const groups = [...new Set(this.machines.map((machine) => machine.group))];
    return {
      rooms: this.store.all(),
      vms: this.machines.flatMap((machine) => machine.vms.all().map(({ roomId, incarnation }) => ({ hostId: machine.id, roomId, incarnation }))),
      holds: (storeGroup, image) => {
        const group = groups.find(({ name }) => name === storeGroup);
        const held = group?.images.get(image.id);
        return held !== undefined && !held.damaged && group?.disks.get(image.roomId)?.state === image.diskState;
      },
      stored: groups.flatMap((group) => [...group.images.all().map((image) => image.ref.roomId), ...group.disks.all().map((disk) => disk.roomId)].map((roomId) => ({ storeGroup: group.name, roomId }))),
    };
  }

  /** The API process is killed and started again; what its callers waited for is lost with it. */
  restartApi(): void {
    this.api.node.kill();
    this.api = this.#plane('api');
  }

  async restartWorker(): Promise<void> {
    this.worker.node.kill();
    await this.queue.close();
    this.worker = this.#plane('worker');
    await this.#startWorker();
  }

  #plane(name: string): SimPlane {
    const node = this.time.node(name);
    const reach = <T extends object>(store: T): T => throughDatabase(store, node, this.random, this.database);
    const sagas = reach(this.sagas) as SagaStore<Scope>;
    const runner = this.#options.makeRunner?.(sagas, node, this.random) ?? new SagaRunner<Scope>(sagas, { clock: node, log: silentLog, random: this.random });
    const fleet = new FleetService(reach(this.#hosts), { clock: node, log: silentLog });
    const rooms = assembleRooms<Scope>({
      store: reach(this.store),
      runner,
      outbox: reach(this.outbox),
      audit: this.audit,
      owners: this.owners,
      secrets: simSecrets,
      inTransaction: (_tenantId, work) => work(undefined),
      fleet,
      hosts: new SimHostClient(this, node),
      clock: node,
      log: silentLog,
      random: this.random,
    });
    return { node, fleet, rooms, runner };
  }

  async #startWorker(): Promise<void> {
    const { node, rooms, runner } = this.worker;
    const reach = <T extends object>(store: T): T => throughDatabase(store, node, this.random, this.database);
    const outbox = reach(this.outbox);
    const jobs = new JobWorker(this.queue, { clock: node, log: silentLog });
    await jobs.start([sagaProcessor(runner), reconcileRoom(rooms.mover as never), destroyUser(rooms.users as never), consolidateMemory(noMemory), embedMemory(noMemory), indexMemory(noMemory)]);
    new OutboxDispatcher<Scope>(outbox, this.queue, { clock: node, log: silentLog, pollMs: 1_000 }).start();
    const reconcilers = new ReconcilerDriver({ clock: node, log: silentLog, locks: this.#locks.of(node) });
    reconcilers.register(...jobsReconcilers<Scope>({ outbox, sagas: reach(this.sagas), clock: node }), ...rooms.reconcilers);
    reconcilers.start();
  }
}

/** The host API without HTTP: straight to the runners of the host's agent, over the simulated network. */
export class SimHostClient extends HostClient {
  constructor(private readonly world: SimWorld, private readonly node: VirtualNode) {
    super();
  }

  override ensureRunning: HostClient['ensureRunning'] = (host, room, order) => this.#call(host, room, (machine) => machine.rooms.runner(room.roomId).ensureRunning(room.incarnation, order));
  override ensureSealed: HostClient['ensureSealed'] = (host, room, order) => this.#call(host, room, (machine) => machine.rooms.runner(room.roomId).ensureSealed(room.incarnation, order));
  override ensureCopied: HostClient['ensureCopied'] = (host, room, order) =>
    this.#call(host, room, ({ rooms }) => rooms.runner(room.roomId).ensureCopied(room.incarnation, order, rooms.runner(order.source.image.roomId)));
  override ensureGone: HostClient['ensureGone'] = (host, room, order) => this.#call(host, room, (machine) => machine.rooms.runner(room.roomId).ensureGone(room.incarnation, order));
  override state: HostClient['state'] = (host) => this.#call(host, null, (machine) => machine.state());
  override stream: HostClient['stream'] = async () => {
    throw new Problem('guest.closed', { detail: 'the simulator has no streams' });
  };
  override async close(): Promise<void> {}

  /** A word to the agent in a room: it counts. */
  say(host: HostAddress, room: IncarnationKey): Promise<{ nonce: string; turns: number }> {
    return this.#call(host, room, async (machine) => machine.say(room));
  }

  async #call<T>(host: HostAddress, _room: IncarnationKey | null, work: (machine: SimMachine) => Promise<T>): Promise<T> {
    const machine = this.world.machine(host.id);
    try {
      return await this.world.network.call(this.node, () => machine.node, () => work(machine));
    } catch (error) {
      if (error instanceof Unreachable) throw new Problem('host.unavailable', { cause: error });
      throw isProblem(error) ? error : new Problem('internal', { cause: error });
    }
  }
}
