import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Cleanup } from '@alcove/base';
import { type ClaimMode, Problem } from '@alcove/contracts';
import type { MemorySource, RoomSpec } from '../../driver';
import { openGuestSession } from '../../guest-channel/session';
import { runOnFork } from '../../on-fork';
import { RoomDisk } from '../../disk/room-disk';
import { revertTo } from '../../disk/qemu-img';
import { bootWithAttempts, kernelCommandLine } from './boot-attempts';
import { claimFor } from './claim';
import type { QemuContext } from './context';
import { isolationOf, type QemuEngine } from './engine';
import { loadMemory, openMemory } from './load-memory';
import { RunningVm } from './running-vm';
import { type RunRecord, writeRunRecord } from './run-folder';
import { Steps } from './steps';
import { type LaunchOrder, Vmm } from './vmm';

/**
 * Starts a room from its template's memory or from an image. Everything that can be refused is refused before the guest runs. A start that failed leaves the disk in
 * the state it was in, also when the guest has run, so it can be tried again: nobody has talked to a guest whose start failed, and nothing that it wrote is missed.
 */
export async function restoreRoom(context: QemuContext, room: RoomSpec, source: MemorySource, signal?: AbortSignal): Promise<RunningVm> {
  const { clock, log } = context.options;
  const steps = new Steps(clock);
  const undo = new Cleanup();
  try {
    signal?.throwIfAborted();
    const engine = await context.engine();
    const memory = await openMemory(context, engine, room, source);
    undo.add('image', () => memory.cancel());
    const disk = await diskForMemory(context, room, source);
    const start: DiskUse = { stateBefore: disk.state, marked: Promise.resolve(), guestRan: false };
    // Undone after the VMM has ended: until then it has the disk open.
    undo.add('disk state', () => putDiskBack(context, room, disk, start));
    steps.lap('open');
    const { vmm, uid } = await launch(context, engine, room, disk, undo);
    // Connected before the devices' state is loaded, the channel is in it what it was when that was saved: open. Otherwise the guest would be told that its host has
    // gone and come back, at a moment when it may have answered the first sync already.
    const channel = await vmm.connectChannel();
    undo.add('channel', () => channel.destroy());
    steps.lap('launch');
    start.marked = disk.markMovedOn();
    await Promise.all([loadMemory(vmm, room.template, memory), start.marked]);
    steps.lap('load');
    signal?.throwIfAborted();
    const opening = openGuestSession(channel, { clock, log, ...(signal ? { signal } : {}) });
    opening.catch(() => undefined);
    // From here on the guest may write to the disk.
    start.guestRan = true;
    await vmm.resume();
    steps.lap('resume');
    const guest = await opening;
    steps.lap('sync');
    const copied = source.kind === 'image' && room.newIdentity === true;
    await guest.claim(claimFor(room, source.kind === 'template' || copied ? 'fresh' : 'resumed', clock));
    steps.lap('claim');
    if (copied) {
      await runOnFork(guest, room.template.manifest, signal);
      steps.lap('onFork');
    }
    return await finish(room, { vmm, uid, guest, steps, undo, engine, bootAttempts: 0 });
  } catch (error) {
    await undoAll(undo, context, room);
    throw error;
  }
}

/** Starts a room by booting its template's kernel on its disk (a new blank one when it has none). */
export async function bootRoom(context: QemuContext, room: RoomSpec, signal?: AbortSignal): Promise<RunningVm> {
  const { clock, log } = context.options;
  const steps = new Steps(clock);
  const undo = new Cleanup();
  try {
    signal?.throwIfAborted();
    const engine = await context.engine();
    const disk = room.hasDisk ? await openDisk(context, room) : await createDisk(context, room);
    await disk.markMovedOn();
    steps.lap('open');
    let uid: number | null = null;
    const { vmm, guest, attempts } = await bootWithAttempts(
      async () => {
        await undo.run();
        const launched = await launch(context, engine, room, disk, undo, kernelCommandLine(engine));
        uid = launched.uid;
        return launched.vmm;
      },
      { clock, log, ...(signal ? { signal } : {}) },
    );
    undo.add('channel', () => guest.close());
    steps.lap('boot');
    const mode: ClaimMode = room.hasDisk ? 'disk' : 'fresh';
    await guest.claim(claimFor(room, mode, clock));
    steps.lap('claim');
    if (room.hasDisk && room.newIdentity) {
      await runOnFork(guest, room.template.manifest, signal);
      steps.lap('onFork');
    }
    return await finish(room, { vmm, uid, guest, steps, undo, engine, bootAttempts: attempts });
  } catch (error) {
    await undoAll(undo, context, room);
    throw error;
  }
}

type Finished = { vmm: Vmm; uid: number | null; guest: RunningVm['started']['guest']; steps: Steps; undo: Cleanup; engine: QemuEngine; bootAttempts: number };

async function finish(room: RoomSpec, done: Finished): Promise<RunningVm> {
  await writeRunRecord(done.vmm.folder, recordOf(room, done.vmm.identity, done.uid, { phase: 'running', bootAttempts: done.bootAttempts }));
  done.undo.keep();
  const started = {
    guest: done.guest,
    isolation: isolationOf(done.engine.accelerator),
    accelerator: done.engine.accelerator,
    bootAttempts: done.bootAttempts,
    steps: done.steps.all,
  };
  return new RunningVm({ room, vmm: done.vmm, uid: done.uid, memoryFile: memoryFileOf(room), started });
}

