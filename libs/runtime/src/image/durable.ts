import { open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { errorCode } from '@alcove/base';
import { isProblem, Problem } from '@alcove/contracts';

/** Makes the names in a folder durable: a file's own fsync does not cover the entry that leads to it (fsync(2)). */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Replaces a small file so that after a crash either the old or the new one is there, whole. Mode 0600. Problem `host.disk_full`. */
export async function replaceFile(path: string, content: string | Buffer): Promise<void> {
  const partial = `${path}.partial`;
  try {
    const handle = await open(partial, 'w', 0o600);
    try {
      await handle.writeFile(content);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(partial, path);
    await syncFolder(dirname(path));
  } catch (error) {
    await rm(partial, { force: true });
    throw asStoreProblem(error);
  }
}

/** A failed write as the Problem it is: `host.disk_full` when there is no space (or quota) left. Anything else is passed on. */
export function asStoreProblem(error: unknown): unknown {
  if (isProblem(error)) return error;
  const code = errorCode(error);
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    return new Problem('host.disk_full', { detail: 'the host has no disk space left: free some, or move the store', cause: error });
  }
  return error;
}
