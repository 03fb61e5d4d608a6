/**
 * The warden over a real host agent: whatever becomes of the agent, no VM outlives the lease, and while the agent lives nothing is touched. The VMs are stand-ins:
 * processes that run where a VMM would.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { identify, isRunning, type ProcessIdentity, sendKill } from '@alcove/runtime';
import { bootTime } from '../../apps/host/src/warden/boot-time';
import { readLease } from '../../apps/host/src/warden/lease-file';
import { readWarden } from '../../apps/host/src/warden/order';
import { HostProcess, until } from './host-harness';

jest.setTimeout(120_000);
const leaseMs = 3_000;
const marginMs = 1_000;
const now = bootTime();
const host = new HostProcess();
host.control.leaseMs = leaseMs;
const folder = join(host.folder, 'host');
const settings = {
  ALCOVE_DRIVER: 'qemu',
  // Nothing is booted here.
  ALCOVE_QEMU: '/nonexistent/qemu',
  ALCOVE_LEASE_MARGIN_MS: String(marginMs),
  // The agent itself must not take the stand-ins for orphans.
  ALCOVE_ORPHAN_GRACE_MS: '600000',
};
const standIns: ChildProcess[] = [];
let rooms = 0;

afterAll(async () => {
  for (const child of standIns) child.kill('SIGKILL');
  const warden = await readWarden(folder);
  if (warden) await sendKill(warden.process);
  await host.stop();
});

/** A process in a run folder; written down as the driver does, or as young as a VM that is not. */
async function standIn(written: boolean, cwd?: string): Promise<ProcessIdentity> {
  const run = join(folder, 'run', `room_${String(rooms++).padStart(20, '0')}.1`);
  mkdirSync(run, { recursive: true });
  const child = spawn('sleep', ['600'], { cwd: cwd ?? run, detached: true, stdio: 'ignore' });
  standIns.push(child);
  await once(child, 'spawn');
  const identity = (await identify(child.pid as number)) as ProcessIdentity;
  if (written) writeFileSync(join(run, 'pid.json'), JSON.stringify({ process: identity }));
  return identity;
}
/** Neither number nor folder makes a process a VM. */
async function stranger(): Promise<ProcessIdentity> {
  const identity = await standIn(false, host.folder);
  const run = join(folder, 'run', `room_${String(rooms++).padStart(20, '0')}.1`);
  mkdirSync(run, { recursive: true });
  writeFileSync(join(run, 'pid.json'), JSON.stringify({ process: { ...identity, startTime: '1' } }));
  return identity;
}
const expiry = async () => (await readLease(folder))?.expiresAt ?? 0;
const someRun = async (all: ProcessIdentity[]) => (await Promise.all(all.map(isRunning))).some(Boolean);
/** The warden that is alive, or null. */
async function warden(): Promise<ProcessIdentity | null> {
  const record = await readWarden(folder);
  return record && (await isRunning(record.process)) ? record.process : null;
}
async function liveHost(change: Record<string, string> = {}): Promise<ProcessIdentity> {
  await host.start({ ...settings, ...change });
  await host.ready();
  await until(async () => (await warden()) !== null);
  return (await warden()) as ProcessIdentity;
}

it('does nothing while the agent lives, and is the same for the next agent', async () => {
  const first = await liveHost();
  const vms = [await standIn(true), await standIn(false)];
  const begun = await expiry();
  await until(async () => (await expiry()) > begun + 2 * (leaseMs + marginMs));
  expect(await Promise.all(vms.map(isRunning))).toEqual([true, true]);
  await host.kill('SIGTERM');
  expect(await liveHost()).toEqual(first);
  expect(await Promise.all(vms.map(isRunning))).toEqual([true, true]);
});

it('ends the VMs of an agent that was killed, not before its lease is over, and nobody else', async () => {
  const vms = [await standIn(true), await standIn(false)];
  const other = await stranger();
  await host.kill('SIGKILL');
  await until(async () => !(await someRun(vms)));
  expect(now()).toBeGreaterThan(await expiry());
  expect(await isRunning(other)).toBe(true);
  expect(await warden()).not.toBeNull();
});

it('ends the VMs of an agent that is frozen, and leaves those alone that it has when it is awake again', async () => {
  await liveHost();
  const vms = [await standIn(true), await standIn(false)];
  host.child?.kill('SIGSTOP');
  await until(async () => !(await someRun(vms)));
  expect(now()).toBeGreaterThan(await expiry());
  host.child?.kill('SIGCONT');
  await until(async () => (await expiry()) > now());
  const vm = await standIn(true);
  const begun = await expiry();
  await until(async () => (await expiry()) > begun + 2 * (leaseMs + marginMs));
  expect(await isRunning(vm)).toBe(true);
});

it('is replaced when its rules change, and started again when it dies', async () => {
  const first = (await warden()) as ProcessIdentity;
  await host.kill('SIGTERM');
  await host.start({ ...settings, ALCOVE_LEASE_MARGIN_MS: String(marginMs + 1) });
  await until(async () => !(await isRunning(first)) && (await warden()) !== null);
  const second = (await warden()) as ProcessIdentity;
  await sendKill(second);
  await until(async () => ![null, second.pid].includes((await warden())?.pid ?? null));
});

it('leaves a folder that has neither agent nor VM, and is there once', async () => {
  await host.kill('SIGKILL');
  const last = (await warden()) as ProcessIdentity;
  await sendKill(last);
  for (const child of standIns) child.kill('SIGKILL');
  const root = resolve(__dirname, '../..');
  const start = () => {
    const args = ['--no-warnings', '--import', join(__dirname, 'host-run-sources.ts'), join(root, 'apps/host/src/warden/main.ts')];
    const rules = { leaseMsMax: leaseMs, graceMs: marginMs, idleMs: 500 };
    const argument = JSON.stringify({ folder, vmProcesses: join(root, 'libs/runtime/src/drivers/qemu/vm-processes.ts'), version: 'short', rules });
    return spawn(process.execPath, [...args, argument], { cwd: root, env: {}, stdio: 'inherit' });
  };
  const ends = await Promise.all([start(), start()].map(async (child) => ((await once(child, 'exit')) as [number])[0]));
  expect(ends.sort()).toEqual([0, 75]);
});
