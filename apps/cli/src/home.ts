import { randomBytes } from 'node:crypto';
import { mkdir, open, readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { errorCode, newId } from '@alcove/base';
import { z } from 'zod';
import { CliFailure, exitCodes } from './failure';

/** The folder that holds a platform's data. Everything of it survives `git pull`, `down` and wiped caches. */
export interface HomePaths {
  home: string;
  settings: string;
  rootKey: string;
  /** Signs receipts of erasures. */
  receiptKey: string;
  tls: string;
  postgres: string;
  /** The cluster of wraps. */
  keysPostgres: string;
  /** Templates and images. */
  store: string;
  /** The host agent's own: journal, lease, run folders of VMs. A short name, because sockets below it have paths of at most 107 bytes. */
  host: string;
  logs: string;
  status: string;
  developmentKey: string;
}

export function homePaths(home: string): HomePaths {
  return {
    home,
    settings: join(home, 'settings.json'),
    rootKey: join(home, 'keys', 'root.key'),
    receiptKey: join(home, 'keys', 'receipt.pem'),
    tls: join(home, 'tls'),
    postgres: join(home, 'postgres'),
    keysPostgres: join(home, 'keys-postgres'),
    store: join(home, 'store'),
    host: join(home, 'host'),
    logs: join(home, 'logs'),
    status: join(home, 'status.json'),
    developmentKey: join(home, 'keys', 'development.json'),
  };
}

const port = z.int().min(1).max(65_535);
/** `edge` and `keys` are absent from the settings of homes that were made before there was one. */
const KnownPorts = z.strictObject({ postgres: port, keys: port.optional(), api: port, internal: port, host: port, edge: port.optional() });
export type Ports = Required<z.infer<typeof KnownPorts>>;
const Settings = z.strictObject({
  version: z.literal(1),
  hostId: z.string().regex(/^host_[0-9a-f]{20}$/),
  databasePassword: z.string().min(32),
  appPassword: z.string().min(32),
  /** Of the cluster of wraps; absent from homes that were made before there was one. */
  keys: z.strictObject({ databasePassword: z.string().min(32), appPassword: z.string().min(32) }).optional(),
  platformKey: z.string().min(32),
  ports: KnownPorts.nullable(),
});
/** What setup drew once for this home. Holds secrets: mode 0600. */
export type Settings = z.infer<typeof Settings>;

/** Reads the settings; null when setup has not run here. Throws CliFailure (78) when the file is damaged. */
export async function readSettingsFile(paths: HomePaths): Promise<Settings | null> {
  try {
    return Settings.parse(JSON.parse(await readFile(paths.settings, 'utf8')));
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return null;
    throw new CliFailure(`${paths.settings} cannot be used`, { mend: 'put back a copy of it: it holds the passwords of the database beside it', exitCode: exitCodes.configuration, cause: error });
  }
}

/** Makes the home's folders, and its settings when it has none. Idempotent. */
export async function prepareHome(paths: HomePaths): Promise<{ settings: Settings; made: boolean }> {
  // Open to other users: the database and the VMs run as users of their own. What is secret below has a mode of its own.
  for (const folder of [paths.home, paths.store, paths.host, paths.logs]) await mkdir(folder, { recursive: true, mode: 0o755 });
  for (const folder of [join(paths.home, 'keys'), paths.tls]) await mkdir(folder, { recursive: true, mode: 0o700 });
  const known = await readSettingsFile(paths);
  if (known) return { settings: await withKeysPasswords(paths, known), made: false };
  const settings: Settings = {
    version: 1,
    hostId: newId('host'),
    databasePassword: randomBytes(24).toString('hex'),
    appPassword: randomBytes(24).toString('hex'),
    keys: drawPasswords(),
    platformKey: `ak_platform_${randomBytes(24).toString('hex')}`,
    ports: null,
  };
  await writeSettings(paths, settings);
  return { settings, made: true };
}

async function withKeysPasswords(paths: HomePaths, settings: Settings): Promise<Settings> {
  if (settings.keys) return settings;
  const drawn = { ...settings, keys: drawPasswords() };
  await writeSettings(paths, drawn);
  return drawn;
}

function drawPasswords(): { databasePassword: string; appPassword: string } {
  return { databasePassword: randomBytes(24).toString('hex'), appPassword: randomBytes(24).toString('hex') };
}

export async function writeSettings(paths: HomePaths, settings: Settings): Promise<void> {
  await writeWhole(paths.settings, `${JSON.stringify(settings, null, 2)}\n`, 0o600);
}

/** Writes a file so that a reader sees all of the old or all of the new, and a crash leaves one of them. */
export async function writeWhole(path: string, text: string, mode: number): Promise<void> {
  const beside = `${path}.${randomBytes(6).toString('hex')}.new`;
  const file = await open(beside, 'wx', mode);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(beside, path);
}
