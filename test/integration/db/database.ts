/** What suites on a real database share: its address, a Db on it, a look past row-level security, and a clock that a test moves. */
import { join } from 'node:path';
import { type Clock, newId, newUuid } from '@alcove/base';
import { Db, type DbOptions, migrate } from '@alcove/db';
import { Client } from 'pg';

function given(name: string): string {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: this suite needs the postgres project of jest.config.cjs`);
  return value;
}

export const appUrl = (): string => given('TEST_DB_URL');
export const ownerUrl = (): string => given('TEST_DB_OWNER_URL');

export const keysAppUrl = (): string => given('TEST_KEYS_DB_URL');
export const keysOwnerUrl = (): string => given('TEST_KEYS_DB_OWNER_URL');

export function openDb(options: Partial<DbOptions> = {}): Db {
  return new Db({ url: appUrl(), ...options });
}

/** Runs SQL as the owner, whom row-level security does not bind. */
export async function asOwner<T extends object>(sql: string, values: unknown[] = [], url: string = ownerUrl()): Promise<T[]> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query(sql, values)).rows as T[];
  } finally {
    await client.end();
  }
}

export interface OwnDatabase {
  /** As the app role. */
  url: string;
  ownerUrl: string;
  remove(): Promise<void>;
}

/** An empty database on the same server, for suites that look at all tenants at once or run a dispatcher: others must not meet them. */
export async function ownDatabase(options: { migrated: boolean } = { migrated: true }): Promise<OwnDatabase> {
  const name = newId('suite');
  await asOwner(`create database "${name}"`);
  const at = (address: string): string => Object.assign(new URL(address), { pathname: `/${name}` }).href;
  const urls = { url: at(appUrl()), ownerUrl: at(ownerUrl()) };
  // Roles belong to the whole server, so the password stays what it is.
  const { password: appPassword } = new URL(appUrl());
  if (options.migrated) await migrate({ ownerUrl: urls.ownerUrl, folder: join(__dirname, '../../../prisma/migrations'), appPassword });
  return { ...urls, remove: async () => void (await asOwner(`drop database "${name}" with (force)`)) };
}

/** A tenant of its own for each test, so that suites do not meet. */
export async function newTenant(db: Db): Promise<string> {
  const id = newUuid();
  await db.asSystem('test', (tx) => tx.tenant.create({ data: { id, name: `tenant ${id}`, roomsPerUser: 1, createdAt: new Date(0) } }));
  return id;
}

export interface TestClock extends Clock {
  advance(ms: number): void;
}

/** Wall clock from a fixed day on; sleepers wake when a test moves it past their time. */
export function testClock(start: number = Date.UTC(2030, 0, 1)): TestClock {
  let now = start;
  let sleepers: { at: number; wake: () => void }[] = [];
  return {
    now: () => now,
    monotonic: () => now,
    sleep: (ms, signal) =>
      new Promise<void>((resolve, reject) => {
        if (signal?.aborted) return reject(signal.reason as Error);
        const sleeper = { at: now + ms, wake: resolve };
        sleepers.push(sleeper);
        signal?.addEventListener('abort', () => {
          sleepers = sleepers.filter((other) => other !== sleeper);
          reject(signal.reason as Error);
        });
      }),
    advance: (ms) => {
      now += ms;
      const due = sleepers.filter((sleeper) => sleeper.at <= now).sort((a, b) => a.at - b.at);
      sleepers = sleepers.filter((sleeper) => sleeper.at > now);
      for (const sleeper of due) sleeper.wake();
    },
  };
}

/** Resolves once the condition holds; looks again every few milliseconds. The suite's timeout is the deadline. */
export async function until<T>(condition: () => Promise<T | null | undefined | false> | T | null | undefined | false): Promise<T> {
  for (;;) {
    const value = await condition();
    if (value !== null && value !== undefined && value !== false) return value;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** The SQLSTATE in an error or in whatever it was made from. */
export function sqlState(error: unknown): string | undefined {
  const text = JSON.stringify(error, (key, value: unknown) => (value instanceof Error ? { ...value, cause: value.cause } : value));
  return /"originalCode":"([0-9A-Z]{5})"/.exec(text)?.[1];
}
