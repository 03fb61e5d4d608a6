import { readdir, readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';

/*
 * Which processes are the VMs of a host folder, and how to end exactly those. Imports nothing but Node: the host's warden, which must stay small, loads this file
 * alone, by `vmProcessesModule`.
 */

/** The path of this file as it runs, for a process that loads nothing else of this lib. */
export const vmProcessesModule = __filename;

/** In a run folder: which process is its VM. */
export const identityFile = 'pid.json';

/** A process that cannot be confused with a later one of the same number: the kernel's boot and the start time (clock ticks since then) go with it. */
export interface ProcessIdentity {
  pid: number;
  startTime: string;
  bootId: string;
}

/** A VM by its run folder and its process. */
export interface VmProcess {
  folder: string;
  identity: ProcessIdentity;
}

/** Where the run folders of a host folder are. */
export function runRootOf(hostDir: string): string {
  return join(hostDir, 'run');
}

/** The identity of a process that runs now, or undefined. A zombie whose last thread has ended does not run. */
export async function identify(pid: number): Promise<ProcessIdentity | undefined> {
  const fields = await statOf(pid);
  return fields && { pid, startTime: fields[19] ?? '', bootId: await bootId() };
}

/** True while exactly this process runs. */
export async function isRunning(identity: ProcessIdentity): Promise<boolean> {
  const now = await identify(identity.pid);
  return now !== undefined && now.startTime === identity.startTime && now.bootId === identity.bootId;
}

/**
 * Every VM process of a host folder (a path without links): those that a run folder names and that still run, and those that are in a run folder and were not
 * written down, or whose folder is gone. The same process is named once.
 */
export async function findVmProcesses(hostDir: string): Promise<VmProcess[]> {
  const runRoot = runRootOf(hostDir);
  const found = new Map<number, VmProcess>();
  for (const name of await namesIn(runRoot)) {
    const folder = join(runRoot, name);
    const identity = runFolderName.test(name) ? await writtenDown(folder) : undefined;
    if (identity && (await isRunning(identity))) found.set(identity.pid, { folder, identity });
  }
  for (const { folder, identity } of await processesBelow(runRoot)) {
    if (!found.has(identity.pid)) found.set(identity.pid, { folder, identity });
  }
  return [...found.values()];
}

/** Sends SIGKILL to exactly this process; true when it was sent. Does not wait for its end. Throws EPERM for a process of a stranger. */
export async function sendKill(identity: ProcessIdentity): Promise<boolean> {
  if (!(await isRunning(identity))) return false;
  try {
    return process.kill(identity.pid, 'SIGKILL');
  } catch (error) {
    if (codeOf(error) === 'ESRCH') return false;
    throw error;
  }
}

/**
 * Processes that work in a run folder and were started as VMs are: leading a session of their own, without a terminal. Someone's shell in such a folder, and what is
 * started from it, is none.
 */
export async function processesBelow(runRoot: string): Promise<VmProcess[]> {
  const found: VmProcess[] = [];
  for (const name of await namesIn('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const folder = (await readlink(`/proc/${name}/cwd`).catch(() => '')).replace(/ \(deleted\)$/, '');
    if (!folder.startsWith(`${runRoot}/`) || !runFolderName.test(folder.slice(runRoot.length + 1))) continue;
    const pid = Number(name);
    const fields = await statOf(pid);
    const [session, terminal] = [fields?.[3], fields?.[4]];
    if (fields && session === name && terminal === '0') found.push({ folder, identity: { pid, startTime: fields[19] ?? '', bootId: await bootId() } });
  }
  return found;
}

const runFolderName = /^room_[0-9a-f]{20}\.\d+$/;

async function writtenDown(folder: string): Promise<ProcessIdentity | undefined> {
  try {
    const { process: named } = JSON.parse(await readFile(join(folder, identityFile), 'utf8')) as { process?: Partial<ProcessIdentity> };
    const { pid, startTime, bootId: boot } = named ?? {};
    const whole = Number.isInteger(pid) && Number(pid) > 1 && typeof startTime === 'string' && typeof boot === 'string';
    return whole ? (named as ProcessIdentity) : undefined;
  } catch {
    // Absent or damaged: the process, if there is one, shows itself.
    return undefined;
  }
}

/**
 * The fields of /proc/<pid>/stat from the third on (proc(5)): 0 state, 3 session, 4 terminal, 17 threads, 19 start time. Undefined for one that does not run: a zombie
 * without threads. As long as another thread is still on its way out, so are the files that they have open together, a room's disk among them.
 */
async function statOf(pid: number): Promise<string[] | undefined> {
  let stat: string;
  try {
    stat = await readFile(`/proc/${pid}/stat`, 'utf8');
  } catch (error) {
    if (codeOf(error) === 'ENOENT' || codeOf(error) === 'ESRCH') return undefined;
    throw error;
  }
  // The second field, a name in parentheses, may hold anything.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const over = fields[0] === 'X' || (fields[0] === 'Z' && Number(fields[17]) <= 1);
  return over ? undefined : fields;
}

let bootIdRead: Promise<string> | undefined;

/** Changes with every start of this machine's kernel. */
export function bootId(): Promise<string> {
  bootIdRead ??= readFile('/proc/sys/kernel/random/boot_id', 'utf8').then((text) => text.trim());
  return bootIdRead;
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return [];
    throw error;
  }
}

function codeOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException | null)?.code;
}
