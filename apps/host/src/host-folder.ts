import { createHash } from 'node:crypto';
import { mkdir, readFile, realpath, rename, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { errorCode, type Log } from '@alcove/base';
import { z } from 'zod';
import type { LeaseRecord } from './lease';

/** Another host agent works on this folder: two of them would fight over the same rooms. */
export class FolderTaken extends Error {
  override readonly name = 'FolderTaken';
  /** EX_TEMPFAIL of sysexits.h: the one before may be about to end. */
  static readonly exitCode = 75;
}

/**
 * Makes the folder and takes it for this process, by a name in Linux's abstract socket namespace (unix(7)): the kernel gives it back when the process
 * ends, however it ends, and no VM inherits it. Throws FolderTaken.
 */
export async function takeFolder(folder: string): Promise<Server> {
  // VMs run as users of their own and pass through to their run folders; what is ours in here is 0600.
  await mkdir(folder, { recursive: true, mode: 0o711 });
  const name = createHash('sha256').update(await realpath(folder)).digest('hex').slice(0, 32);
  const holder = createServer((socket) => socket.destroy());
  await new Promise<void>((resolve, reject) => {
    holder.once('error', (error) => reject(errorCode(error) === 'EADDRINUSE' ? new FolderTaken(`another host agent works in ${folder}`) : error));
    holder.listen({ path: `\0alcove-host-${name}` }, resolve);
  });
  holder.unref();
  return holder;
}

const StoredLease = z.strictObject({ machineBootId: z.string(), expiresAt: z.number() });
const leaseFile = 'lease.json';

/** Names this boot of the machine: monotonic times of another boot mean nothing. */
export async function machineBootId(): Promise<string> {
  return (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
}

/** The lease that an earlier agent held, or null: then there is none. */
export async function readLease(folder: string): Promise<LeaseRecord | null> {
  try {
    return StoredLease.parse(JSON.parse(await readFile(join(folder, leaseFile), 'utf8')));
  } catch {
    return null;
  }
}

/** Keeps the lease for the next agent, one write at a time and the latest last. A write that fails only makes that one more careful. */
export function leaseKeeper(folder: string, bootId: string, log: Log): (expiresAt: number) => void {
  let writing = false;
  let wanted: number | null = null;
  const write = async () => {
    while (wanted !== null) {
      const record: LeaseRecord = { machineBootId: bootId, expiresAt: wanted };
      wanted = null;
      const target = join(folder, leaseFile);
      await writeFile(`${target}.new`, JSON.stringify(record), { mode: 0o600 });
      await rename(`${target}.new`, target);
    }
    writing = false;
  };
  return (expiresAt) => {
    wanted = expiresAt;
    if (writing) return;
    writing = true;
    write().catch((err: unknown) => {
      writing = false;
      log.warn({ err }, 'the lease could not be kept');
    });
  };
}
