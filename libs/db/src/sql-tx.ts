import type { Pool, PoolClient } from 'pg';
import { rememberClient } from './blobs';
import type { SqlTx } from './tx';

interface Statement {
  readonly name: string;
  readonly text: string;
}

/** A template's strings are one object per place in the source, so each place is one prepared statement of a connection. */
const statements = new WeakMap<TemplateStringsArray, Statement>();
let named = 0;

/**
 * Runs work in one transaction on a connection of the pool. `begin` opens it and says what it sees; it is sent in one message. The statements are prepared once per
 * connection, so planning them is paid for once. Rolls back when work throws; a connection that cannot even do that is thrown away.
 */
export async function inSqlTransaction<T>(pool: Pool, begin: string, work: (tx: SqlTx) => Promise<T>): Promise<T> {
  const client = await pool.connect();
  let broken: Error | undefined;
  try {
    await client.query(begin);
    const tx = statementsOn(client);
    rememberClient(tx, client);
    const result = await work(tx);
    await client.query('commit');
    return result;
  } catch (error) {
    await client.query('rollback').catch((failure: Error) => (broken = failure));
    throw error;
  } finally {
    client.release(broken);
  }
}

function statementsOn(client: PoolClient): SqlTx {
  const ask = (query: TemplateStringsArray, values: unknown[]) => client.query({ ...statementOf(query), values });
  return {
    $queryRaw: async <T>(query: TemplateStringsArray, ...values: unknown[]) => (await ask(query, values)).rows as T,
    $executeRaw: async (query, ...values) => (await ask(query, values)).rowCount ?? 0,
  };
}

function statementOf(query: TemplateStringsArray): Statement {
  const known = statements.get(query);
  if (known) return known;
  const text = query.reduce((before, part, index) => `${before}$${index}${part}`);
  const statement = { name: `s${++named}`, text };
  statements.set(query, statement);
  return statement;
}
