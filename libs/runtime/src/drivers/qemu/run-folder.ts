import { readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { errorCode } from '@alcove/base';
import { z } from 'zod';
import type { FoundVm } from '../../driver';
import { runFiles } from './qemu.args';
import { isRunning, processesBelow, type ProcessIdentity } from './vm-processes';

const RunRecord = z.strictObject({
  roomId: z.string(),
  incarnation: z.int(),
  templateId: z.string(),
  /** The template's memory, which the VMM has mapped. */
  memoryFile: z.string(),
  process: z.strictObject({ pid: z.int().positive(), startTime: z.string(), bootId: z.string() }),
  uid: z.int().nullable(),
  /** `running` once the guest was claimed. */
  phase: z.enum(['starting', 'running']),
  bootAttempts: z.int(),
});
export type RunRecord = z.infer<typeof RunRecord>;

/** Says which process belongs to this run folder. Not made durable: after a power cut there is no process either. */
export async function writeRunRecord(folder: string, record: RunRecord): Promise<void> {
  const partial = join(folder, `${runFiles.identity}.partial`);
  await writeFile(partial, JSON.stringify(record), { mode: 0o600 });
  await rename(partial, join(folder, runFiles.identity));
}

export interface FoundRun extends FoundVm {
  folder: string;
  identity: ProcessIdentity;
  uid: number | null;
  memoryFile: string;
  bootAttempts: number;
}

/**
 * Every VM whose process runs, from the run folders and from the processes themselves: one that was started but not yet written down shows its folder as its working
 * directory.
 */
export async function findRuns(runRoot: string): Promise<FoundRun[]> {
  const processes = new Map((await processesBelow(runRoot)).map(({ folder, identity }) => [folder, identity]));
  const found: FoundRun[] = [];
  for (const name of await namesIn(runRoot)) {
    const named = /^(room_[0-9a-f]{20})\.(\d+)$/.exec(name);
    if (!named) continue;
    const folder = join(runRoot, name);
    const run = await findRun(folder, { roomId: named[1] as string, incarnation: Number(named[2]) }, processes.get(folder));
    if (run) found.push(run);
  }
  return found;
}

/** Removes run folders that no process belongs to. Only while nothing is being started: a start has its folder before its process. */
export async function removeDeadRuns(runRoot: string, alive: readonly FoundRun[]): Promise<void> {
  const kept = new Set(alive.map((run) => run.folder));
  for (const name of await namesIn(runRoot)) {
    const folder = join(runRoot, name);
    if (!kept.has(folder)) await rm(folder, { recursive: true, force: true });
  }
}

async function findRun(folder: string, room: { roomId: string; incarnation: number }, process: ProcessIdentity | undefined): Promise<FoundRun | undefined> {
  const record = await readRunRecord(folder);
  if (record && (await isRunning(record.process))) {
    const { templateId, uid, memoryFile, bootAttempts } = record;
    return { ...room, folder, templateId, uid, memoryFile, bootAttempts, pid: record.process.pid, identity: record.process, whole: record.phase === 'running' };
  }
  if (!process) return undefined;
  return { ...room, folder, templateId: '', uid: null, memoryFile: '', bootAttempts: 0, pid: process.pid, identity: process, whole: false };
}

async function readRunRecord(folder: string): Promise<RunRecord | undefined> {
  try {
    return RunRecord.parse(JSON.parse(await readFile(join(folder, runFiles.identity), 'utf8')));
  } catch {
    // Absent or damaged: the process, if there is one, shows itself.
    return undefined;
  }
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return [];
    throw error;
  }
}
