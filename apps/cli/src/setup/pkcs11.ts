import { randomBytes } from 'node:crypto';
import { access, copyFile, mkdir, readFile, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Context } from '../context';
import { runProgram } from '../run-program';
import type { Need } from './machine-packages';

/** What building pkcs11js takes. The headers of Node-API come with the Node.js of the checkout. */
export const pkcs11Needs: Need[] = [{ program: 'g++', debianPackage: 'g++' }];

/**
 * Compiles pkcs11js, the binding to PKCS#11 libraries, into the cache and resolves with its folder (`addon` in a key provider's settings). Npm does not do it, because
 * packages are installed without their scripts, and few need it. One call of the compiler in place of node-gyp: three files, no library.
 */
export async function ensurePkcs11(context: Context): Promise<string> {
  const { config, progress } = context;
  const source = join(config.root, 'node_modules/pkcs11js');
  const { version } = JSON.parse(await readFile(join(source, 'package.json'), 'utf8')) as { version: string };
  const folder = join(config.cache, `pkcs11js-${version}-${process.arch}`);
  if (await exists(folder)) {
    progress.same('PKCS#11 binding', folder);
    return folder;
  }
  await progress.step('PKCS#11 binding', () => build(source, folder, dirname(dirname(process.execPath))), () => folder);
  return folder;
}

async function build(source: string, folder: string, node: string): Promise<void> {
  const beside = `${folder}.${randomBytes(6).toString('hex')}.new`;
  const addon = join(beside, 'build/Release/pkcs11.node');
  try {
    await mkdir(dirname(addon), { recursive: true });
    const sources = ['dl', 'common', 'main'].map((name) => join(source, 'src', `${name}.cpp`));
    const flags = ['-O2', '-std=c++17', '-shared', '-fPIC', '-DNAPI_DISABLE_CPP_EXCEPTIONS', '-DBUILDING_NODE_EXTENSION', '-DNODE_GYP_MODULE_NAME=pkcs11'];
    await runProgram('g++', [...flags, `-I${join(source, 'includes')}`, `-I${join(node, 'include/node')}`, ...sources, '-o', addon, '-ldl']);
    for (const name of ['index.js', 'package.json', 'LICENSE']) await copyFile(join(source, name), join(beside, name));
    await rename(beside, folder).catch(async (error: unknown) => {
      // Another setup was first.
      if (!(await exists(folder))) throw error;
    });
  } finally {
    await rm(beside, { recursive: true, force: true });
  }
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
