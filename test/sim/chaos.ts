import { isProblem, Problem, type RoomLifecycle, type Snapshot } from '@alcove/contracts';
import { type Random, seededRandom } from '@alcove/base';
import { RoomChecker, VirtualTime } from '@alcove/testing';
import { SimHostClient, simPrincipal, simTenant, SimWorld, type SimPlane } from './sim-world';

/** What went wrong in a simulation, with the last things that happened before. */
export class SimulationFailed extends Error {
  override readonly name = 'SimulationFailed';
}

const users = ['ada', 'bob', 'eve'];
/** Of rooms that stay, and of some whose time is over soon. */
const lifecycles: readonly (Partial<RoomLifecycle> | null)[] = [null, null, { timeoutMs: 20_000, onTimeout: 'pause' }, { timeoutMs: 8_000, onTimeout: 'pause', keepMemory: false }, { timeoutMs: 15_000, onTimeout: 'kill' }];
const calmMs = 240_000;

/**
 * One seed: users who come and go, and everything that may go wrong, against the whole platform. The invariants are checked after every event; at the end,
 * when nothing goes wrong any more, every room must come to the rest that was wished for and every call must have ended.
 */
export class Chaos {
  readonly world: SimWorld;
  readonly #random: Random;
  readonly #checker = new RoomChecker();
  readonly #log: string[] = [];
  readonly #pending = new Map<Promise<unknown>, { name: string; plane: SimPlane }>();
  readonly #rooms: string[] = [];
  readonly #snapshots: Snapshot[] = [];
  #broken: Error | null = null;

  constructor(private readonly seed: number) {
    this.#random = seededRandom(seed * 2 + 1);
    const calm = seed % 4 === 0;
    this.world = new SimWorld({
      seed,
      groups: seed % 2 === 0 ? [3] : [2, 1],
      network: { latencyMaxMs: 20, lossOneIn: calm ? 0 : 25, twiceOneIn: calm ? 0 : 20 },
      faults: calm ? null : { oneIn: 30, kinds: ['fail', 'slow', 'die', 'disk_full', 'hang'], slowMs: 4_000, spare: ['stop', 'discard', 'inspect', 'prune', 'recover'] },
    });
    this.world.onSaved = (room) => {
      this.#say(`${room.id.slice(-4)} → ${room.state} g${room.generation} i${room.incarnation} ${room.wanted}${room.wakePending ? ' +wake' : ''} ${room.failure?.code ?? ''}`);
      this.#guard(() => this.#checker.saved(room));
    };
  }

