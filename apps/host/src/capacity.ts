import { readFile, statfs } from 'node:fs/promises';
import { freemem, totalmem } from 'node:os';
import type { Capacity } from '@alcove/contracts';

const mebibyte = 1 << 20;

/** What this machine has left. Free memory is the kernel's estimate of what can be had without swapping (MemAvailable, proc(5)). */
export async function machineCapacity(storeDir: string, rooms: { max: number; used: number }): Promise<Capacity> {
  const meminfo = await readFile('/proc/meminfo', 'utf8').catch(() => '');
  const available = /^MemAvailable:\s+(\d+) kB$/m.exec(meminfo)?.[1];
  const disk = await statfs(storeDir).catch(() => null);
  return {
    roomsMax: rooms.max,
    roomsUsed: rooms.used,
    memoryMiBTotal: Math.floor(totalmem() / mebibyte),
    memoryMiBFree: Math.floor(available === undefined ? freemem() / mebibyte : Number(available) / 1024),
    diskMiBFree: disk ? Math.floor((disk.bavail * disk.bsize) / mebibyte) : 0,
  };
}
