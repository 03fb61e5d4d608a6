import { join } from 'node:path';
import { systemRandom } from '@alcove/base';
import { Problem } from '@alcove/contracts';
import type { RoomKey } from '../../driver';
import { runFiles } from './qemu.args';
import { runRootOf } from './vm-processes';

/** Unix socket addresses are this long at most (unix(7): sun_path, with its ending zero). */
const socketPathBytesMax = 107;
const roomIdPattern = /^room_[0-9a-f]{20}$/;
const imageIdPattern = /^img_[0-9a-f]{20}$/;

/**
 * Where things are:
 *
 *     store/templates/<template>/…                                  data (template/)
 *     store/rooms/<room>/disk.qcow2, disk.json, images/<image>      data
 *     store/rooms/.copying-<room>.<incarnation>.<random>/…          the same of a room that is being made as a copy; renamed when it is whole
 *     host/run/<room>.<incarnation>/…                               sockets and identity of a running VM
 */
export class StoreLayout {
  readonly #storeDir: string;
  readonly #hostDir: string;
  constructor(storeDir: string, hostDir: string) {
    this.#storeDir = storeDir;
    this.#hostDir = hostDir;
    const longest = join(this.runFolder({ roomId: `room_${'0'.repeat(20)}`, incarnation: 9_999_999 }), runFiles.channel);
    if (Buffer.byteLength(longest) > socketPathBytesMax) {
      throw new Problem('engine.failed', { detail: `the host folder's path is too long for sockets in it by ${Buffer.byteLength(longest) - socketPathBytesMax} characters` });
    }
  }

  get runRoot(): string {
    return runRootOf(this.#hostDir);
  }

  runFolder(room: RoomKey): string {
    return join(this.runRoot, `${checked(room.roomId, roomIdPattern)}.${room.incarnation}`);
  }

  roomFolder(roomId: string): string {
    return join(this.#storeDir, 'rooms', checked(roomId, roomIdPattern));
  }

  /** Where a copy is made, each time another one: what an attempt that was cut off still writes is in nobody's way. */
  copyFolder(room: RoomKey): string {
    return join(this.#storeDir, 'rooms', `${this.copyPrefix(room.roomId)}${room.incarnation}.${systemRandom.bytes(6).toString('hex')}`);
  }

  /** What the names of all such folders of a room begin with. */
  copyPrefix(roomId: string): string {
    return `.copying-${checked(roomId, roomIdPattern)}.`;
  }

  imageFolder(roomId: string): string {
    return join(this.roomFolder(roomId), 'images');
  }

  imagePath(roomId: string, imageId: string): string {
    return join(this.imageFolder(roomId), checked(imageId, imageIdPattern));
  }
}

/** Ids become paths here: whatever they were checked against before, they are checked again. */
function checked(id: string, pattern: RegExp): string {
  if (!pattern.test(id)) throw new Problem('request.invalid', { detail: 'not an id' });
  return id;
}
