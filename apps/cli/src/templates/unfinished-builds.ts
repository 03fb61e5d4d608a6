import { readdir, readFile, readlink, rm } from 'node:fs/promises';
import { join } from 'node:path';

/**
 * Ends the VMs and removes the folders of template builds that were interrupted. To be called with the lock on the folder of templates: whatever is unfinished
 * then is nobody's.
 */
export async function endUnfinishedBuilds(templates: string): Promise<void> {
  const unfinished = join(templates, '.building-');
  for (const entry of await readdir('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    const folder = await readlink(join('/proc', entry, 'cwd')).catch(() => '');
    const program = folder.startsWith(unfinished) ? await readFile(join('/proc', entry, 'comm'), 'utf8').catch(() => '') : '';
    if (program.startsWith('qemu-system')) process.kill(Number(entry), 'SIGKILL');
  }
  for (const name of await readdir(templates)) {
    if (name.startsWith('.building-')) await rm(join(templates, name), { recursive: true, force: true });
  }
}
