import { createHash } from 'node:crypto';
import { type Clock, newId, type Random, type Secret } from '@alcove/base';
import { type ClaimMode, type ImageRef, Problem } from '@alcove/contracts';
import { runOnFork } from '../../on-fork';
import type { CopySource, Driver, DriverCapabilities, FoundVm, MemorySource, ProbeReport, RoomKey, RoomSpec, Sealed, SealOrder, Started } from '../../driver';
import { Faults, type Fault, type FaultSources } from './faults';
import { emptyProcessTable } from './processes';
import { FakeSession } from './session';
import { type FakeDisk, type FakeImage, type FakeRam, type FakeVm, FakeWorld, vmKey } from './world';

export interface FakeDriverOptions {
  /** The machine; a new one unless given. Two drivers over one world are a host agent before and after its restart. */
  world?: FakeWorld;
  /** For a new world: time, chance, and the folder that keeps it across processes. */
  clock?: Clock;
  random?: Random;
  folder?: string;
  faults?: FaultSources;
}

const isolation = 'software' as const;
const accelerator = 'none';
const engineBuild = 'fake-1';

/** Rooms without machines: every promise of the Driver kept in memory, and every failure on request. Never for real users: it isolates nothing. */
export class FakeDriver implements Driver {
  readonly capabilities: DriverCapabilities = { name: 'fake', memoryImage: true, encryptsMemoryImage: false, encryptsDisk: false, detached: true };
  readonly world: FakeWorld;
  readonly faults: Faults;
  readonly #sessions = new Map<string, FakeSession>();
  readonly #stopWatching: () => void;
  #listener: (room: RoomKey, reason: 'vmm_exited' | 'guest_dead') => void = () => undefined;

  constructor(options: FakeDriverOptions = {}) {
    this.world = options.world ?? new FakeWorld(options.clock, options.random, options.folder);
    this.faults = new Faults(options.faults ?? {}, this.world.clock, this.world.random);
    this.#stopWatching = this.world.watch((room) => this.#crashed(room));
  }

