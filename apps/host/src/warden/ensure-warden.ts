import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { open, readdir, readFile, realpath } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { type Clock, limits, type Log } from '@alcove/base';
import { isRunning, vmProcessesModule } from '@alcove/runtime';
import type { WardenRules } from './decide';
import { readWarden, type WardenOrder } from './order';

/**
 * Of the margin, how much passes before the warden acts. A living agent has begun to end what it could not seal by then (its `sealingShare` is less), and what is left
 * is for the kernel to end the processes: the control plane counts lease and the whole margin, from a later moment.
 */
const graceShare = 0.75;
const idleMs = 60_000;

/** The interpreter's own: no compiler threads and little room for garbage. */
const smallNode = ['--single-threaded', '--max-semi-space-size=1', '--max-old-space-size=32'];

export interface WardenSettings {
  hostDir: string;
  leaseMs: number;
  leaseMarginMs: number;
}

/** What the warden of these settings is to do. Its version is a hash of its program and its rules. */
export async function wardenOrder(settings: WardenSettings): Promise<WardenOrder> {
  const rules: WardenRules = { leaseMsMax: settings.leaseMs, graceMs: settings.leaseMarginMs * graceShare, idleMs };
  const hash = createHash('sha256').update(JSON.stringify(rules));
  const own = (await readdir(__dirname)).filter((name) => /^[a-z-]+\.[jt]s$/.test(name)).sort();
  for (const path of [...own.map((name) => join(__dirname, name)), vmProcessesModule]) hash.update(await readFile(path));
  return { folder: await realpath(settings.hostDir), vmProcesses: vmProcessesModule, version: hash.digest('hex').slice(0, 16), rules };
}

/** Starts a warden unless the right one lives; it replaces a wrong one itself. Resolves true when one was started. It outlives this process, in a session of its own. */
export async function ensureWarden(order: WardenOrder): Promise<boolean> {
  const warden = await readWarden(order.folder);
  if (warden?.version === order.version && (await isRunning(warden.process))) return false;
  const logFile = await open(join(order.folder, 'warden.log'), 'a', 0o600);
  try {
    const program = join(__dirname, `main${extname(__filename)}`);
    const child = spawn(process.execPath, [...smallNode, ...process.execArgv, program, JSON.stringify(order)], {
      detached: true,
      env: {},
      stdio: ['ignore', 'ignore', logFile.fd],
    });
    await new Promise<void>((resolve, reject) => child.once('spawn', resolve).once('error', reject));
    child.unref();
    return true;
  } finally {
    await logFile.close();
  }
}

/** Sees to it that there is a warden as long as this process lives. A failure is said, and tried again. */
export async function keepWarden(order: WardenOrder, clock: Clock, log: Log, signal?: AbortSignal): Promise<void> {
  while (!signal?.aborted) {
    await ensureWarden(order).then(
      (started) => started && log.info({ version: order.version }, 'a warden was started'),
      (err: unknown) => log.error({ err }, 'the warden could not be started: nobody watches over the lease if this process ends'),
    );
    await clock.sleep(limits.host.heartbeatMs, signal).catch(() => undefined);
  }
}
