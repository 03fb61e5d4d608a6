import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { errorCode } from '@alcove/base';
import { Client } from 'pg';

/** The role that the platform's processes connect as: neither owner nor superuser, so row-level security binds it. */
export const appRole = 'alcove_app';

/** Any constant does; it must only differ from other users of advisory locks in the same database. */
const migrationLock = 7_200_142_001n;

export interface MigrateOptions {
  /** A connection string of the owner of the tables, who may create roles. */
  ownerUrl: string;
  /** The folder that holds one folder per migration, each with a migration.sql. */
  folder: string;
  /** Given to the application's role at every run, so that a new password takes effect. */
  appPassword: string;
}

interface Migration {
  name: string;
  sql: string;
  checksum: string;
}

/** The files and the database disagree: somebody must look. Never caused by a lost connection. */
export class MigrationRefused extends Error {
  override readonly name = 'MigrationRefused';
}

/**
 * Brings the tables up to date, forward only, each migration in its own transaction. Safe to run from several processes at once: an advisory lock puts them in
 * order. Returns the names of the migrations that ran. Throws MigrationRefused when a migration that ran before was changed or has disappeared.
 */
export async function migrate(options: MigrateOptions): Promise<string[]> {
  const migrations = await readMigrations(options.folder);
  const client = new Client({ connectionString: options.ownerUrl, application_name: 'alcove-migrate' });
  await client.connect();
  try {
    await client.query('select pg_advisory_lock($1)', [migrationLock]);
    await ensureAppRole(client, options.appPassword);
    const applied = await readApplied(client);
    checkApplied(migrations, applied);
    const pending = migrations.filter((migration) => !applied.has(migration.name));
    for (const migration of pending) await apply(client, migration);
    return pending.map((migration) => migration.name);
  } finally {
    await client.end();
  }
}

async function readMigrations(folder: string): Promise<Migration[]> {
  const entries = await readdir(folder, { withFileTypes: true });
  const names = entries
    .filter((entry) => entry.isDirectory())
    .map((entry) => entry.name)
    .sort();
  return Promise.all(
    names.map(async (name) => {
      const sql = await readFile(join(folder, name, 'migration.sql'), 'utf8');
      return { name, sql, checksum: createHash('sha256').update(sql).digest('hex') };
    }),
  );
}

/** PostgreSQL's XX000, and how often a role that another migration changes is tried. */
const internalError = 'XX000';
const roleAttempts = 20;

async function ensureAppRole(client: Client, password: string): Promise<void> {
  try {
    await client.query(`create role ${appRole}`);
  } catch (error) {
    // Roles belong to the cluster: another database's migration may have made it, or be making it at this moment.
    const alreadyThere = ['42710' /* duplicate_object */, '23505' /* unique_violation */];
    if (!alreadyThere.includes(errorCode(error) ?? '')) throw error;
  }
  for (let attempt = 1; ; attempt++) {
    try {
      await client.query(`alter role ${appRole} with login nosuperuser nobypassrls nocreatedb nocreaterole password ${client.escapeLiteral(password)}`);
      return;
    } catch (error) {
      // A role belongs to the whole server: who migrates another database of it at this moment changes the same one, and PostgreSQL waits for nobody there ("tuple concurrently updated").
      if (errorCode(error) !== internalError || attempt === roleAttempts) throw error;
    }
  }
}

async function readApplied(client: Client): Promise<Map<string, string>> {
  await client.query('create table if not exists schema_migration (name text primary key, checksum text not null, at timestamptz not null default now())');
  const { rows } = await client.query<{ name: string; checksum: string }>('select name, checksum from schema_migration');
  return new Map(rows.map((row) => [row.name, row.checksum]));
}

function checkApplied(migrations: Migration[], applied: Map<string, string>): void {
  const known = new Map(migrations.map((migration) => [migration.name, migration]));
  for (const [name, checksum] of applied) {
    const migration = known.get(name);
    if (!migration) {
      throw new MigrationRefused(`migration ${name} ran on this database but is not in this version of the program: is this an older version?`);
    }
    if (migration.checksum !== checksum) {
      throw new MigrationRefused(`migration ${name} was changed after it ran on this database: restore its text and put the change into a new migration`);
    }
  }
}

async function apply(client: Client, migration: Migration): Promise<void> {
  await client.query('begin');
  try {
    await client.query(migration.sql);
    await client.query('insert into schema_migration (name, checksum) values ($1, $2)', [migration.name, migration.checksum]);
    await client.query('commit');
  } catch (error) {
    await client.query('rollback').catch(() => undefined);
    throw new Error(`migration ${migration.name} failed and was rolled back: ${(error as Error).message}`, { cause: error });
  }
}
