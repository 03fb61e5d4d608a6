import { createHash } from 'node:crypto';
import { readFile, realpath } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';

/** Who may be there once per host folder. */
export type Holder = 'host' | 'warden';

/**
 * Takes a host folder for this process in that role, by a name in Linux's abstract socket namespace (unix(7)): the kernel gives it back when the process ends, however
 * it ends, and no VM inherits it. Null when another process has it.
 */
export async function takeLock(holder: Holder, folder: string): Promise<Server | null> {
  const name = await lockName(holder, folder);
  const server = createServer((socket) => socket.destroy());
  const taken = await new Promise<boolean>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => (error.code === 'EADDRINUSE' ? resolve(false) : reject(error)));
    server.listen({ path: `\0${name}` }, () => resolve(true));
  });
  if (!taken) return null;
  server.unref();
  return server;
}

/** True while a process, be it frozen, holds the folder in that role. Only looks. */
export async function isLocked(holder: Holder, folder: string): Promise<boolean> {
  const name = await lockName(holder, folder);
  // The kernel shows the leading zero as @.
  return (await readFile('/proc/net/unix', 'utf8')).includes(`@${name}`);
}

async function lockName(holder: Holder, folder: string): Promise<string> {
  const hash = createHash('sha256').update(await realpath(folder)).digest('hex').slice(0, 32);
  return `alcove-${holder}-${hash}`;
}
