import { readFile, readlink, stat, statfs } from 'node:fs/promises';
import { userInfo } from 'node:os';
import { dirname } from 'node:path';
import { isAtLeast, missingPackages, oldestQemu, qemuVersion } from '../setup/machine-packages';
import type { Context } from '../context';
import { exitCodes, messageOf } from '../failure';
import { readSettingsFile } from '../home';
import { isFree } from '../platform/ports';
import { readLiveStatus } from '../supervisor/status-file';
import type { Style } from '../terminal';
import { edgeFinding } from './edge';
import { engineFindings } from './engine';
import { anyFailed, judgeDisk, judgeLimits, judgeMemory, judgePtrace, judgeReach, judgeSwap, ok, swapDevices, type Finding } from './findings';

const oldestNode = [24, 9];

/** Looks at everything that rooms need of this machine. Prints findings with their mends; exit code 1 when one of them stops rooms from running. */
export async function examine(context: Context, json: boolean): Promise<number> {
  const checks: { name: string; look: () => Promise<Finding[]> }[] = [
    { name: 'processor', look: async () => [processor()] },
    { name: 'node', look: async () => [node()] },
    { name: 'machine packages', look: async () => [await packages(context)] },
    { name: 'qemu', look: async () => [await qemu()] },
    { name: 'virtual machine', look: () => engineFindings(context) },
    { name: 'memory', look: async () => [await memory()] },
    { name: 'disk', look: () => disks(context) },
    { name: 'home folder', look: async () => [judgeReach(context.config.home, context.config.asRoot ? await closedFolder(context.config.home) : null)] },
    { name: 'ptrace', look: async () => [judgePtrace(await numberIn('/proc/sys/kernel/yama/ptrace_scope'), context.config.asRoot)] },
    { name: 'user limits', look: async () => [judgeLimits(await readFile('/proc/self/limits', 'utf8'))] },
    { name: 'user namespaces', look: async () => [await namespaces(context)] },
    { name: 'swap', look: async () => [await swap()] },
    { name: 'ports', look: async () => [await ports(context)] },
    { name: 'edge', look: async () => [await edgeFinding(context)] },
  ];
  const findings: Finding[] = [];
  for (const { name, look } of checks) {
    const found = await look().catch((error: unknown): Finding[] => [{ name, level: 'warn', detail: `could not be looked at: ${messageOf(error)}` }]);
    findings.push(...found);
    if (!json) for (const finding of found) context.print(line(finding, context.style));
  }
  if (json) context.print(JSON.stringify({ ok: !anyFailed(findings), findings }, null, 2));
  else context.print(verdict(findings));
  return anyFailed(findings) ? exitCodes.failed : exitCodes.ok;
}

function line(finding: Finding, style: Style): string {
  const mark = { ok: style.green('✓'), warn: style.yellow('!'), fail: style.red('✗') }[finding.level];
  const mend = finding.mend ? `\n    ${' '.repeat(19)}${style.dim(finding.mend)}` : '';
  return `  ${mark} ${finding.name.padEnd(20)} ${finding.detail}${mend}`;
}

function verdict(findings: Finding[]): string {
  const warnings = findings.filter((finding) => finding.level === 'warn').length;
  if (anyFailed(findings)) return '\n  Rooms cannot run here until what is marked ✗ is mended.\n';
  return `\n  Rooms can run here${warnings > 0 ? `, with ${warnings === 1 ? 'a warning' : `${warnings} warnings`}` : ''}.\n`;
}

function processor(): Finding {
  if (process.arch === 'x64') return ok('processor', 'x86_64');
  return { name: 'processor', level: 'fail', detail: process.arch, mend: 'rooms run on x86_64 only for now' };
}

function node(): Finding {
  const version = process.versions.node.split('.').map(Number);
  if (isAtLeast(version, oldestNode)) return ok('node', process.version);
  return { name: 'node', level: 'fail', detail: process.version, mend: './alcove setup fetches Node.js 24' };
}

async function packages(context: Context): Promise<Finding> {
  const missing = await missingPackages(context.config.asRoot);
  if (missing.length === 0) return ok('machine packages', 'all there');
  return { name: 'machine packages', level: 'fail', detail: `missing: ${missing.join(' ')}`, mend: './alcove setup installs them' };
}