  /** Throws SimulationFailed. */
  async run(steps: number): Promise<void> {
    await this.world.start();
    for (let i = 0; i < steps && !this.#broken; i++) {
      await this.world.run(this.#random.below(this.#random.below(3) === 0 ? 3_000 : 300), this.#check);
      await this.#act();
    }
    if (!this.#broken) await this.#heal();
    if (!this.#broken) await this.world.run(calmMs, this.#check);
    this.#guard(() => this.#checker.finally(this.world.snapshot(), this.world.worker.node.now()));
    this.#guard(() => this.#checkCalls());
    if (this.#broken) throw new SimulationFailed(`seed ${this.seed}: ${this.#broken.message}\n${this.#story(this.#broken.message)}`, { cause: this.#broken });
  }

  /** What happened to the room that the message names, everything that went wrong, and the last moments of all. */
  #story(message: string): string {
    const room = /room_[0-9a-f]{16}([0-9a-f]{4})/.exec(message)?.[1] ?? 'nothing';
    return this.#log.filter((line, i) => i > this.#log.length - 12 || line.includes(room) || line.includes('!')).slice(-90).join('\n');
  }

  readonly #check = (): void => this.#guard(() => this.#checker.always(this.world.snapshot()));

  #guard(check: () => void): void {
    try {
      check();
    } catch (error) {
      if (!this.#broken) this.#say(`broken: ${(error as Error).message}`);
      this.#broken ??= error as Error;
    }
  }

  #checkCalls(): void {
    const waiting = [...this.#pending.values()].filter(({ plane }) => plane.node.alive).map(({ name }) => name);
    if (waiting.length > 0) throw new Error(`calls that never ended: ${waiting.join(', ')}`);
  }

  async #act(): Promise<void> {
    const dice = this.#random.below(100);
    if (dice < 12 || this.#rooms.length === 0) this.#create();
    else if (dice < 24) this.#call('wake', (service, id) => service.wake(simPrincipal, id));
    else if (dice < 38) this.#call('hibernate', (service, id) => service.hibernate(simPrincipal, id, undefined, { keepMemory: dice % 4 > 0 }));
    else if (dice < 58) this.#talk();
    else if (dice < 61) this.#fork();
    else if (dice < 64) this.#snapshot();
    else if (dice < 66) this.#call('setTimeout', (service, id) => service.setTimeout(simPrincipal, id, dice % 2 ? 1 : 5_000));
    else if (dice < 72) this.#idle();
    else if (dice < 75) this.#call('destroy', (service, id) => service.destroy(simPrincipal, id));
    else if (dice < 76) this.#call('destroyUser', (service) => service.destroyUser(simPrincipal, 'eve'));
    else if (dice < 78) this.#call('setEnv', (service, id) => service.setEnv(simPrincipal, id, { A: String(dice) }));
    else await this.#harm();
  }

  #create(): void {
    if (this.#rooms.length >= 6) return;
    const userId = this.#pick(users);
    const lifecycle = this.#pick(lifecycles);
    this.#follow(`create for ${userId} ${lifecycle?.onTimeout ?? ''}`, async ({ rooms }) => {
      const room = await rooms.service.create(simPrincipal, { userId, ...(lifecycle && { lifecycle }) });
      this.#rooms.push(room.id);
    });
  }

  #call(name: string, call: (service: SimPlane['rooms']['service'], roomId: string) => Promise<unknown>): void {
    const id = this.#pick(this.#rooms);
    this.#follow(`${name} ${id.slice(-4)}`, ({ rooms }) => call(rooms.service, id));
  }

