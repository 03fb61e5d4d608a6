import { readFile, readlink } from 'node:fs/promises';
import { errorCode } from '@alcove/base';
import { z } from 'zod';
import { writeWhole } from '../home';

const ServiceStatus = z.object({
  name: z.string(),
  state: z.enum(['waiting', 'starting', 'ready', 'backing-off', 'misconfigured', 'stopped']),
  pid: z.int().nullable(),
  restarts: z.int(),
  /** How it ended the last time: an exit code, a signal, or null while it never has. */
  lastEnd: z.union([z.string(), z.int()]).nullable(),
});
export type ServiceStatus = z.infer<typeof ServiceStatus>;

const PlatformStatus = z.object({
  pid: z.int(),
  /** With the pid it names one process for ever: field 22 of /proc/PID/stat. */
  startTicks: z.string(),
  build: z.string(),
  driver: z.string(),
  phase: z.enum(['starting', 'ready', 'failed', 'stopping']),
  /** Why the start failed, and which process is to blame when it is one. */
  failure: z.object({ service: z.string().nullable(), message: z.string() }).nullable(),
  url: z.string(),
  /** What clients of E2B's SDK are told as E2B_DOMAIN; null in the status of a version without an edge. */
  e2bDomain: z.string().nullable().default(null),
  debugRoom: z.string().nullable().default(null),
  startedAt: z.string(),
  services: z.array(ServiceStatus),
});
/** What the supervisor says of itself and its processes, rewritten whole at every change. */
export type PlatformStatus = z.infer<typeof PlatformStatus>;

export async function writeStatus(path: string, status: PlatformStatus): Promise<void> {
  await writeWhole(path, `${JSON.stringify(status, null, 2)}\n`, 0o644);
}

/** The status of a supervisor that is alive, or null: a stale file of a killed one counts as nothing. */
export async function readLiveStatus(path: string): Promise<PlatformStatus | null> {
  const status = await readStatus(path);
  return status && (await isSameProcess(status.pid, status.startTicks)) ? status : null;
}

/** The last status that was written, by a supervisor that may be gone. */
export async function readStatus(path: string): Promise<PlatformStatus | null> {
  try {
    return PlatformStatus.parse(JSON.parse(await readFile(path, 'utf8')));
  } catch (error) {
    if (errorCode(error) === 'ENOENT' || error instanceof SyntaxError || error instanceof z.ZodError) return null;
    throw error;
  }
}

/** When the process started, in clock ticks since boot; null when it is not there. proc(5): the fields after the last `)` start with number 3. */
export async function startTicksOf(pid: number): Promise<string | null> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? null;
  } catch {
    return null;
  }
}

async function isSameProcess(pid: number, startTicks: string): Promise<boolean> {
  if ((await startTicksOf(pid)) !== startTicks) return false;
  // A zombie has no program any more.
  return readlink(`/proc/${pid}/exe`).then(
    () => true,
    (error: unknown) => errorCode(error) === 'EACCES',
  );
}
