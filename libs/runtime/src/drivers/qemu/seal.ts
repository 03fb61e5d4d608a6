import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Cleanup, newId } from '@alcove/base';
import { type ImageRef, Problem } from '@alcove/contracts';
import type { RoomSpec, Sealed, SealOrder } from '../../driver';
import { diskStateOf, RoomDisk } from '../../disk/room-disk';
import { dropSnapshot, takeSnapshot } from '../../disk/snapshots';
import type { ImageHeader } from '../../image/image-header';
import { hashOf, readImage, readImageStart } from '../../image/image-reader';
import { writeImage } from '../../image/image-writer';
import { ReadAhead } from '../../image/pipeline';
import type { QemuContext } from './context';
import { compatibilityOf } from './engine';
import { findMapping, findPrivatePages, pageBytes, readDifferentPages } from './pages';
import type { RunningVm } from './running-vm';
import { Steps } from './steps';

/** Pages that are taken from a stopped guest before they are compressed and written: what fits here ends the stall. */
const captureBytes = 64 << 20;

/**
 * Stops the guest and makes an image of it: device state and its own pages, and a snapshot of its disk. The VMM is kept until the image is durable and verified, so that
 * whatever fails before (a full disk, say) the guest goes on running as if nothing had been asked.
 */
export async function sealRoom(context: QemuContext, vm: RunningVm, room: RoomSpec, order: SealOrder): Promise<Sealed> {
  const { vmm } = vm;
  const { guest } = vm.started;
  if (vm.started.stalled()) throw new Problem('host.disk_full', { detail: 'the guest waits for space on this host' });
  const steps = new Steps(context.options.clock);
  const undo = new Cleanup();
  try {
    const engine = await context.engine();
    const disk = await RoomDisk.open(context.layout.roomFolder(room.roomId));
    const imageId = newId('img');
    const diskState = diskStateOf(imageId);
    const { memoryFile } = vm;
    undo.add('channel', () => guest.resynchronise());
    const [pipe, mapping] = await Promise.all([vmm.prepareSave(), findMapping(vmm.identity.pid, memoryFile), guest.quiesce()]);
    undo.add('pipe', () => pipe.remove());
    steps.lap('quiesce');
    undo.add('guest', () => vmm.resume());
    await vmm.stop();
    const state = await pipe.save(vmm.monitor);
    const { spans } = await findPrivatePages(mapping);
    const pages = new ReadAhead(readDifferentPages(mapping, spans, memoryFile), captureBytes, (run) => run.data.length);
    undo.add('pages', () => pages.cancel());
    undo.add('snapshot', () => dropSnapshot(vmm.monitor, diskState).catch(() => undefined));
    await takeSnapshot(vmm.monitor, diskState);
    const stall = pages.drained.then(() => steps.lap('capture'));
    const header: ImageHeader = {
      id: imageId,
      roomId: room.roomId,
      incarnation: room.incarnation,
      generation: order.generation,
      templateId: room.template.manifest.id,
      compatibility: compatibilityOf(engine, room.template.manifest),
      diskState,
      memoryBytes: mapping.bytes,
      pageBytes,
    };
    const image = await writeImage(context.layout.imagePath(room.roomId, imageId), header, room.keys.image, { state, pages });
    const stallMs = await stall;
    steps.lap('write');
    undo.add('image', () => rm(context.layout.imagePath(room.roomId, imageId), { force: true }));
    await disk.markState(diskState);
    undo.keep();
    await endSealed(context, vm);
    steps.lap('end');
    return { image, stallMs, steps: steps.all };
  } catch (error) {
    for (const failure of await undo.run()) {
      context.options.log.error({ ...vm.room, step: failure.name, err: failure.error }, 'a failed seal could not be undone in full');
    }
    throw error;
  }
}

async function endSealed(context: QemuContext, vm: RunningVm): Promise<void> {
  vm.expected = true;
  vm.started.guest.close();
  await vm.vmm.quit();
  await rm(vm.vmm.folder, { recursive: true, force: true });
  context.users.release(vm.uid);
}

/** The image that an earlier, equal call has made: its answer may have been lost. Verified again; undefined when there is none that opens. */
export async function findSealed(context: QemuContext, room: RoomSpec, order: SealOrder): Promise<ImageRef | undefined> {
  const folder = context.layout.imageFolder(room.roomId);
  const names = await readdir(folder).catch(() => []);
  for (const name of names.filter((entry) => /^img_[0-9a-f]{20}$/.test(entry))) {
    const path = join(folder, name);
    const { header, fileBytes } = await readImageStart(path).catch(() => ({ header: undefined, fileBytes: 0 }));
    if (!header || header.incarnation !== room.incarnation || header.generation !== order.generation) continue;
    const { memoryBytes: _memory, pageBytes: _page, ...named } = header;
    const image: ImageRef = { ...named, bytes: fileBytes, pages: 0, sha256: await hashOf(path) };
    let pages = 0;
    for await (const part of readImage(path, image, room.keys.image)) {
      if (part.kind === 'pages') for (const run of part.runs) pages += run.count;
    }
    return { ...image, pages };
  }
  return undefined;
}
