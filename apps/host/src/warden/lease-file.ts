import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

/** What survives the agent: the clock counts from the machine's boot, so it means the same to every process of the same boot. */
export interface LeaseRecord {
  machineBootId: string;
  /** Milliseconds of the machine's own time. */
  expiresAt: number;
}

/** A record always takes as many bytes, so that one is written over another without needing space. */
const recordBytes = 128;

export function leasePath(folder: string): string {
  return join(folder, 'lease.json');
}

export function leaseText(record: LeaseRecord): string {
  return `${JSON.stringify(record).padEnd(recordBytes - 1)}\n`;
}

/** The lease that was written down last, or null when there is none that can be read. */
export async function readLease(folder: string): Promise<LeaseRecord | null> {
  try {
    const { machineBootId, expiresAt } = JSON.parse(await readFile(leasePath(folder), 'utf8')) as Partial<LeaseRecord>;
    return typeof machineBootId === 'string' && typeof expiresAt === 'number' ? { machineBootId, expiresAt } : null;
  } catch {
    return null;
  }
}

/** Names this boot of the machine: its times mean nothing in another boot. */
export async function machineBootId(): Promise<string> {
  return (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
}

/** When the recorded lease ends, or null for a record of another boot or one that promises more than was ever granted. */
export function expiryOf(record: LeaseRecord | null, about: { machineBootId: string; now: number; leaseMsMax: number }): number | null {
  if (record === null || record.machineBootId !== about.machineBootId || record.expiresAt > about.now + about.leaseMsMax) return null;
  return record.expiresAt;
}