async function qemu(): Promise<Finding> {
  const version = await qemuVersion();
  if (version && isAtLeast(version, oldestQemu)) return ok('qemu', version.join('.'));
  return { name: 'qemu', level: 'fail', detail: version ? `${version.join('.')} is too old` : 'not installed', mend: `QEMU ${oldestQemu.join('.')} or newer: ./alcove setup` };
}

async function memory(): Promise<Finding> {
  const text = await readFile('/proc/meminfo', 'utf8');
  const bytes = (key: string): number => Number(new RegExp(`^${key}:\\s+(\\d+) kB`, 'm').exec(text)?.[1] ?? 0) * 1024;
  return judgeMemory(bytes('MemTotal'), bytes('MemAvailable'));
}

async function disks(context: Context): Promise<Finding[]> {
  const free = async (folder: string): Promise<number> => {
    const { bavail, bsize } = await statfs(await nearestFolder(folder));
    return bavail * bsize;
  };
  const { home, cache } = context.config;
  return [judgeDisk('disk for data', home, await free(home)), judgeDisk('disk for caches', cache, await free(cache))];
}

/** The folder itself, or the first of its parents that is there. */
async function nearestFolder(path: string): Promise<string> {
  const there = await stat(path).catch(() => null);
  return there ? path : nearestFolder(dirname(path));
}

/** The first folder on the way to the home that other users cannot enter, or null. */
async function closedFolder(home: string): Promise<string | null> {
  for (let folder = await nearestFolder(home); folder !== dirname(folder); folder = dirname(folder)) {
    if (((await stat(folder)).mode & 0o001) === 0) return folder;
  }
  return null;
}

async function numberIn(path: string): Promise<number | null> {
  const text = await readFile(path, 'utf8').catch(() => null);
  return text === null ? null : Number(text.trim());
}

/** Without root, the root file system is built in a user namespace. */
async function namespaces(context: Context): Promise<Finding> {
  const name = 'user namespaces';
  if (context.config.asRoot) return ok(name, 'not needed: running as root');
  const forbidden = (await numberIn('/proc/sys/kernel/unprivileged_userns_clone')) === 0 || (await numberIn('/proc/sys/user/max_user_namespaces')) === 0;
  if (forbidden) return { name, level: 'warn', detail: 'forbidden for ordinary users: templates cannot be built', mend: 'sudo sysctl kernel.unprivileged_userns_clone=1' };
  if ((await numberIn('/proc/sys/kernel/apparmor_restrict_unprivileged_userns')) === 1) {
    return { name, level: 'warn', detail: 'restricted by AppArmor: building templates may fail', mend: 'sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0' };
  }
  const ranges = await readFile('/etc/subuid', 'utf8').catch(() => '');
  const { username, uid } = userInfo();
  if (!new RegExp(`^(${username}|${uid}):`, 'm').test(ranges)) return { name, level: 'warn', detail: `${username} has no range in /etc/subuid: templates cannot be built`, mend: `sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 ${username}` };
  return ok(name, 'allowed');
}

async function swap(): Promise<Finding> {
  const devices = swapDevices(await readFile('/proc/swaps', 'utf8').catch(() => ''));
  return judgeSwap(await Promise.all(devices.map(async (device) => ({ device, encrypted: await holdsNoPlainText(device) }))));
}

/** zram stays in memory; device-mapper names its kind in sysfs (`CRYPT-…` for dm-crypt). */
async function holdsNoPlainText(device: string): Promise<boolean> {
  const target = await readlink(device).catch(() => device);
  const kernelName = target.split('/').pop() ?? '';
  if (kernelName.startsWith('zram')) return true;
  const uuid = await readFile(`/sys/block/${kernelName}/dm/uuid`, 'utf8').catch(() => '');
  return uuid.startsWith('CRYPT-');
}

async function ports(context: Context): Promise<Finding> {
  const settings = await readSettingsFile(context.paths);
  if (!settings?.ports) return ok('ports', 'chosen free at the first start');
  if (await readLiveStatus(context.paths.status)) return ok('ports', `in use by this platform: ${Object.values(settings.ports).join(' ')}`);
  const taken: number[] = [];
  for (const port of Object.values(settings.ports)) if (!(await isFree(port))) taken.push(port);
  if (taken.length === 0) return ok('ports', Object.values(settings.ports).join(' '));
  return { name: 'ports', level: 'warn', detail: `in use by another program: ${taken.join(' ')}`, mend: 'nothing to do: ./alcove up takes others and says so' };
}