  async probe(): Promise<ProbeReport> {
    return { ok: true, isolation, accelerator, engineBuild, findings: [{ name: 'fake', ok: true, detail: 'rooms are simulated: nothing is isolated' }] };
  }
  async boot(room: RoomSpec, signal?: AbortSignal): Promise<Started> {
    return this.#start('boot', room, signal, () => {
      const disk = this.world.disks.get(room.roomId);
      const copied = room.hasDisk && room.newIdentity === true;
      return { disk: room.hasDisk && disk ? disk : this.#blankDisk(room), ram: this.#freshRam(), mode: room.hasDisk ? 'disk' : 'fresh', copied };
    });
  }
  async restore(room: RoomSpec, source: MemorySource, signal?: AbortSignal): Promise<Started> {
    return this.#start('restore', room, signal, () => {
      if (source.kind === 'template') return { disk: this.#blankDisk(room), ram: this.#freshRam(), mode: 'fresh', copied: false };
      const image = this.#openImage(room, source.image);
      const disk = this.#diskFor(image.ref, source.rollBackDisk === true);
      const ram = structuredClone(image.ram);
      if (!room.newIdentity) return { disk, ram, mode: 'resumed', copied: false };
      return { disk, ram: { ...ram, bootId: this.#freshRam().bootId }, mode: 'fresh', copied: true };
    });
  }
  async seal(room: RoomSpec, order: SealOrder): Promise<Sealed> {
    await this.#strike('seal', 'before', room);
    const vm = this.world.vm(room);
    if (!vm?.whole) {
      const done = this.#imageAt(room, order);
      if (done) return { image: done, stallMs: 0, steps: {} };
      throw new Problem('room.not_running');
    }
    const session = this.#sessions.get(vmKey(room));
    await session?.quiesce();
    try {
      await this.#strike('seal', 'middle', room);
      const image = this.#writeImage(room, vm, order);
      this.world.end(room);
      this.#endSession(room);
      await this.#strike('seal', 'after', room);
      return { image, stallMs: 1, steps: { quiesce: 0, pages: 1 } };
    } catch (error) {
      if (this.world.vm(room)) await session?.resynchronise();
      throw error;
    }
  }
  async copy(source: CopySource, target: RoomSpec, order: SealOrder, signal?: AbortSignal): Promise<ImageRef> {
    await this.#strike('copy', 'before', target, signal);
    signal?.throwIfAborted();
    const from = source.image.roomId;
    if (from === target.roomId) throw new Problem('request.invalid', { detail: 'a room is not copied over itself' });
    if (this.world.vmsOf(from).length + this.world.vmsOf(target.roomId).length > 0) throw new Problem('room.busy', { detail: 'a VM of this room runs' });
    const there = this.world.disks.get(target.roomId);
    if (there && there.copyOf === undefined) throw new Problem('incarnation.stale', { detail: 'this room has lived already' });
    const made = there?.copyOf === source.image.id ? this.#imageAt(target, order) : undefined;
    if (made) return made;
    const image = this.#openImage({ ...target, roomId: from, keys: source.keys }, source.image);
    const disk = this.world.disks.get(from);
    const files = disk?.state === image.ref.diskState ? disk.files : disk?.kept[image.ref.diskState];
    if (!files) throw new Problem('image.disk_mismatch', { detail: `the disk is at ${disk?.state ?? 'nothing'}, the image at ${image.ref.diskState}` });
    const copy = { ram: structuredClone(image.ram), files: structuredClone(files) };
    await this.#strike('copy', 'middle', target, signal);
    for (const { ref } of this.world.imagesOf(target.roomId)) this.world.images.delete(ref.id);
    const ref = this.#nameImage(target, order, image.ref.templateId, copy.ram);
    this.world.images.set(ref.id, { ref, keyHash: keyHash(target.keys.image), ram: copy.ram, damaged: false });
    this.world.disks.set(target.roomId, { roomId: target.roomId, state: ref.diskState, files: copy.files, kept: { [ref.diskState]: structuredClone(copy.files) }, copyOf: source.image.id });
    await this.#strike('copy', 'after', target, signal);
    return ref;
  }
  async stop(room: RoomKey): Promise<{ wasRunning: boolean }> {
    await this.#strike('stop', 'before', room);
    const wasRunning = this.world.end(room);
    this.#endSession(room);
    await this.#strike('stop', 'after', room);
    return { wasRunning };
  }
  async prune(roomId: string, keep: readonly string[]): Promise<void> {
    const room = { roomId, incarnation: 0 };
    await this.#strike('prune', 'before', room);
    for (const { ref } of this.world.imagesOf(roomId)) if (!keep.includes(ref.id)) this.#removeImage(ref);
    await this.#strike('prune', 'after', room);
  }
  async discard(roomId: string): Promise<void> {
    const room = { roomId, incarnation: 0 };
    await this.#strike('discard', 'before', room);
    if (this.world.vmsOf(roomId).length > 0) throw new Problem('room.busy', { detail: 'a VM of this room still runs' });
    for (const { ref } of this.world.imagesOf(roomId)) this.world.images.delete(ref.id);
    this.world.disks.delete(roomId);
    await this.#strike('discard', 'after', room);
  }
  async inspect(): Promise<FoundVm[]> {
    await this.#strike('inspect', 'before', { roomId: '', incarnation: 0 });
    return this.world.vms.all().map(({ roomId, incarnation, pid, templateId, whole }) => ({ roomId, incarnation, pid, templateId, whole }));
  }
  async recover(found: FoundVm): Promise<Started> {
    await this.#strike('recover', 'before', found);
    const vm = this.world.vm(found);
    if (!vm?.whole) throw new Problem('engine.failed', { detail: 'that VM is gone or was never whole' });
    return this.#started(vm, {});
  }
  onExit(listener: (room: RoomKey, reason: 'vmm_exited' | 'guest_dead') => void): void {
    this.#listener = listener;
  }
  async close(): Promise<void> {
    this.#stopWatching();
    for (const session of this.#sessions.values()) session.close();
    this.#sessions.clear();
  }

  /** The open channel to a room, for tests that make its guest deaf. */
  session(room: RoomKey): FakeSession | undefined {
    return this.#sessions.get(vmKey(room));
  }
  script(fault: Fault): void {
    this.faults.add(fault);
  }

  async #start(
    verb: 'boot' | 'restore',
    room: RoomSpec,
    signal: AbortSignal | undefined,
    prepare: () => { disk: FakeDisk; ram: FakeRam; mode: ClaimMode; copied: boolean },
  ): Promise<Started> {
    const startedAt = this.world.clock.monotonic();
    await this.#strike(verb, 'before', room, signal);
    signal?.throwIfAborted();
    for (const other of this.world.vmsOf(room.roomId)) {
      if (other.incarnation !== room.incarnation) throw new Problem('incarnation.stale', { detail: `incarnation ${other.incarnation} of this room runs` });
      if (other.whole) return this.#started(other, {});
    }
    const { disk, ram, mode, copied } = prepare();
    const stateBefore = disk.state;
    const pid = 1000 + this.world.random.below(1 << 20);
    const vm: FakeVm = { roomId: room.roomId, incarnation: room.incarnation, pid, templateId: room.template.manifest.id, whole: false, mode, env: { ...room.env }, ram };
    this.world.vms.set(vmKey(room), vm);
    try {
      await this.#strike(verb, 'middle', room, signal);
      this.#moveDiskOn(disk, room);
      const started = this.#started(vm, { launch: 0, claim: this.world.clock.monotonic() - startedAt });
      const entropy = this.world.random.bytes(64);
      const machineId = hash(Buffer.from(room.roomId)).slice(0, 32);
      const claim = { roomId: room.roomId, incarnation: room.incarnation, mode, entropy, wallClockNs: BigInt(this.world.clock.now()) * 1_000_000n };
      await started.guest.claim({ ...claim, machineId, hostname: room.roomId, env: room.env });
      if (copied) await runOnFork(started.guest, room.template.manifest, signal);
      vm.whole = true;
      this.world.saveVm(vm);
      await this.#strike(verb, 'after', room, signal);
      return started;
    } catch (error) {
      this.world.end(room);
      this.#endSession(room);
      this.#putDiskBack(disk, stateBefore);
      throw error;
    }
  }
  #started(vm: FakeVm, steps: Record<string, number>): Started {
    this.#endSession(vm);
    const session = new FakeSession(this.world, vm);
    this.#sessions.set(vmKey(vm), session);
    return { guest: session, isolation, accelerator, bootAttempts: 1, steps, stalled: () => session.stalled };
  }
  #freshRam(): FakeRam {
    const random = (): string => this.world.random.bytes(16).toString('hex');
    return { nonce: random(), counter: 0, turns: 0, bootNonce: '', bootId: random(), log: '', processes: emptyProcessTable() };
  }
  #blankDisk(room: RoomKey): FakeDisk {
    return this.world.newDisk(room.roomId, `blank-${room.incarnation}`);
  }
  /** A running guest writes: no image fits the disk any more until the next seal. */
  #moveDiskOn(disk: FakeDisk, room: RoomKey): void {
    disk.state = `run-${room.incarnation}`;
    delete disk.copyOf;
    this.world.disks.set(room.roomId, disk);
  }
  /** Nobody has talked to a guest whose start failed: the image that it was started from fits again. A disk that no image names stays as it is. */
  #putDiskBack(disk: FakeDisk, stateBefore: string): void {
    const kept = disk.kept[stateBefore];
    if (!kept) return;
    disk.files = structuredClone(kept);
    disk.state = stateBefore;
    this.world.disks.set(disk.roomId, disk);
  }
  #openImage(room: RoomSpec, wanted: ImageRef): FakeImage {
    const image = this.world.images.get(wanted.id);
    if (!image) throw new Problem('image.missing', { detail: wanted.id });
    if (image.ref.roomId !== room.roomId || wanted.roomId !== room.roomId) throw new Problem('image.wrong_room', { detail: wanted.id });
    if (image.ref.generation !== wanted.generation || image.ref.incarnation !== wanted.incarnation) throw new Problem('image.stale', { detail: wanted.id });
    if (image.ref.compatibility !== compatibility(room)) throw new Problem('image.incompatible', { detail: wanted.id });
    if (image.keyHash !== keyHash(room.keys.image)) throw new Problem('image.wrong_key', { detail: wanted.id });
    if (image.damaged || image.ref.sha256 !== wanted.sha256) throw new Problem('image.corrupt', { detail: wanted.id });
    return image;
  }
  #diskFor(image: ImageRef, rollBack: boolean): FakeDisk {
    const disk = this.world.disks.get(image.roomId);
    if (disk?.state === image.diskState) return disk;
    const kept = rollBack ? disk?.kept[image.diskState] : undefined;
    if (!disk || !kept) throw new Problem('image.disk_mismatch', { detail: `the disk is at ${disk?.state ?? 'nothing'}, the image at ${image.diskState}` });
    disk.files = structuredClone(kept);
    disk.state = image.diskState;
    return disk;
  }
  #writeImage(room: RoomSpec, vm: FakeVm, order: SealOrder): ImageRef {
    const others = this.world.imagesOf(room.roomId).map((image) => image.ref);
    if (others.some((ref) => ref.generation >= order.generation && ref.incarnation !== room.incarnation)) throw new Problem('image.stale', { detail: 'a newer image exists' });
    const disk = this.world.disks.get(room.roomId) ?? this.#blankDisk(room);
    const image = this.#nameImage(room, order, vm.templateId, vm.ram);
    disk.state = image.diskState;
    disk.kept[image.diskState] = structuredClone(disk.files);
    this.world.disks.set(room.roomId, disk);
    this.world.images.set(image.id, { ref: image, keyHash: keyHash(room.keys.image), ram: structuredClone(vm.ram), damaged: false });
    return image;
  }
  #nameImage(room: RoomSpec, order: SealOrder, templateId: string, ram: FakeRam): ImageRef {
    const body = Buffer.from(JSON.stringify(ram));
    return {
      id: newId('img', this.world.random),
      roomId: room.roomId,
      incarnation: room.incarnation,
      generation: order.generation,
      templateId,
      compatibility: compatibility(room),
      diskState: `image-${order.generation}-${room.incarnation}`,
      bytes: body.length,
      pages: Math.ceil(body.length / 4096),
      sha256: hash(body),
    };
  }
  #imageAt(room: RoomKey, order: SealOrder): ImageRef | undefined {
    return this.world.imagesOf(room.roomId).find(({ ref }) => ref.incarnation === room.incarnation && ref.generation === order.generation)?.ref;
  }
  #removeImage(ref: ImageRef): void {
    this.world.images.delete(ref.id);
    const disk = this.world.disks.get(ref.roomId);
    if (!disk) return;
    delete disk.kept[ref.diskState];
    this.world.disks.set(ref.roomId, disk);
  }
  #endSession(room: RoomKey): void {
    this.#sessions.get(vmKey(room))?.end(new Problem('guest.closed'));
    this.#sessions.delete(vmKey(room));
  }
  #crashed(room: RoomKey): void {
    this.#endSession(room);
    this.#listener(room, 'vmm_exited');
  }
  #strike(verb: Parameters<Faults['strike']>[0], place: 'before' | 'middle' | 'after', room: RoomKey, signal?: AbortSignal): Promise<void> {
    return this.faults.strike(verb, place, room.roomId, () => void this.world.kill(room), signal);
  }
}

export function createFakeDriver(options: FakeDriverOptions = {}): FakeDriver {
  return new FakeDriver(options);
}

function compatibility(room: RoomSpec): string {
  return hash(Buffer.from(`${engineBuild}:${room.template.manifest.id}:${room.template.manifest.size.memoryMiB}`));
}
function keyHash(key: Secret<Buffer>): string {
  return hash(key.expose());
}
function hash(data: Buffer): string {
  return createHash('sha256').update(data).digest('hex');
}
