import { execFile } from 'node:child_process';
import { access, chmod, chown, mkdir, mkdtemp, open, rename, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Cleanup, type Clock, type Log, systemRandom } from '@alcove/base';
import { guestProtocol, Problem, type TemplateManifest, TemplateRecipe } from '@alcove/contracts';
import { bootWithAttempts, kernelCommandLine } from '../drivers/qemu/boot-attempts';
import type { QemuEngine } from '../drivers/qemu/engine';
import { findProgram } from '../drivers/qemu/processes';
import { Vmm } from '../drivers/qemu/vmm';
import { asStoreProblem, syncFolder } from '../image/durable';
import { contentHash } from './content-hash';
import { manifestFile, templateFiles, templateIdOf } from './manifest';
import { TemplateStore } from './template-store';

const run = promisify(execFile);

const mebibyte = 2 ** 20;
/** The guest's clock while a template is captured stands this far in the past, so that libraries which reseed by time do it at the claim's clock step. */
const clockSetBackMs = 3 * 24 * 3600_000;

export interface BuildTemplateOrder {
  /** Holds vmlinuz, initrd.img, rootfs.erofs and disk.ext4 (rootfs/build-rootfs.sh makes them). */
  artefacts: string;
  /** The template becomes `<storeDir>/templates/<id>/`. */
  storeDir: string;
  recipe: TemplateRecipe;
  engine: QemuEngine;
  /** Translation cache of the emulator while it builds. */
  tbSizeMiB: number;
  /** The VMM runs as this user; null: as the own one. */
  uid: number | null;
  clock: Clock;
  log: Log;
}

export interface BuiltTemplate {
  manifest: TemplateManifest;
  folder: string;
  bootAttempts: number;
}

/**
 * Boots the artefacts until the guest says that it is ready, stops it there and keeps its memory and its devices' state as a template: content-addressed, read-only
 * data. Problems: `template.not_found` (an artefact is missing), `engine.missing`, `engine.failed`, `host.disk_full`.
 */
export async function buildTemplate(order: BuildTemplateOrder, progress: (step: string) => void): Promise<BuiltTemplate> {
  const recipe = TemplateRecipe.parse(order.recipe);
  const undo = new Cleanup();
  const folder = join(order.storeDir, 'templates', `.building-${systemRandom.bytes(8).toString('hex')}`);
  try {
    await mkdir(folder, { recursive: true, mode: 0o755 });
    undo.add('unfinished template', () => rm(folder, { recursive: true, force: true }));
    progress('copying the artefacts');
    await copyArtefacts(order.artefacts, folder);
    progress('booting');
    const captured = await capture(order, recipe, folder, progress);
    progress('hashing');
    const manifest = await describe(order, recipe, folder, captured.cloneSafe);
    progress('storing');
    const stored = await store(folder, manifest);
    await new TemplateStore(order.storeDir).remember(manifest);
    return { manifest, folder: stored, bootAttempts: captured.bootAttempts };
  } catch (error) {
    throw asStoreProblem(error);
  } finally {
    await undo.run();
  }
}

async function copyArtefacts(from: string, folder: string): Promise<void> {
  for (const name of ['vmlinuz', 'initrd.img', 'rootfs.erofs', 'disk.ext4']) {
    const source = join(from, name);
    await access(source).catch((error: unknown) => {
      throw new Problem('template.not_found', { detail: `${name} is missing among the template's artefacts`, cause: error });
    });
    // cp keeps holes, which copyFile does not.
    await run('cp', ['--sparse=always', '--reflink=auto', '--', source, join(folder, name)]);
    await chmod(join(folder, name), 0o644);
  }
}

/** Leaves `mem`, `state` and the used disk in the folder. */
async function capture(order: BuildTemplateOrder, recipe: TemplateRecipe, folder: string, progress: (step: string) => void): Promise<{ cloneSafe: boolean; bootAttempts: number }> {
  // Not in the store: its path may be too long for sockets.
  const runFolder = await mkdtemp(join(tmpdir(), 'alcove-build-'));
  const { vmm, guest, attempts } = await bootWithAttempts(async (attempt) => {
    if (attempt > 1) progress(`booting, attempt ${attempt}`);
    await freshFiles(order, recipe, folder);
    await rm(runFolder, { recursive: true, force: true });
    return Vmm.launch(launchOrder(order, recipe, folder, runFolder));
  }, order);
  try {
    progress('warming up');
    const { cloneSafe } = await guest.ready();
    progress('capturing');
    const pipe = await vmm.prepareSave();
    await guest.quiesce();
    await vmm.stop();
    // A template holds nothing secret: it may be a file.
    await writeFile(join(folder, 'state'), await pipe.save(vmm.monitor));
    await vmm.quit();
    guest.close();
    // Pages that were never used become holes: they take no space, and none of the page cache that all rooms share.
    await run(await findProgram('fallocate', 'util-linux'), ['--dig-holes', join(folder, 'mem')]);
    await cutZeros(join(folder, 'disk.ext4'));
    return { cloneSafe: cloneSafe && recipe.cloneSafe, bootAttempts: attempts };
  } finally {
    await vmm.kill();
    await rm(runFolder, { recursive: true, force: true });
  }
}

