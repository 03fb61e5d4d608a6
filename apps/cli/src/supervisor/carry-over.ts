import { Db } from '@alcove/db';
import { carryWraps, WrapsDb } from '@alcove/keys';
import { Client } from 'pg';

/**
 * A home from before wraps had a cluster of their own: carries them over, and then rewrites the tables that they lay in, so that those hold nothing of them. What the old
 * cluster's log still holds goes as that log does.
 */
export async function carryOver(main: { owner: string; app: string }, keys: { app: string }): Promise<void> {
  const [from, to] = [new Db({ url: main.app }), new WrapsDb({ url: keys.app })];
  try {
    const { tenants, users } = await carryWraps(from, to);
    if (tenants + users > 0) await rewriteTables(main.owner);
  } finally {
    await Promise.all([from.close(), to.close()]);
  }
}

async function rewriteTables(ownerUrl: string): Promise<void> {
  const client = new Client({ connectionString: ownerUrl });
  await client.connect();
  try {
    for (const statement of ['vacuum full user_key', 'vacuum full tenant_key', 'checkpoint']) await client.query(statement);
  } finally {
    await client.end();
  }
}
