import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { CliFailure } from './failure';

/**
 * Holds an exclusive flock(2) on a folder while work runs, so that two `./alcove` never build or start the same thing at once. `flock` (util-linux) holds it in
 * a child whose standard input is ours: when this process dies in any way, the lock is free.
 */
export async function withFolderLock<T>(folder: string, onWait: () => void, work: () => Promise<T>): Promise<T> {
  const holder = spawn('flock', ['--exclusive', folder, 'sh', '-c', 'echo locked; exec cat >/dev/null'], { stdio: ['pipe', 'pipe', 'pipe'], detached: true });
  const waiting = setTimeout(onWait, 300);
  const exited = once(holder, 'exit');
  try {
    const locked = once(holder.stdout, 'data').then(() => true);
    if (!(await Promise.race([locked, exited.then(() => false)]))) throw new CliFailure(`${folder} cannot be locked`);
    clearTimeout(waiting);
    return await work();
  } finally {
    clearTimeout(waiting);
    holder.stdin.end();
    await exited;
  }
}
