import { mkdir, open, readdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { errorCode, newId } from '@alcove/base';
import { type ImageRef, isProblem, Problem } from '@alcove/contracts';
import type { CopySource, RoomSpec, SealOrder } from '../../driver';
import { checkDiskHeader, type ClosedDisk, compareDisks, copyDisk, keepState } from '../../disk/qemu-img';
import { diskStateOf, RoomDisk } from '../../disk/room-disk';
import { asStoreProblem, syncFolder } from '../../image/durable';
import type { ImageHeader } from '../../image/image-header';
import { type OpenedChunk, openChunks } from '../../image/image-reader';
import { resealImage } from '../../image/image-writer';
import type { QemuContext } from './context';
import { findSealed } from './seal';
import type { StoreLayout } from './store-layout';

interface CopyOrder {
  source: CopySource;
  target: RoomSpec;
  order: SealOrder;
  signal?: AbortSignal;
}

/**
 * Makes a sleeping room of another one's image and disk, in a folder beside, which gets the room's name when everything in it is durable and was read back. Nothing is
 * shared with the source: image and disk are decrypted in memory and encrypted under keys of their own, the disk under a LUKS master key of its own too.
 */
export async function copyRoom(context: QemuContext, copy: CopyOrder): Promise<ImageRef> {
  const { layout } = context;
  const { target } = copy;
  const done = await findCopy(context, copy);
  if (done) return done;
  const folder = layout.copyFolder(target);
  let inPlace = false;
  try {
    await removeUnfinishedCopies(layout, target.roomId);
    const image = await copyInto(context, copy, folder);
    copy.signal?.throwIfAborted();
    await refuseLived(layout, target);
    const final = layout.roomFolder(target.roomId);
    await rm(final, { recursive: true, force: true });
    inPlace = true;
    await rename(folder, final);
    await syncFolder(dirname(final));
    return image;
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    if (inPlace) await rm(layout.roomFolder(target.roomId), { recursive: true, force: true });
    throw asStoreProblem(error);
  }
}

/** What copies of this room that were cut off have left. */
export async function removeUnfinishedCopies(layout: StoreLayout, roomId: string): Promise<void> {
  const rooms = dirname(layout.roomFolder(roomId));
  const prefix = layout.copyPrefix(roomId);
  const names = await readdir(rooms).catch((error: unknown) => {
    if (errorCode(error) === 'ENOENT') return [];
    throw error;
  });
  for (const name of names) if (name.startsWith(prefix)) await rm(join(rooms, name), { recursive: true, force: true });
}

async function copyInto(context: QemuContext, { source, target, order, signal }: CopyOrder, folder: string): Promise<ImageRef> {
  const { layout, options } = context;
  const { manifest } = target.template;
  const { image } = source;
  if (image.templateId !== manifest.id) throw new Problem('image.incompatible', { detail: 'it was made for another template' });
  const id = newId('img');
  const diskState = diskStateOf(id);
  const opened = await openChunks(layout.imagePath(image.roomId, image.id), image, source.keys.image);
  try {
    const disk = await RoomDisk.open(layout.roomFolder(image.roomId));
    if (disk.templateId !== manifest.id) throw new Problem('image.incompatible', { detail: "the room's disk lies over another template's" });
    await checkDiskHeader(disk.path);
    const base = join(target.template.folder, 'disk.ext4');
    const from: ClosedDisk = { path: disk.path, passphrase: disk.passphrase(source.keys.disk), base };
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const header: ImageHeader = { ...opened.header, id, roomId: target.roomId, incarnation: target.incarnation, generation: order.generation, diskState };
    const made = await resealImage(join(folder, 'images', id), header, target.keys.image, whileWanted(opened.chunks, signal), image.pages);
    const blank = await RoomDisk.create(folder, { roomId: target.roomId, templateId: manifest.id, diskMiB: disk.diskMiB, copyOf: image.id }, target.keys.disk);
    const to: ClosedDisk = { path: blank.path, passphrase: blank.passphrase(target.keys.disk), base };
    const kept = disk.state === image.diskState ? null : image.diskState;
    await copyDisk(options.qemuImgPath, from, to, kept, signal);
    await keepState(options.qemuImgPath, to, diskState);
    await syncFile(to.path);
    // Kept states can be copied from, but not compared with.
    if (kept === null) await compareDisks(options.qemuImgPath, from, to, signal);
    await blank.markState(diskState);
    await syncFolder(folder);
    return made;
  } finally {
    await opened.close();
  }
}

async function* whileWanted(chunks: AsyncIterable<OpenedChunk>, signal?: AbortSignal): AsyncGenerator<OpenedChunk> {
  for await (const chunk of chunks) {
    signal?.throwIfAborted();
    yield chunk;
  }
}

/** The image that an earlier, equal call has made: its answer may have been lost. Verified again; undefined when there is none, or none that is whole. */
async function findCopy(context: QemuContext, { source, target, order }: CopyOrder): Promise<ImageRef | undefined> {
  const disk = await refuseLived(context.layout, target);
  if (disk?.copyOf !== source.image.id) return undefined;
  try {
    const image = await findSealed(context, target, order);
    return image?.diskState === disk.state ? image : undefined;
  } catch (error) {
    if (isProblem(error, 'image.corrupt') || isProblem(error, 'image.wrong_key')) return undefined;
    throw error;
  }
}

/** The disk that the target has already, if any. Problem `incarnation.stale` when a VM has run on it: nothing is copied over a life. */
async function refuseLived(layout: StoreLayout, target: RoomSpec): Promise<RoomDisk | undefined> {
  const disk = await RoomDisk.open(layout.roomFolder(target.roomId)).catch((error: unknown) => {
    if (isProblem(error, 'image.missing')) return undefined;
    throw error;
  });
  if (disk && disk.copyOf === undefined) throw new Problem('incarnation.stale', { detail: 'this room has lived already' });
  return disk;
}

async function syncFile(path: string): Promise<void> {
  const file = await open(path, 'r+');
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}