/** A disk's end of nothing need not be kept, nor be hashed on every host: a room's disk reads zeros beyond the end of what it stands on. */
async function cutZeros(path: string): Promise<void> {
  const file = await open(path, 'r+');
  try {
    const { size } = await file.stat();
    const block = Buffer.alloc(mebibyte);
    const zeros = Buffer.alloc(mebibyte);
    let end = size;
    for (; end > 0; end -= mebibyte) {
      const { bytesRead } = await file.read(block, 0, mebibyte, end - mebibyte);
      if (block.compare(zeros, 0, bytesRead, 0, bytesRead) !== 0) break;
    }
    await file.truncate(end);
  } finally {
    await file.close();
  }
}

/** Memory of zeros and the artefact's own disk: a boot that failed may have written to both. */
async function freshFiles(order: BuildTemplateOrder, recipe: TemplateRecipe, folder: string): Promise<void> {
  const memory = join(folder, 'mem');
  await rm(memory, { force: true });
  await (await open(memory, 'wx', 0o600)).close();
  await truncate(memory, recipe.size.memoryMiB << 20);
  const disk = join(folder, 'disk.ext4');
  await run('cp', ['--sparse=always', '--reflink=auto', '--', join(order.artefacts, 'disk.ext4'), disk]);
  if (order.uid === null) return;
  for (const path of [memory, disk]) await chown(path, order.uid, order.uid);
}

function launchOrder(order: BuildTemplateOrder, recipe: TemplateRecipe, folder: string, runFolder: string): Parameters<typeof Vmm.launch>[0] {
  const base = new Date(order.clock.now() - clockSetBackMs).toISOString().slice(0, 19);
  return {
    qemuPath: order.engine.qemuPath,
    shape: {
      name: `alcove-template-${recipe.name}`,
      accelerator: order.engine.accelerator,
      cpuModel: order.engine.cpuModel,
      memoryMiB: recipe.size.memoryMiB,
      vcpus: recipe.size.vcpus,
      tbSizeMiB: order.tbSizeMiB,
      memory: 'captured',
      disk: 'template',
      commandLine: kernelCommandLine(order.engine),
      clockBase: base,
    },
    folder: runFolder,
    files: {
      memory: join(folder, 'mem'),
      root: join(folder, 'rootfs.erofs'),
      disk: join(folder, 'disk.ext4'),
      kernel: join(folder, 'vmlinuz'),
      initrd: join(folder, 'initrd.img'),
    },
    uid: order.uid,
    clock: order.clock,
  };
}

async function describe(order: BuildTemplateOrder, recipe: TemplateRecipe, folder: string, cloneSafe: boolean): Promise<TemplateManifest> {
  const files: TemplateManifest['files'] = {};
  for (const name of templateFiles) files[name] = await contentHash(join(folder, name));
  const content: Omit<TemplateManifest, 'id'> = {
    version: 1,
    name: recipe.name,
    builtAt: new Date(order.clock.now()).toISOString(),
    cloneSafe,
    size: recipe.size,
    engine: {
      driver: 'qemu',
      build: order.engine.build,
      accelerator: order.engine.accelerator,
      cpuModel: order.engine.cpuModel,
      protocol: guestProtocol.version,
    },
    files,
    port: recipe.port,
    ...(recipe.onFork === undefined ? {} : { onFork: { command: recipe.onFork, user: recipe.user, cwd: recipe.cwd } }),
  };
  return { ...content, id: templateIdOf(content) };
}

/** Makes everything durable and read-only and gives it its name; returns the folder. */
async function store(folder: string, manifest: TemplateManifest): Promise<string> {
  await writeFile(join(folder, manifestFile), `${JSON.stringify(manifest, null, 2)}\n`);
  const own = process.getuid?.() ?? 0;
  for (const name of [...templateFiles, manifestFile]) {
    const path = join(folder, name);
    const handle = await open(path, 'r+');
    try {
      await handle.chown(own, process.getgid?.() ?? 0);
      await handle.chmod(0o444);
      await handle.sync();
    } finally {
      await handle.close();
    }
  }
  await syncFolder(folder);
  const final = join(folder, '..', manifest.id);
  await rename(folder, final);
  await syncFolder(join(final, '..'));
  return final;
}
