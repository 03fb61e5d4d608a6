import { constants } from 'node:fs';
import { mkdir, open } from 'node:fs/promises';
import type { Server } from 'node:net';
import type { Log } from '@alcove/base';
import { takeLock } from './warden/folder-lock';
import { leasePath, leaseText } from './warden/lease-file';

/** Another host agent works on this folder: two of them would fight over the same rooms. */
export class FolderTaken extends Error {
  override readonly name = 'FolderTaken';
  /** EX_TEMPFAIL of sysexits.h: the one before may be about to end. */
  static readonly exitCode = 75;
}

/** Makes the folder and takes it for this process until it ends. Throws FolderTaken. */
export async function takeFolder(folder: string): Promise<Server> {
  // VMs run as users of their own and pass through to their run folders; what is ours in here is 0600.
  await mkdir(folder, { recursive: true, mode: 0o711 });
  const lock = await takeLock('host', folder);
  if (!lock) throw new FolderTaken(`another host agent works in ${folder}`);
  return lock;
}

/**
 * Keeps the lease for the warden and the next agent: one write at a time and the latest last; resolves when that one is done. The record is written in place with
 * every renewal: that costs one page in the cache, and goes on when the disk is full. It need not outlive a power cut, as no VM does.
 */
export function leaseKeeper(folder: string, bootId: string, log: Log): (expiresAt: number) => Promise<void> {
  let wanted: number | null = null;
  let writing: Promise<void> | null = null;
  const write = async () => {
    const file = await open(leasePath(folder), constants.O_WRONLY | constants.O_CREAT, 0o600);
    try {
      while (wanted !== null) {
        const text = leaseText({ machineBootId: bootId, expiresAt: wanted });
        wanted = null;
        await file.write(text, 0);
      }
    } finally {
      await file.close();
    }
  };
  return (expiresAt) => {
    wanted = expiresAt;
    writing ??= write()
      .catch((err: unknown) => {
        log.warn({ err }, 'the lease could not be written down: the warden will hold this host to the one before');
        throw err;
      })
      .finally(() => (writing = null));
    return writing;
  };
}
