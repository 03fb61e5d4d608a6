import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

export interface VirtualMachine {
  roomId: string;
  pid: number;
}

/** The VM processes of the rooms of this home, found by their command lines: each names its run folder, which names its room. */
export async function virtualMachines(hostsFolder: string): Promise<VirtualMachine[]> {
  const found: VirtualMachine[] = [];
  for (const entry of await readdir('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    const roomId = roomOf(await readFile(join('/proc', entry, 'cmdline'), 'utf8').catch(() => ''), hostsFolder);
    if (roomId) found.push({ roomId, pid: Number(entry) });
  }
  return found;
}

/** The room that a QEMU of this home runs, or null for any other command line (arguments separated by NUL). */
export function roomOf(commandLine: string, hostsFolder: string): string | null {
  const program = commandLine.split('\0')[0] ?? '';
  if (!/(^|\/)qemu-system-[a-z0-9_]+$/.test(program)) return null;
  const at = commandLine.indexOf(`${hostsFolder}/`);
  return at < 0 ? null : (/room_[0-9a-f]{20}/.exec(commandLine.slice(at))?.[0] ?? null);
}
