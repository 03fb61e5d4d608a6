import { createHash } from 'node:crypto';
import { type Db, readBlobs } from '@alcove/db';
import { newTenant, openDb } from './database';

let db: Db;
let tenantId: string;
beforeAll(async () => {
  db = openDb();
  tenantId = await newTenant(db);
});
afterAll(() => db.close());

it('reads bytes, numbers, text and nulls as they are', async () => {
  const odd = `it's "odd" \\ $1 ü`;
  const rows = await db.withTenantSql(tenantId, (tx) => readBlobs(tx)`select ${odd}::text, 7::int4, 9007199254740991::int8, '\\x00ff'::bytea, null::bytea, ${5}::int4`);
  expect(rows).toEqual([[Buffer.from(odd), Buffer.from('00000007', 'hex'), Buffer.from('001fffffffffffff', 'hex'), Buffer.from('00ff', 'hex'), null, Buffer.from('00000005', 'hex')]]);
  expect(await db.withTenantSql(tenantId, (tx) => readBlobs(tx)`select 1 where false`)).toEqual([]);
});

it('reads many megabytes right, several at once', async () => {
  const read = (): Promise<void> =>
    db.withTenantSql(tenantId, async (tx) => {
      const rows = await readBlobs(tx)`select n::int4, decode(repeat(md5(n::text), 5000), 'hex') from generate_series(1, 60) as n`;
      expect(rows).toHaveLength(60);
      for (const [n, bytes] of rows) {
        const digest = createHash('md5').update(String(n?.readInt32BE())).digest();
        expect(bytes?.length).toBe(80_000);
        expect(bytes?.equals(Buffer.concat(Array<Buffer>(5000).fill(digest)))).toBe(true);
      }
    });
  await Promise.all(Array.from({ length: 6 }, read));
});

it('fails as a statement does, leaves the connection usable, and is for statements only', async () => {
  await expect(db.withTenantSql(tenantId, (tx) => readBlobs(tx)`select 1 / 0`)).rejects.toMatchObject({ code: '22012' });
  expect(await db.withTenantSql(tenantId, (tx) => readBlobs(tx)`select 1::int4`)).toHaveLength(1);
  await expect(db.withTenant(tenantId, async (tx) => readBlobs(tx)`select 1`)).rejects.toThrow('withTenantSql');
});