async function undoAll(undo: Cleanup, context: QemuContext, room: RoomSpec): Promise<void> {
  for (const failure of await undo.run()) {
    context.options.log.error({ roomId: room.roomId, incarnation: room.incarnation, step: failure.name, err: failure.error }, 'a failed start could not be undone in full');
  }
}

/** Launches the room's VMM with its disk; adds to `undo` what ends it and leaves nothing of it. */
async function launch(context: QemuContext, engine: QemuEngine, room: RoomSpec, disk: RoomDisk, undo: Cleanup, commandLine?: string): Promise<{ vmm: Vmm; uid: number | null }> {
  const { clock, tbSizeMiB } = context.options;
  const { manifest, folder: template } = room.template;
  const folder = context.layout.runFolder(room);
  const uid = context.users.take();
  undo.add('user', () => context.users.release(uid));
  await rm(folder, { recursive: true, force: true });
  undo.add('run folder', () => rm(folder, { recursive: true, force: true }));
  const order: LaunchOrder = {
    qemuPath: engine.qemuPath,
    shape: {
      name: `alcove-${room.roomId}.${room.incarnation}`,
      accelerator: engine.accelerator,
      cpuModel: engine.cpuModel,
      memoryMiB: manifest.size.memoryMiB,
      vcpus: manifest.size.vcpus,
      tbSizeMiB,
      memory: 'private',
      disk: 'room',
      ...(commandLine === undefined ? {} : { commandLine }),
    },
    folder,
    files: {
      memory: memoryFileOf(room),
      root: join(template, 'rootfs.erofs'),
      base: join(template, 'disk.ext4'),
      disk: disk.path,
      ...(commandLine === undefined ? {} : { kernel: join(template, 'vmlinuz'), initrd: join(template, 'initrd.img') }),
    },
    passphrase: disk.passphrase(room.keys.disk),
    uid,
    clock,
    onSpawned: (identity) => writeRunRecord(folder, recordOf(room, identity, uid, { phase: 'starting', bootAttempts: 0 })),
  };
  const vmm = await Vmm.launch(order);
  undo.add('virtual machine', () => vmm.kill());
  return { vmm, uid };
}

function memoryFileOf(room: RoomSpec): string {
  return join(room.template.folder, 'mem');
}

function recordOf(room: RoomSpec, process: RunRecord['process'], uid: number | null, rest: Pick<RunRecord, 'phase' | 'bootAttempts'>): RunRecord {
  return { roomId: room.roomId, incarnation: room.incarnation, templateId: room.template.manifest.id, memoryFile: memoryFileOf(room), process, uid, ...rest };
}

/** A new blank disk for a new room; for an image the disk it was taken with, in the state it was taken in. */
async function diskForMemory(context: QemuContext, room: RoomSpec, source: MemorySource): Promise<RoomDisk> {
  if (source.kind === 'template') {
    if (room.hasDisk) throw new Problem('image.disk_mismatch', { detail: "the template's memory fits only a blank disk" });
    return createDisk(context, room);
  }
  const disk = await openDisk(context, room);
  const wanted = source.image.diskState;
  if (disk.state === wanted) return disk;
  if (!source.rollBackDisk) throw new Problem('image.disk_mismatch', { detail: 'the disk has moved on since the image was taken' });
  await revertTo(context.options.qemuImgPath, disk.path, wanted, disk.passphrase(room.keys.disk));
  await disk.markState(wanted);
  return disk;
}

/** How far a start from memory has come with the room's disk. */
interface DiskUse {
  /** Null for a blank disk, which no image names. */
  stateBefore: string | null;
  /** Settles when the disk's record says that it has moved on. */
  marked: Promise<void>;
  guestRan: boolean;
}

/** After a start from memory has failed, once its VMM has ended. When it cannot be done the disk counts as moved on, and the image fits it no more. */
async function putDiskBack(context: QemuContext, room: RoomSpec, disk: RoomDisk, { stateBefore, marked, guestRan }: DiskUse): Promise<void> {
  await marked.catch(() => undefined);
  if (stateBefore === null) return;
  if (guestRan) await revertTo(context.options.qemuImgPath, disk.path, stateBefore, disk.passphrase(room.keys.disk));
  await disk.markState(stateBefore);
}

function createDisk(context: QemuContext, room: RoomSpec): Promise<RoomDisk> {
  const { manifest } = room.template;
  const about = { roomId: room.roomId, templateId: manifest.id, diskMiB: manifest.size.diskMiB };
  return RoomDisk.create(context.layout.roomFolder(room.roomId), about, room.keys.disk);
}

async function openDisk(context: QemuContext, room: RoomSpec): Promise<RoomDisk> {
  const disk = await RoomDisk.open(context.layout.roomFolder(room.roomId));
  if (disk.templateId !== room.template.manifest.id) throw new Problem('image.incompatible', { detail: "the room's disk lies over another template's" });
  return disk;
}
