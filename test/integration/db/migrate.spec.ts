import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { migrate, MigrationRefused } from '@alcove/db';
import { Client } from 'pg';
import { appUrl, openDb, type OwnDatabase, ownDatabase } from './database';

let folder: string;
let database: OwnDatabase;

const write = async (name: string, sql: string): Promise<void> => {
  await mkdir(join(folder, name), { recursive: true });
  await writeFile(join(folder, name, 'migration.sql'), sql);
};
// Roles belong to the cluster: the password of the suite's own role must stay what it is.
const run = (): Promise<string[]> => migrate({ ownerUrl: database.ownerUrl, folder, appPassword: new URL(appUrl()).password });
const query = async (sql: string): Promise<unknown[]> => {
  const client = new Client({ connectionString: database.ownerUrl });
  await client.connect();
  return (await client.query(sql).finally(() => client.end())).rows;
};

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'alcove-migrations-'));
  database = await ownDatabase({ migrated: false });
});
afterEach(async () => {
  await database.remove();
  await rm(folder, { recursive: true });
});

it('runs what is new, in order, once', async () => {
  await write('0001_a', 'create table a (id int)');
  expect(await run()).toEqual(['0001_a']);
  await write('0002_b', 'insert into a values (7)');
  expect(await run()).toEqual(['0002_b']);
  expect(await run()).toEqual([]);
  expect(await query('select id from a')).toEqual([{ id: 7 }]);
});

it('puts several runners in order', async () => {
  await write('0001_a', 'create table a (id int)');
  const ran = await Promise.all(Array.from({ length: 4 }, run));
  expect(ran.flat()).toEqual(['0001_a']);
});

it('refuses a migration that was changed, and one that is missing', async () => {
  await write('0001_a', 'create table a (id int)');
  await run();
  await write('0001_a', 'create table a (id bigint)');
  await expect(run()).rejects.toBeInstanceOf(MigrationRefused);
  await expect(run()).rejects.toThrow('0001_a was changed');
  await rm(join(folder, '0001_a'), { recursive: true });
  await expect(run()).rejects.toThrow('0001_a ran on this database but is not in this version');
});

it('rolls a failing migration back and can go on once it is mended', async () => {
  await write('0001_a', 'create table a (id int); insert into nothing values (1)');
  await expect(run()).rejects.toThrow('0001_a failed');
  await write('0001_a', 'create table a (id int)');
  expect(await run()).toEqual(['0001_a']);
});

it('has models that fit the tables', async () => {
  const db = openDb();
  await db.asSystem('test', async (tx) => {
    const models = Object.values(tx as unknown as Record<string, { findFirst?: () => Promise<unknown> } | undefined>).filter((member) => typeof member?.findFirst === 'function');
    expect(models.length).toBeGreaterThanOrEqual(10);
    // Selects every column of the model: an error when the table lacks one.
    for (const model of models) await model?.findFirst?.();
  });
  await db.close();
});
