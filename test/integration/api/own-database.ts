import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { migrate } from '@alcove/db';
import { migrateJobs } from '@alcove/jobs';
import { Client } from 'pg';

/**
 * A database of its own for a suite, on the tests' server: hosts and reconcilers see every tenant's rooms, so suites that run them cannot share one. Resolves
 * with the connection string of the application's role.
 */
export async function ownDatabase(): Promise<string> {
  return make('prisma/migrations', migrateJobs);
}

/** A database of wraps of its own for a suite. Resolves as ownDatabase. */
export async function ownKeysDatabase(): Promise<string> {
  return make('prisma/keys-migrations');
}

async function make(migrations: string, furnish: (ownerUrl: string) => Promise<unknown> = async () => undefined): Promise<string> {
  const [ownerUrl, appUrl] = [process.env['TEST_DB_OWNER_URL'], process.env['TEST_DB_URL']];
  if (!ownerUrl || !appUrl) throw new Error('TEST_DB_URL is not set: run this suite under a project with Postgres');
  const name = `api_${randomBytes(6).toString('hex')}`;
  const client = new Client({ connectionString: ownerUrl });
  await client.connect();
  await client.query(`create database ${name}`);
  await client.end();
  const [owner, app] = [new URL(ownerUrl), new URL(appUrl)];
  owner.pathname = app.pathname = `/${name}`;
  await migrate({ ownerUrl: owner.href, folder: join(__dirname, '../../..', migrations), appPassword: decodeURIComponent(app.password) });
  await furnish(owner.href);
  return app.href;
}
