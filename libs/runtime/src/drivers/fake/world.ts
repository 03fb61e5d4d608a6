import { join } from 'node:path';
import { type Clock, type Random, systemClock, systemRandom } from '@alcove/base';
import type { ClaimMode, ImageRef } from '@alcove/contracts';
import type { RoomKey } from '../../driver';
import { blankFiles, type FileTable } from './files';
import type { ProcessTable } from './processes';
import { Shelf } from './shelf';

/** What is lost when a fake VM ends without an image. */
export interface FakeRam {
  /** Drawn at the first claim; the proof that memory survived. */
  nonce: string;
  counter: number;
  turns: number;
  bootNonce: string;
  bootId: string;
  log: string;
  processes: ProcessTable;
}
export interface FakeVm extends RoomKey {
  pid: number;
  templateId: string;
  whole: boolean;
  mode: ClaimMode;
  env: Record<string, string>;
  ram: FakeRam;
}
/** `state` names the disk as it is; every start and every image gives it a new one. `kept`: disks as they were when an image was taken. */
export interface FakeDisk {
  roomId: string;
  state: string;
  files: FileTable;
  kept: Record<string, FileTable>;
  /** The image whose copy this disk came with, until a VM runs on it. */
  copyOf?: string;
}
export interface FakeImage {
  ref: ImageRef;
  keyHash: string;
  ram: FakeRam;
  damaged: boolean;
}

/**
 * One machine with its VMs, disks and images, and no agent: it outlives any FakeDriver made over it. With a folder it outlives the process too. Everything
 * it holds is JSON; guests exist only as their memory, so that "the VM lives on" is true by construction.
 */
export class FakeWorld {
  readonly vms: Shelf<FakeVm>;
  readonly disks: Shelf<FakeDisk>;
  readonly images: Shelf<FakeImage>;
  /** What runs in the VMs, in this process: moved on from what the VMs' memory says. */
  readonly guests = new Map<string, { halt(): void }>();
  readonly #exits = new Set<(room: RoomKey) => void>();
  constructor(
    readonly clock: Clock = systemClock,
    readonly random: Random = systemRandom,
    readonly folder?: string,
  ) {
    const under = (name: string) => (folder ? join(folder, name) : undefined);
    this.vms = new Shelf(under('vms'));
    this.disks = new Shelf(under('disks'));
    this.images = new Shelf(under('images'));
  }
  vm(room: RoomKey): FakeVm | undefined {
    return this.vms.get(vmKey(room));
  }
  saveVm(vm: FakeVm): void {
    if (this.vms.get(vmKey(vm))) this.vms.set(vmKey(vm), vm);
  }
  vmsOf(roomId: string): FakeVm[] {
    return this.vms.all().filter((vm) => vm.roomId === roomId);
  }
  imagesOf(roomId: string): FakeImage[] {
    return this.images.all().filter((image) => image.ref.roomId === roomId);
  }
  /** Ends a VM as a crash would: whoever watches is told. */
  kill(room: RoomKey): boolean {
    const was = this.end(room);
    if (was) for (const tell of [...this.#exits]) tell(room);
    return was;
  }
  /** Ends a VM on purpose: nobody is told. */
  end(room: RoomKey): boolean {
    this.guests.get(vmKey(room))?.halt();
    this.guests.delete(vmKey(room));
    return this.vms.delete(vmKey(room));
  }
  /** Watches for crashes; the result stops watching. */
  watch(listener: (room: RoomKey) => void): () => void {
    this.#exits.add(listener);
    return () => this.#exits.delete(listener);
  }
  newDisk(roomId: string, state: string): FakeDisk {
    const disk: FakeDisk = { roomId, state, files: blankFiles(this.clock.now()), kept: {} };
    this.disks.set(roomId, disk);
    return disk;
  }
  /** Flips a bit of an image, so to say. */
  damageImage(id: string): void {
    const image = this.images.get(id);
    if (image) this.images.set(id, { ...image, damaged: true });
  }
}

export function vmKey(room: RoomKey): string {
  return `${room.roomId}.${room.incarnation}`;
}
