import { FakeDoor } from './door';
import { FakeFiles } from './files';
import { KeptProcesses } from './processes';
import type { ShellRoom } from './shell';
import { type FakeVm, type FakeWorld, vmKey } from './world';

const logBytesMax = 1 << 20;

/** What goes on in one fake VM, whoever talks to it: its files and its processes, over its disk and its memory in the world. One for each VM of a world. */
export class FakeGuest {
  readonly files: FakeFiles;
  readonly processes: KeptProcesses;
  readonly door = new FakeDoor();

  constructor(
    private readonly world: FakeWorld,
    readonly vm: FakeVm,
  ) {
    const disk = world.disks.get(vm.roomId) ?? world.newDisk(vm.roomId, `start-${vm.incarnation}`);
    this.files = new FakeFiles(disk.files, () => world.clock.now(), () => world.disks.set(vm.roomId, disk));
    this.processes = new KeptProcesses(vm.ram.processes, () => this.room(), world.clock, () => this.saveRam());
  }
  room(): ShellRoom {
    return { clock: this.world.clock, files: this.files, env: this.vm.env, crash: () => void this.world.kill(this.vm) };
  }
  saveRam(): void {
    this.vm.ram.log = this.vm.ram.log.slice(-logBytesMax);
    this.world.saveVm(this.vm);
  }
  halt(): void {
    this.processes.halt();
  }
}

/** The guest of this VM, which is the same as long as the VM runs. */
export function guestOf(world: FakeWorld, vm: FakeVm): FakeGuest {
  const known = world.guests.get(vmKey(vm));
  if (known instanceof FakeGuest && known.vm === vm) return known;
  known?.halt();
  const guest = new FakeGuest(world, vm);
  world.guests.set(vmKey(vm), guest);
  return guest;
}
