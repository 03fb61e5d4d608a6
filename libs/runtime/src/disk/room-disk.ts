import { randomBytes } from 'node:crypto';
import { mkdir, open, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { errorCode, Secret } from '@alcove/base';
import { Problem } from '@alcove/contracts';
import { unwrapKey, wrapKey } from '@alcove/vault';
import { z } from 'zod';
import { asStoreProblem, replaceFile, syncFolder } from '../image/durable';
import { makeLuksHeader } from './luks';
import { layOutBlankDisk } from './qcow2';

const DiskRecord = z.strictObject({
  version: z.literal(1),
  roomId: z.string(),
  templateId: z.string(),
  diskMiB: z.int().positive(),
  /** The disk's own key under the room's disk subkey, base64. */
  wrapped: z.base64(),
  /** The state the disk is in, as an image names it; null once a VM has run on it since. */
  state: z.string().nullable(),
  /** The image whose copy this disk came with, until a VM runs on it. */
  copyOf: z.string().optional(),
});
type DiskRecord = z.infer<typeof DiskRecord>;

const diskFile = 'disk.qcow2';
const recordFile = 'disk.json';

/** The state that the image of this id belongs to; also the name of the snapshot inside the disk. */
export function diskStateOf(imageId: string): string {
  return imageId.replace(/^img_/, 'ds_');
}

/**
 * A room's disk: an encrypted qcow2 over its template's disk, and beside it a record of whose key opens it and which state it is in. The record can be read and its state
 * changed without the key.
 */
export class RoomDisk {
  readonly path: string;
  readonly #folder: string;
  #record: DiskRecord;

  private constructor(folder: string, record: DiskRecord) {
    this.#folder = folder;
    this.path = join(folder, diskFile);
    this.#record = record;
  }

  /** Makes a blank disk in place of whatever is there; `copyOf` when it is about to be filled with another's. Durable when it resolves. Problem `host.disk_full`. */
  static async create(folder: string, room: { roomId: string; templateId: string; diskMiB: number; copyOf?: string }, key: Secret<Buffer>): Promise<RoomDisk> {
    const own = new Secret(randomBytes(32));
    const record: DiskRecord = { version: 1, ...room, wrapped: wrapKey(key, own, purpose(room.roomId)).toString('base64'), state: null };
    const disk = new RoomDisk(folder, record);
    try {
      await mkdir(folder, { recursive: true, mode: 0o700 });
      await rm(join(folder, recordFile), { force: true });
      await writeBlank(disk.path, room.diskMiB, passphraseOf(own).expose());
      await disk.#save();
      await syncFolder(join(folder, '..'));
    } catch (error) {
      await rm(disk.path, { force: true });
      throw asStoreProblem(error);
    }
    return disk;
  }

  /** Problem `image.missing` when the room has no disk here, `image.corrupt` when its record is damaged. */
  static async open(folder: string): Promise<RoomDisk> {
    try {
      return new RoomDisk(folder, DiskRecord.parse(JSON.parse(await readFile(join(folder, recordFile), 'utf8'))));
    } catch (error) {
      if (errorCode(error) === 'ENOENT') throw new Problem('image.missing', { detail: "the room's disk is not on this host", cause: error });
      throw new Problem('image.corrupt', { detail: "the record of the room's disk is damaged", cause: error });
    }
  }

  get templateId(): string {
    return this.#record.templateId;
  }

  get diskMiB(): number {
    return this.#record.diskMiB;
  }

  /** See DiskRecord. */
  get state(): string | null {
    return this.#record.state;
  }

  /** See DiskRecord. */
  get copyOf(): string | undefined {
    return this.#record.copyOf;
  }

  /** What opens the disk. Problem `vault.corrupt` when this is not the key it was made under. */
  passphrase(key: Secret<Buffer>): Secret<Buffer> {
    return passphraseOf(unwrapKey(key, Buffer.from(this.#record.wrapped, 'base64'), purpose(this.#record.roomId)));
  }

  /** Before a guest may write to the disk: from here on it is in no state that an image names. */
  markMovedOn(): Promise<void> {
    return this.#mark(null);
  }

  /** After a guest has stopped for good: the disk is in this state. */
  markState(state: string): Promise<void> {
    return this.#mark(state);
  }

  async #mark(state: string | null): Promise<void> {
    if (this.#record.state === state) return;
    const { copyOf, ...rest } = this.#record;
    this.#record = { ...rest, state, ...(state === null || copyOf === undefined ? {} : { copyOf }) };
    await this.#save();
  }

  #save(): Promise<void> {
    return replaceFile(join(this.#folder, recordFile), `${JSON.stringify(this.#record)}\n`);
  }
}

function purpose(roomId: string): string[] {
  return ['room disk', roomId];
}

/** LUKS passphrases are text. */
function passphraseOf(key: Secret<Buffer>): Secret<Buffer> {
  return new Secret(Buffer.from(key.expose().toString('base64'), 'latin1'));
}

async function writeBlank(path: string, diskMiB: number, passphrase: Buffer): Promise<void> {
  const { pieces, fileBytes } = layOutBlankDisk(diskMiB * 2 ** 20, await makeLuksHeader(passphrase));
  await rm(path, { force: true });
  const file = await open(path, 'wx', 0o600);
  try {
    for (const { offset, data } of pieces) await file.write(data, 0, data.length, offset);
    await file.truncate(fileBytes);
    await file.sync();
  } finally {
    await file.close();
  }
}
