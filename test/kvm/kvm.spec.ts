/**
 * The KVM path on a machine that has none: an emulated PC whose processor has AMD's virtualisation extension boots Debian, loads kvm-amd, and runs the QEMU driver
 * with `-accel kvm` for real. Slow and true. Needs the artefacts that `./alcove setup` built.
 */
import { execFile, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { chmod, cp, mkdir, mkdtemp, readFile, rm, truncate } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { builtTemplate } from '../built-template';
import { environment } from '../test.config';
import { steps } from './steps';

jest.setTimeout(1_500_000);
const run = promisify(execFile);
const root = resolve(__dirname, '../..');
let console_: string[] = [];

/** node_modules that the program needs: what libs/base and libs/contracts depend on, with their own dependencies. */
async function copyPackages(to: string): Promise<void> {
  const { stdout } = await run('npm', ['ls', 'zod', 'pino', '--all', '--parseable', '--omit=dev'], { cwd: root });
  const wanted = new Set(['zod', 'pino']);
  const lock = JSON.parse(await readFile(join(root, 'package-lock.json'), 'utf8')) as { packages: Record<string, { dependencies?: Record<string, string> }> };
  for (const name of wanted) for (const dependency of Object.keys(lock.packages[`node_modules/${name}`]?.dependencies ?? {})) wanted.add(dependency);
  expect(stdout).toContain('zod');
  for (const name of wanted) await cp(join(root, 'node_modules', name), join(to, name), { recursive: true });
}

/** One read-only disk with Node, the compiled driver and the guest's artefacts. */
async function makeProgramDisk(work: string): Promise<string> {
  const tree = join(work, 'tree');
  await mkdir(join(tree, 'artefacts'), { recursive: true });
  await cp(process.execPath, join(tree, 'node'));
  for (const folder of ['libs', 'test', 'node_modules']) await cp(join(root, 'dist', folder), join(tree, 'dist', folder), { recursive: true });
  await copyPackages(join(tree, 'node_modules'));
  // A template holds the artefacts that it was made of; its disk ends where there are only zeros.
  const template = builtTemplate();
  if (!template) throw new Error('no template: run ./alcove setup first');
  const artefacts = template.folder;
  for (const file of ['vmlinuz', 'initrd.img', 'rootfs.erofs', 'disk.ext4']) await run('cp', ['--sparse=always', join(artefacts, file), join(tree, 'artefacts', file)]);
  await chmod(join(tree, 'artefacts/disk.ext4'), 0o644);
  await truncate(join(tree, 'artefacts/disk.ext4'), template.manifest.size.diskMiB * 2 ** 20);
  await cp(join(root, 'rootfs/templates/default/alcove.template.json'), join(tree, 'artefacts/template.json'));
  const disk = join(work, 'program.erofs');
  await run('mkfs.erofs', ['--quiet', '-zlz4', disk, tree]);
  return disk;
}

async function bootOuter(outer: string, program: string): Promise<string[]> {
  const machine = ['-M', 'q35', '-accel', 'tcg,thread=multi', '-cpu', 'max', '-smp', '2', '-m', '4096', '-nodefaults', '-no-user-config', '-display', 'none', '-serial', 'stdio', '-no-reboot'];
  const boot = ['-kernel', join(outer, 'vmlinuz'), '-initrd', join(outer, 'initrd.img'), '-append', 'console=ttyS0 root=/dev/vda rw init=/outer-init panic=-1 quiet'];
  const disks = ['-drive', `file=${join(outer, 'outer.ext4')},format=raw,if=virtio,snapshot=on`, '-drive', `file=${program},format=raw,if=virtio,readonly=on`];
  const child = spawn('qemu-system-x86_64', [...machine, ...boot, ...disks], { stdio: ['ignore', 'pipe', 'inherit'] });
  const watchdog = setTimeout(() => child.kill('SIGKILL'), 1_200_000);
  const lines: string[] = [];
  let rest = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    const parts = (rest + chunk).split(/\r?\n/);
    rest = parts.pop() ?? '';
    lines.push(...parts);
  });
  await once(child, 'exit');
  clearTimeout(watchdog);
  return lines;
}

beforeAll(async () => {
  const recipe = await Promise.all(['build-outer.sh', 'outer-init.sh'].map((name) => readFile(join(__dirname, name))));
  const key = createHash('sha256').update(Buffer.concat(recipe)).digest('hex').slice(0, 16);
  const outer = join(environment.cacheFolder, `kvm-host-${key}`);
  await run('bash', [join(__dirname, 'build-outer.sh'), outer], { maxBuffer: 1 << 24 });
  const work = await mkdtemp(join(tmpdir(), 'alcove-kvm-'));
  try {
    console_ = await bootOuter(outer, await makeProgramDisk(work));
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}, 1_500_000);

it.each(steps)('%s', (step) => {
  const said = console_.filter((line) => line.includes(`ok - ${step}`));
  expect(said.length === 1 ? said : console_.slice(-40)).toEqual([expect.stringMatching(/^ok - /)]);
});