  /** A message to the agent, as the API carries it: routed, and once more if the room was lost. */
  #talk(): void {
    const id = this.#pick(this.#rooms);
    this.#follow(`talk ${id.slice(-4)}`, async ({ rooms, node }) => {
      const hosts = new SimHostClient(this.world, node);
      for (let attempt = 1; ; attempt++) {
        const route = await rooms.service.route(simPrincipal, id, { wake: true });
        const before = this.#checker.lastWord(id);
        try {
          const word = await hosts.say(route.host, route);
          const row = (await this.world.store.find(simTenant, id))?.room;
          if (row?.incarnation === route.incarnation && row.state === 'running') this.#checker.said(row, word, before);
          return;
        } catch (error) {
          if (attempt > 1 || !isProblem(error)) throw error;
          const lost = await rooms.service.reportLost(route, 'guest.closed');
          if (!lost && error.code !== 'incarnation.stale') throw error;
        }
      }
    });
  }

  #fork(): void {
    const id = this.#pick(this.#rooms);
    const count = 1 + this.#random.below(2);
    if (this.#rooms.length > 8) return;
    this.#follow(`fork ${id.slice(-4)}`, async ({ rooms }) => {
      const forks = await rooms.service.fork(simPrincipal, id, { count });
      this.#rooms.push(...forks.flatMap((fork) => ('room' in fork ? [fork.room.id] : [])));
    });
  }

  /** Takes one, makes a room of it, or removes it. */
  #snapshot(): void {
    const id = this.#pick(this.#rooms);
    const snapshot = this.#snapshots.length > 0 && this.#random.below(2) ? this.#pick(this.#snapshots) : null;
    if (!snapshot) return this.#follow(`snapshot ${id.slice(-4)}`, async ({ rooms }) => void this.#snapshots.push(await rooms.service.snapshot(simPrincipal, id)));
    if (this.#random.below(3) === 0) return this.#follow(`remove ${snapshot.id.slice(-4)}`, ({ rooms }) => rooms.service.removeSnapshot(simPrincipal, snapshot.id));
    if (this.#rooms.length <= 8) this.#follow(`room of ${snapshot.id.slice(-4)}`, async ({ rooms }) => void this.#rooms.push((await rooms.service.create(simPrincipal, { userId: snapshot.userId, snapshot: snapshot.id })).id));
  }

  #idle(): void {
    const id = this.#pick(this.#rooms);
    this.#follow(`idle ${id.slice(-4)}`, ({ rooms }) => rooms.mover.apply({ tenantId: simTenant, roomId: id }, { kind: 'sleep', reason: 'idle' }, { actor: 'system' }));
  }

  #follow(name: string, call: (plane: SimPlane) => Promise<unknown>): void {
    const plane = this.world.api;
    this.#say(`· ${name}`);
    const work: Promise<unknown> = call(plane).then(
      () => this.#say(`  ${name}: done`),
      (error: unknown) => {
        if (!isProblem(error) && (error as Error).name !== 'DbUnavailable') this.#broken ??= error as Error;
        this.#say(`  ${name}: ${(error as Error).message}`);
      },
    );
    this.#pending.set(work, { name, plane });
    void work.then(() => this.#pending.delete(work));
  }

  async #harm(): Promise<void> {
    const { world } = this;
    const machine = this.#pick(world.machines);
    const dice = this.#random.below(22);
    if (dice < 6) return void (this.#rooms.length > 0 && this.#killVm());
    if (dice < 9) return this.#bounce(`agent of ${machine.id} killed`, () => machine.killAgent(), 1 + this.#random.below(4_000), async () => void (machine.up || (await machine.startAgent())));
    if (dice < 11) return this.#bounce(`${machine.id} lost power`, () => machine.cutPower(), 1_000 + this.#random.below(60_000), async () => void (machine.up || (await machine.startAgent())));
    if (dice < 14) return this.#partition(machine.id);
    if (dice < 16) return void (this.#say('! api killed'), world.restartApi());
    if (dice < 18) return void (this.#say('! worker killed'), await world.restartWorker());
    if (dice < 19) return this.#bounce('database down', () => (world.database.down = true), 500 + this.#random.below(25_000), async () => void (world.database.down = false));
    if (dice < 20) return void (this.#say('! queue lost'), world.queue.lose());
    const node = this.#pick([world.api.node, world.worker.node, machine.node]);
    const jump = (this.#random.below(2) ? 1 : -1) * this.#random.below(20_000);
    this.#say(`! clock of ${node.name} jumps ${jump}`);
    node.jump(jump);
  }

  #killVm(): void {
    const id = this.#pick(this.#rooms);
    const died = this.world.machines.some((machine) => machine.killVm(id));
    if (died) this.#say(`! VM of ${id.slice(-4)} killed`);
  }

  #partition(hostId: string): void {
    const { network } = this.world;
    const planes = this.#random.below(3) === 0 ? [this.#pick(['api', 'worker'])] : ['api', 'worker'];
    const ways = this.#pick([[1], [0], [0, 1], [0, 1]] as const);
    const pairs = planes.flatMap((plane) => ways.map((way): [string, string] => (way === 0 ? [plane, hostId] : [hostId, plane])));
    const cut = (): void => pairs.forEach((pair) => network.cut(...pair));
    return this.#bounce(`cut ${pairs.map((pair) => pair.join('>')).join(' ')}`, cut, 1_000 + this.#random.below(45_000), async () => pairs.forEach((pair) => network.mend(...pair)));
  }

  /** Something goes wrong now and is put right after a while. */
  #bounce(name: string, harm: () => unknown, ms: number, mend: () => Promise<void>): void {
    this.#say(`! ${name}`);
    harm();
    void this.#mender.sleep(ms).then(async () => {
      this.#say(`! mended: ${name}`);
      await mend();
    });
  }

  /** Who puts things right is never killed. */
  get #mender(): ReturnType<VirtualTime['node']> {
    return this.world.time.node('mender');
  }

  async #heal(): Promise<void> {
    const { world } = this;
    this.#say('! calm');
    world.network.calm();
    world.database.down = false;
    for (const machine of world.machines) {
      machine.calm();
      if (!machine.up) await machine.startAgent();
    }
  }

  #pick<T>(from: readonly T[]): T {
    const one = from[this.#random.below(from.length)];
    if (one === undefined) throw new Problem('internal');
    return one;
  }

  #say(line: string): void {
    if (!this.#broken) this.#log.push(`${(this.world.time.elapsedMs / 1000).toFixed(3).padStart(9)} ${line}`);
  }
}
