import { type Clock, seededRandom, silentLog, systemClock } from '@alcove/base';
import type { DoorAnswer, DoorCall, Heartbeat, HeartbeatAnswer } from '@alcove/contracts';
import { type Driver, FakeDriver, FakeWorld, type FaultSources, type RoomKey, type Template } from '@alcove/runtime';
import type { ControlPlane } from '../../apps/host/src/control-plane';
import { Host } from '../../apps/host/src/host';
import { type Journal, MemoryJournal } from '../../apps/host/src/journal';
import type { LeaseRecord } from '../../apps/host/src/lease';
import type { RoomRunner } from '../../apps/host/src/rooms/room-runner';

/** A control plane in memory. While it is silent, beats stay unanswered until they are given up. */
export class MemoryControlPlane implements ControlPlane {
  readonly beats: Heartbeat[] = [];
  silent = false;
  end: HeartbeatAnswer['end'] = [];
  leaseMs = 15_000;
  async beat(beat: Heartbeat, signal: AbortSignal): Promise<HeartbeatAnswer> {
    if (this.silent) await new Promise((_answer, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true }));
    this.beats.push(structuredClone(beat));
    return { leaseMs: this.leaseMs, acknowledged: beat.sequence, end: this.end };
  }
  /** What the door's calls were, and what the next ones are answered. */
  readonly doorCalls: { room: RoomKey; call: DoorCall }[] = [];
  answerDoor: (room: RoomKey, call: DoorCall, signal: AbortSignal) => Promise<DoorAnswer> = async () => ({ status: 200, headers: { 'content-type': 'application/json' }, body: '{}' });
  async door(room: RoomKey, call: DoorCall, signal: AbortSignal): Promise<DoorAnswer> {
    this.doorCalls.push({ room, call });
    return this.answerDoor(room, call, signal);
  }
  close(): void {}
}

export function template(id = `tpl_${'0'.repeat(20)}`): Template {
  const size = { memoryMiB: 512, vcpus: 1, diskMiB: 4096 };
  const engine = { driver: 'fake', build: 'fake-1', accelerator: 'none', cpuModel: 'none', protocol: 1 };
  return { folder: '/nonexistent', manifest: { version: 1, id, name: 'default', builtAt: '2026-01-01T00:00:00.000Z', cloneSafe: true, size, engine, files: {}, port: 8080 } };
}

/** An object whose promises never settle any more once `dead` says so: what the methods of a killed process do. */
export function mortal<T extends object>(target: T, dead: () => boolean, before: (method: string) => Promise<void> | undefined = () => undefined): T {
  const never = new Promise<never>(() => undefined);
  return new Proxy(target, {
    get(_target, name) {
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== 'function') return value;
      return (...args: unknown[]): unknown => {
        const call = (): unknown => Reflect.apply(value, target, args);
        const gate = before(String(name));
        const result = dead() ? never : gate ? gate.then(call) : call();
        if (!(result instanceof Promise)) return result;
        return result.then(
          (outcome: unknown) => (dead() ? never : outcome),
          (error: unknown) => (dead() ? never : Promise.reject(error)),
        );
      };
    },
  });
}

export interface TestMachineOptions {
  clock?: Clock;
  seed?: number;
  roomsMax?: number;
  faults?: FaultSources;
  journal?: Journal;
}

/** One machine with what outlives a host agent (VMs, disks, journal, lease), and the agents that come and go on it. */
export class TestMachine {
  readonly clock: Clock;
  readonly world: FakeWorld;
  readonly control = new MemoryControlPlane();
  readonly journal: Journal;
  lease: LeaseRecord | null = null;
  driver!: FakeDriver;
  host!: Host;
  #life = { dead: false };
  constructor(private readonly options: TestMachineOptions = {}) {
    this.clock = options.clock ?? systemClock;
    this.world = new FakeWorld(this.clock, seededRandom(options.seed ?? 1));
    this.journal = options.journal ?? new MemoryJournal();
  }
  /** A new host agent on this machine. `unfenced`: as if its first beat had been answered; without it, `run` the host. */
  async start(state: { unfenced: boolean } = { unfenced: true }, journal: Journal = this.journal): Promise<Host> {
    const life = { dead: false };
    this.#life = life;
    const dead = () => life.dead;
    const { world } = this;
    this.driver = new FakeDriver({ world, faults: this.options.faults ?? {} });
    const templates = { get: async (id: string) => template(id), list: async () => [template()] };
    const capacity = async ({ max, used }: { max: number; used: number }) => ({ roomsMax: max, roomsUsed: used, memoryMiBTotal: 1024, memoryMiBFree: 512, diskMiBFree: 1024 });
    const lease = { earlier: this.lease, machineBootId: 'boot', keep: (expiresAt: number) => void (this.lease = { machineBootId: 'boot', expiresAt }) };
    this.host = new Host(
      {
        driver: mortal<Driver>(this.driver, dead),
        journal: mortal(journal, dead),
        templates,
        controlPlane: mortal<ControlPlane>(this.control, dead),
        clock: mortal(this.clock, dead),
        random: world.random,
        log: silentLog,
        lease,
        capacity,
      },
      { hostId: 'host-1', roomsMax: this.options.roomsMax ?? 64, heartbeatMs: 2000, leaseMs: 15_000, leaseMarginMs: 5000, orphanGraceMs: 20_000 },
      'https://127.0.0.1:1',
    );
    await this.host.prepare();
    if (state.unfenced) this.host.rooms.fenced = false;
    return this.host;
  }
  /** The agent is gone without a word; the machine is as it was. */
  async crash(): Promise<void> {
    this.#life.dead = true;
    await this.driver.close();
  }
  runner(roomId: string): RoomRunner {
    return this.host.rooms.runner(roomId);
  }
  /** What the room's agent answers, straight through the open channel. */
  ram(roomId: string): { nonce: string } | undefined {
    return this.world.vmsOf(roomId)[0]?.ram;
  }
}
