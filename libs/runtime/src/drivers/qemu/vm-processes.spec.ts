import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findVmProcesses, identify, identityFile, isRunning, type ProcessIdentity, runRootOf, sendKill } from './vm-processes';

const host = mkdtempSync(join(tmpdir(), 'alcove-vm-processes-'));
const children: ChildProcess[] = [];
afterAll(() => {
  for (const child of children) child.kill('SIGKILL');
  rmSync(host, { recursive: true, force: true });
});

async function runs(cwd: string, detached = true): Promise<ProcessIdentity> {
  const child = spawn('sleep', ['600'], { cwd, detached, stdio: 'ignore' });
  children.push(child);
  await once(child, 'spawn');
  return (await identify(child.pid as number)) as ProcessIdentity;
}
function runFolder(digit: string, incarnation: number, named?: ProcessIdentity): string {
  const folder = join(runRootOf(host), `room_${digit.repeat(20)}.${incarnation}`);
  mkdirSync(folder, { recursive: true });
  if (named) writeFileSync(join(folder, identityFile), JSON.stringify({ process: named }));
  return folder;
}

it('finds what is written down and what shows itself, and nobody else', async () => {
  const written = await runs('/');
  runFolder('1', 1, written);
  const young = await runs(runFolder('2', 7));
  const later = await runs('/');
  runFolder('3', 1, { ...later, startTime: '1' });
  runFolder('4', 1, { ...later, bootId: 'another boot' });
  const elsewhere = join(host, 'other');
  mkdirSync(elsewhere);
  await runs(elsewhere);
  await runs(runFolder('5', 1), false);
  const found = (await findVmProcesses(host)).map(({ identity }) => identity.pid);
  expect(found.sort()).toEqual([written.pid, young.pid].sort());
});

it('finds a VM whose folder is gone', async () => {
  const folder = runFolder('6', 1);
  const vm = await runs(folder);
  rmSync(folder, { recursive: true });
  expect((await findVmProcesses(host)).map(({ identity }) => identity.pid)).toContain(vm.pid);
});

it('ends exactly the process that was meant', async () => {
  const vm = await runs('/');
  const child = children.at(-1) as ChildProcess;
  expect(await sendKill({ ...vm, startTime: '1' })).toBe(false);
  expect(await isRunning(vm)).toBe(true);
  expect(await sendKill(vm)).toBe(true);
  await (child.signalCode === null ? once(child, 'exit') : null);
  expect(await isRunning(vm)).toBe(false);
});
