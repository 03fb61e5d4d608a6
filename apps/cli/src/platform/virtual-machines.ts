import { readdir, readFile, readlink, realpath } from 'node:fs/promises';
import { join } from 'node:path';

export interface VirtualMachine {
  roomId: string;
  pid: number;
}

/** The VM processes of the rooms of a home, found by their working directory: each runs in its run folder, `<host folder>/run/<room>.<incarnation>`. */
export async function virtualMachines(hostFolder: string): Promise<VirtualMachine[]> {
  const runs = `${await realpath(hostFolder).catch(() => hostFolder)}/run/`;
  const found: VirtualMachine[] = [];
  for (const entry of await readdir('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    const roomId = roomOf(await readlink(join('/proc', entry, 'cwd')).catch(() => ''), runs);
    const isQemu = roomId !== null && /^qemu-system/.test(await readFile(join('/proc', entry, 'comm'), 'utf8').catch(() => ''));
    if (isQemu) found.push({ roomId, pid: Number(entry) });
  }
  return found;
}

/** The room whose run folder this is, or null. */
export function roomOf(folder: string, runs: string): string | null {
  if (!folder.startsWith(runs)) return null;
  return /^(room_[0-9a-f]{20})\.\d+(?: \(deleted\))?$/.exec(folder.slice(runs.length))?.[1] ?? null;
}
