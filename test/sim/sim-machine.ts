import { silentLog } from '@alcove/base';
import { Problem, type HostState } from '@alcove/contracts';
import type { IncarnationKey } from '@alcove/fleet';
import { createFakeDriver, type FaultChance, FakeWorld, type Template } from '@alcove/runtime';
import { VirtualTime, type VirtualNode } from '@alcove/testing';
import { Host } from '../../apps/host/src/host';
import { MemoryJournal } from '../../apps/host/src/journal';
import type { LeaseRecord } from '../../apps/host/src/lease';
import type { Rooms } from '../../apps/host/src/rooms/rooms';
import type { SimWorld } from './sim-world';

/** Chance of a driver's fault; null: none. */
export type MachineFaults = FaultChance | null;

type Shelves = Pick<FakeWorld, 'vms' | 'disks' | 'images'>;

/** What hosts that see one store share: disks and images. */
export class SimStoreGroup {
  readonly disks: FakeWorld['disks'];
  readonly images: FakeWorld['images'];

  constructor(readonly name: string) {
    ({ disks: this.disks, images: this.images } = new FakeWorld(new VirtualTime().node(name)));
  }
}

const template: Template = {
  folder: '/nonexistent',
  manifest: {
    version: 1,
    id: `tpl_${'0'.repeat(20)}`,
    name: 'default',
    builtAt: '2026-01-01T00:00:00.000Z',
    cloneSafe: true,
    size: { memoryMiB: 512, vcpus: 1, diskMiB: 4096 },
    engine: { driver: 'fake', build: 'fake-1', accelerator: 'none', cpuModel: 'none', protocol: 1 },
    files: {},
    port: 8080,
  },
};

const roomsMax = 16;
const bootMs = 1_000_000;

interface Agent {
  readonly node: VirtualNode;
  readonly host: Host;
  readonly fakeWorld: FakeWorld;
}

/** One machine that runs rooms. VMs and the journal outlive its agent; a power cut ends the VMs too. */
export class SimMachine {
  readonly vms: FakeWorld['vms'];
  readonly #journal = new MemoryJournal();
  #lease: LeaseRecord | null = null;
  #boots = 0;
  #agent: Agent | null = null;
  #calm = false;

  constructor(
    readonly id: string,
    readonly group: SimStoreGroup,
    private readonly world: SimWorld,
    private readonly faults: MachineFaults,
  ) {
    this.vms = new FakeWorld(world.time.node(id)).vms;
  }

  /** The agent's process; a dead one when none runs. */
  get node(): VirtualNode {
    if (this.#agent) return this.#agent.node;
    const nobody = this.world.time.node(this.id);
    nobody.kill();
    return nobody;
  }

  get rooms(): Rooms {
    return this.#need().host.rooms;
  }

  get up(): boolean {
    return this.#agent !== null;
  }

  async startAgent(): Promise<void> {
    const node = this.world.time.node(this.id, bootMs * (this.#boots + 1));
    const shelves: Shelves = { vms: this.vms, disks: this.group.disks, images: this.group.images };
    const fakeWorld = Object.assign(new FakeWorld(node, this.world.random), shelves);
    const driver = createFakeDriver({ world: fakeWorld, ...(this.faults && { faults: { chance: this.#chance(this.faults) } }) });
    const machineBootId = `boot-${this.#boots}`;
    const parts = {
      driver,
      journal: this.#journal,
      templates: { get: async () => template, list: async () => [template] },
      controlPlane: { beat: (beat: Parameters<SimWorld['api']['fleet']['heartbeat']>[1], signal: AbortSignal) => untilAborted(this.#beat(node, beat), signal), door: () => Promise.reject(new Problem('unavailable')), close: () => undefined },
      clock: node,
      random: this.world.random,
      log: silentLog,
      lease: { earlier: this.#lease, machineBootId, keep: (expiresAt: number) => void (this.#lease = { machineBootId, expiresAt }) },
      capacity: async ({ max, used }: { max: number; used: number }) => ({ roomsMax: max, roomsUsed: used, memoryMiBTotal: 65_536, memoryMiBFree: 65_536 - used * 64, diskMiBFree: 100_000 }),
    };
    const options = { hostId: this.id, storeGroup: this.group.name, roomsMax, heartbeatMs: 2_000, leaseMs: 15_000, leaseMarginMs: 5_000, orphanGraceMs: 20_000 };
    const host = new Host(parts, options, `https://${this.id}`);
    this.#agent = { node, host, fakeWorld };
    await host.prepare().catch(() => undefined);
    if (node.alive) host.run();
  }

  /** The agent is killed; VMs live on. */
  killAgent(): void {
    this.#agent?.node.kill();
    this.#agent = null;
  }

  /** The machine loses power: agent and VMs are gone, disk and journal stay. */
  cutPower(): void {
    this.killAgent();
    for (const vm of this.vms.all()) this.vms.delete(`${vm.roomId}.${vm.incarnation}`);
    this.#boots += 1;
  }

  /** One VM dies by itself. */
  killVm(roomId: string): boolean {
    const vm = this.vms.all().find((one) => one.roomId === roomId);
    if (!vm) return false;
    if (this.#agent) return this.#agent.fakeWorld.kill(vm);
    return this.vms.delete(`${vm.roomId}.${vm.incarnation}`);
  }

  /** No more faults of the driver. */
  calm(): void {
    this.#calm = true;
  }

  state(): Promise<HostState> {
    return this.#need().host.state();
  }

  async say(room: IncarnationKey): Promise<{ nonce: string; turns: number }> {
    this.rooms.runner(room.roomId).stream(room.incarnation).close();
    const vm = this.vms.all().find((one) => one.roomId === room.roomId && one.incarnation === room.incarnation);
    if (!vm) throw new Problem('guest.closed');
    vm.ram.turns += 1;
    return { nonce: vm.ram.nonce, turns: vm.ram.turns };
  }

  #beat(node: VirtualNode, beat: Parameters<SimWorld['api']['fleet']['heartbeat']>[1]): ReturnType<SimWorld['api']['fleet']['heartbeat']> {
    return this.world.network.call(node, () => this.world.api.node, () => this.world.api.fleet.heartbeat(this.id, beat));
  }

  /** Read at every call of the driver, so that calm() holds at once. */
  #chance(faults: FaultChance): FaultChance {
    const calm = (): boolean => this.#calm;
    return { ...faults, get oneIn() { return calm() ? Number.MAX_SAFE_INTEGER : faults.oneIn; } };
  }

  #need(): Agent {
    if (!this.#agent) throw new Problem('host.unavailable');
    return this.#agent;
  }
}

function untilAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
    work.then(resolve, reject);
  });
}
