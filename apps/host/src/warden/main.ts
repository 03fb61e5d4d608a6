import { writeSync } from 'node:fs';
import { access, rename, writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
// Types only: this process must stay small, and loads no lib through its door.
import type * as runtime from '@alcove/runtime';
import { bootTime } from './boot-time';
import { isLocked, takeLock } from './folder-lock';
import { expiryOf, machineBootId, readLease } from './lease-file';
import { readWarden, type WardenOrder, type WardenRecord, wardenPath } from './order';
import { watchOver, type WardenHands } from './watch';

type VmProcesses = Pick<typeof runtime, 'findVmProcesses' | 'identify' | 'isRunning' | 'sendKill'>;

/** EX_TEMPFAIL of sysexits.h: another warden has the folder. */
const takenExitCode = 75;

/** Standard error is a file beside the lease; a full disk must not end the warden. */
function log(event: Record<string, unknown>, message: string): void {
  const line = { time: Math.round(performance.timeOrigin + performance.now()), pid: process.pid, ...event, msg: message };
  try {
    writeSync(2, `${JSON.stringify(line)}\n`);
  } catch {
    // Nobody is left to tell.
  }
}

/** Makes this process the warden of the folder: one of another version ends first. False when there is a warden already. */
async function takeOver(order: WardenOrder, vms: VmProcesses): Promise<boolean> {
  const before = await readWarden(order.folder);
  if (before && (await vms.isRunning(before.process))) {
    if (before.version === order.version) return false;
    await vms.sendKill(before.process);
    while (await vms.isRunning(before.process)) await sleep(5);
  }
  const lock = await takeLock('warden', order.folder);
  const self = await vms.identify(process.pid);
  if (!lock || !self) return false;
  const record: WardenRecord = { version: order.version, process: self };
  await writeFile(`${wardenPath(order.folder)}.new`, JSON.stringify(record), { mode: 0o600 });
  await rename(`${wardenPath(order.folder)}.new`, wardenPath(order.folder));
  return true;
}

async function handsFor(order: WardenOrder, vms: VmProcesses): Promise<WardenHands<runtime.VmProcess>> {
  const now = bootTime();
  const bootId = await machineBootId();
  return {
    now,
    sleep: (ms) => sleep(ms),
    readExpiry: async () => expiryOf(await readLease(order.folder), { machineBootId: bootId, now: now(), leaseMsMax: order.rules.leaseMsMax }),
    findVms: () => vms.findVmProcesses(order.folder),
    end: async (vm) => {
      await vms.sendKill(vm.identity);
    },
    agentLives: () => isLocked('host', order.folder),
    folderExists: () => access(order.folder).then(
      () => true,
      () => false,
    ),
    log,
  };
}

async function main(): Promise<void> {
  const order = JSON.parse(process.argv[2] ?? '') as WardenOrder;
  const vms = require(order.vmProcesses) as VmProcesses;
  if (!(await takeOver(order, vms))) {
    process.exitCode = takenExitCode;
    return;
  }
  process.on('uncaughtException', (err) => log({ err: String(err) }, 'a failure of the warden itself; it goes on'));
  await watchOver(await handsFor(order, vms), order.rules);
  process.exit(0);
}

main().catch((err: unknown) => {
  log({ err: String(err) }, 'the warden cannot go on');
  process.exit(1);
});
