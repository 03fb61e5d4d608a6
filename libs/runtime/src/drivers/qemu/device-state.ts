import { execFile } from 'node:child_process';
import { constants, open } from 'node:fs';
import { chown, rm } from 'node:fs/promises';
import { Socket } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { limits } from '@alcove/base';
import { Problem } from '@alcove/contracts';
import { runFiles } from './qemu.args';
import type { QmpClient } from './qmp';

const run = promisify(execFile);
/** A bare descriptor, which the socket made of it closes. */
const openDescriptor = promisify(open);

/**
 * Device state holds the guest's processor registers, which may hold its secrets: it goes from and to the VMM by pipe, never by file.
 */
export class DeviceStatePipe {
  readonly #path: string;
  private constructor(path: string) {
    this.#path = path;
  }

  /** Makes the pipe by which a VMM can save (a few milliseconds: do it before the guest is stopped). */
  static async make(folder: string, uid: number | null): Promise<DeviceStatePipe> {
    const path = join(folder, runFiles.deviceState);
    await rm(path, { force: true });
    await run('mkfifo', ['-m', '600', path]);
    if (uid !== null) await chown(path, uid, uid);
    return new DeviceStatePipe(path);
  }

  /** The state of a stopped VMM's devices: a few KiB. Problem `engine.failed` when it is longer than the limit. */
  async save(monitor: QmpClient): Promise<Buffer> {
    const reader = await openDescriptor(this.#path, constants.O_RDONLY | constants.O_NONBLOCK);
    const socket = new Socket({ fd: reader, readable: true, writable: false });
    try {
      const received = collect(socket);
      received.catch(() => undefined);
      // The command's name is history: it saves all devices and no memory, in every build of QEMU. `live` would also hand over the disk.
      await monitor.execute('xen-save-devices-state', { filename: runFiles.deviceState, live: false });
      return await received;
    } finally {
      socket.destroy();
    }
  }

  remove(): Promise<void> {
    return rm(this.#path, { force: true });
  }
}

function collect(socket: Socket): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = [];
    let bytes = 0;
    socket.on('data', (part: Buffer) => {
      bytes += part.length;
      if (bytes > limits.image.deviceStateBytes) {
        reject(new Problem('engine.failed', { detail: 'the device state is too long' }));
        socket.destroy();
        return;
      }
      parts.push(part);
    });
    socket.on('end', () => resolve(Buffer.concat(parts)));
    socket.on('error', reject);
    socket.on('close', () => reject(new Problem('engine.failed', { detail: 'the device state broke off' })));
  });
}
