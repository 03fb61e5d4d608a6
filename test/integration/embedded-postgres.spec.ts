import { Client } from 'pg';

describe('the database that tests run on', () => {
  it('answers its owner', async () => {
    const client = new Client({ connectionString: process.env['TEST_DB_OWNER_URL'] });
    await client.connect();
    const { rows } = await client.query<{ encoding: string }>('select pg_encoding_to_char(encoding) as encoding from pg_database where datname = current_database()');
    await client.end();
    expect(rows).toEqual([{ encoding: 'UTF8' }]);
  });

  it('refuses a wrong password', async () => {
    const url = new URL(process.env['TEST_DB_OWNER_URL'] ?? '');
    url.password = 'wrong';
    const client = new Client({ connectionString: url.href });
    await expect(client.connect()).rejects.toMatchObject({ code: '28P01' });
  });
});
