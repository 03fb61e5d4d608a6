import type { Prisma } from './generated/client';

/** One open transaction. What a store takes; it sees what withTenant() or asSystem() let it see. */
export type Tx = Prisma.TransactionClient;

/**
 * One open transaction as statements only; every Tx is one. What somebody waits for takes this, because Db.withTenantSql() opens one at a fifth of the cost. A
 * number beyond 2^53 comes as text here and as bigint from a Tx: such code selects none.
 */
export interface SqlTx {
  /** The rows. Values become parameters, never text. */
  $queryRaw<T = unknown>(query: TemplateStringsArray, ...values: unknown[]): PromiseLike<T>;
  /** How many rows were written. */
  $executeRaw(query: TemplateStringsArray, ...values: unknown[]): PromiseLike<number>;
}

/** A value that fits a jsonb column. */
export type Json = string | number | boolean | null | Json[] | { [key: string]: Json };
