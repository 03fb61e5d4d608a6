import { access, constants, readdir, readFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { errorCode } from '@alcove/base';
import { plainEnvironment } from '../cli.config';
import { runProgram } from '../run-program';

/** A program (or a file) that setup or rooms need, and the Debian package that brings it. */
export interface Need {
  program?: string;
  file?: string;
  debianPackage: string;
  onlyWithoutRoot?: boolean;
}

/** What `./alcove test --all` needs beside. */
export const redisNeed: Need = { program: 'redis-server', debianPackage: 'redis-server' };

const needs: Need[] = [
  { program: 'qemu-system-x86_64', debianPackage: 'qemu-system-x86' },
  { program: 'qemu-img', debianPackage: 'qemu-utils' },
  { program: 'mmdebstrap', debianPackage: 'mmdebstrap' },
  { program: 'mkfs.erofs', debianPackage: 'erofs-utils' },
  { program: 'mkfs.ext4', debianPackage: 'e2fsprogs' },
  // Debian's own, by its path: a newer one of somebody's on the PATH would build other bytes.
  { file: '/usr/bin/rustc', debianPackage: 'rustc' },
  { program: 'gcc', debianPackage: 'gcc' },
  { file: '/usr/include/stdio.h', debianPackage: 'libc6-dev' },
  { program: 'zstd', debianPackage: 'zstd' },
  { program: 'cpio', debianPackage: 'cpio' },
  { program: 'depmod', debianPackage: 'kmod' },
  { program: 'openssl', debianPackage: 'openssl' },
  { file: '/usr/share/keyrings/debian-archive-keyring.gpg', debianPackage: 'debian-archive-keyring' },
  { program: 'newuidmap', debianPackage: 'uidmap', onlyWithoutRoot: true },
];

/** Device state can be restored from a private file mapping since QEMU 8.2. */
export const oldestQemu = [8, 2] as const;

/** Where a program is, looked for where administrators' programs are too, or null. */
export async function findProgram(name: string): Promise<string | null> {
  for (const folder of [...(plainEnvironment()['PATH'] ?? '').split(delimiter), '/usr/local/sbin', '/usr/sbin', '/sbin']) {
    const candidate = join(folder || '.', name);
    if (await isExecutable(candidate)) return candidate;
  }
  return null;
}

async function isExecutable(path: string): Promise<boolean> {
  return access(path, constants.X_OK).then(
    () => true,
    () => false,
  );
}

/** QEMU's version as numbers, or null when it is not there or does not start. */
export async function qemuVersion(): Promise<number[] | null> {
  const program = await findProgram('qemu-system-x86_64');
  if (!program) return null;
  const text = await runProgram(program, ['--version']).catch(() => '');
  return parseQemuVersion(text);
}

export function parseQemuVersion(text: string): number[] | null {
  const found = /version (\d+)\.(\d+)(?:\.(\d+))?/.exec(text);
  return found ? found.slice(1).map((part) => Number(part ?? 0)) : null;
}

export function isAtLeast(version: readonly number[], wanted: readonly number[]): boolean {
  for (const [index, part] of wanted.entries()) {
    const have = version[index] ?? 0;
    if (have !== part) return have > part;
  }
  return true;
}

/** The packages that are missing on this machine; qemu-system-x86 also when it is too old. */
export async function missingPackages(asRoot: boolean, more: Need[] = []): Promise<string[]> {
  const missing: string[] = [];
  for (const need of [...needs, ...more]) {
    if (need.onlyWithoutRoot && asRoot) continue;
    const present = need.program ? (await findProgram(need.program)) !== null : await readable(need.file ?? '');
    if (!present) missing.push(need.debianPackage);
  }
  const version = missing.includes('qemu-system-x86') ? null : await qemuVersion();
  if (version && !isAtLeast(version, oldestQemu)) missing.unshift('qemu-system-x86');
  return missing;
}

async function readable(path: string): Promise<boolean> {
  return access(path, constants.R_OK).then(
    () => true,
    () => false,
  );
}

export interface Distribution {
  id: string;
  version: string;
  name: string;
}

/** What /etc/os-release says this machine runs. */
export async function distribution(): Promise<Distribution> {
  return parseOsRelease(await readFile('/etc/os-release', 'utf8').catch(() => ''));
}

export function parseOsRelease(text: string): Distribution {
  const value = (key: string): string => new RegExp(`^${key}="?([^"\\n]*)"?$`, 'm').exec(text)?.[1] ?? '';
  return { id: value('ID'), version: value('VERSION_ID'), name: value('PRETTY_NAME') || 'an unknown system' };
}

/** What has to be done about the missing packages: commands to run as root, each said before it runs. */
export interface InstallPlan {
  packages: string[];
  /** An apt source that is added first, or null. */
  source: { file: string; line: string } | null;
  commands: string[][];
}

const backportsFile = '/etc/apt/sources.list.d/alcove-backports.list';

/**
 * Plans the installation. Debian 12 has QEMU 7.2, which is too old, so QEMU comes from bookworm-backports there. `knownSources` is the text of apt's present
 * sources: the mirror that they name is used for the new line. Null when the system has no apt that we know.
 */
export function planInstallation(missing: string[], system: Distribution, knownSources: string): InstallPlan | null {
  if (system.id !== 'debian' && system.id !== 'ubuntu') return null;
  const install = ['apt-get', 'install', '--yes', '--no-install-recommends'];
  const needsBackports = system.id === 'debian' && system.version === '12';
  const fromBackports = needsBackports ? missing.filter((name) => name.startsWith('qemu-')) : [];
  const ordinary = missing.filter((name) => !fromBackports.includes(name));
  const addSource = fromBackports.length > 0 && !/\bbookworm-backports\b/.test(knownSources);
  const commands = [['apt-get', 'update']];
  if (ordinary.length > 0) commands.push([...install, ...ordinary]);
  if (fromBackports.length > 0) commands.push([...install, '--target-release', 'bookworm-backports', ...fromBackports]);
  const mirror = /https?:\/\/\S*\/debian(?=\/?\s|\/?$)/m.exec(knownSources)?.[0] ?? 'http://deb.debian.org/debian';
  return { packages: missing, source: addSource ? { file: backportsFile, line: `deb ${mirror} bookworm-backports main` } : null, commands };
}

/** The text of all apt sources of this machine. */
export async function aptSources(): Promise<string> {
  const folder = '/etc/apt/sources.list.d';
  const names = await readdir(folder).catch((error: unknown) => {
    if (errorCode(error) === 'ENOENT') return [];
    throw error;
  });
  const files = ['/etc/apt/sources.list', ...names.filter((name) => /\.(list|sources)$/.test(name)).map((name) => join(folder, name))];
  const texts = await Promise.all(files.map((file) => readFile(file, 'utf8').catch(() => '')));
  return texts.join('\n').replace(/^\s*#.*$/gm, '');
}
