import { AsyncLocalStorage } from 'node:async_hooks';
import { assert, type Clock, type Random, systemClock, systemRandom } from '@alcove/base';
import { PrismaPg } from '@prisma/adapter-pg';
import { Pool } from 'pg';
import { classify, DbUnavailable } from './failures';
import { Prisma, PrismaClient } from './generated/client';
import { inSqlTransaction } from './sql-tx';
import type { SqlTx, Tx } from './tx';
import { WatchedClient } from './watched-client';

/** Why a transaction may see every tenant's rows. There are no others, so a search for one finds every place. */
export const systemReasons = ['authenticate', 'dispatch-outbox', 'door', 'edge', 'host-report', 'keys', 'platform-route', 'reconcile', 'saga', 'test'] as const;
export type SystemReason = (typeof systemReasons)[number];

export interface DbOptions {
  /** Connection string of the application's role. */
  url: string;
  /** Most connections that this process opens. Default 10. */
  poolSize?: number;
  /** How long a transaction may last before it is rolled back, milliseconds. Default 15 000. */
  transactionMs?: number;
  /** How long a lost race or a lost connection is tried again, milliseconds. Default 5 000. */
  retryMs?: number;
  clock?: Clock;
  random?: Random;
}

export interface TxOptions {
  /** Default `ReadCommitted`: the stores compare and set on a generation. */
  isolation?: Prisma.TransactionIsolationLevel;
  /** False when fn has effects outside the transaction and so must not run twice. Default true. */
  retry?: boolean;
}

/** What is known of an attempt when it fails: an error after fn has returned is an error of the commit. */
interface Progress {
  fnStarted: boolean;
  fnReturned: boolean;
}

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const firstDelayMs = 20;
const maxDelayMs = 500;

/**
 * The only way to the tables. A transaction sees one tenant (withTenant) or all of them for a named reason (asSystem), never more by accident. It guards
 * against mistakes: code that runs as the application's role could set the same variables itself.
 */
export class Db {
  readonly #client: PrismaClient;
  readonly #pool: Pool;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #transactionMs: number;
  readonly #retryMs: number;
  /** Known inside fn: a transaction inside a transaction would take a second connection and could wait for ever for the first. */
  readonly #inside = new AsyncLocalStorage<{ open: boolean }>();

  constructor(options: DbOptions) {
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? systemRandom;
    this.#transactionMs = options.transactionMs ?? 15_000;
    this.#retryMs = options.retryMs ?? 5_000;
    this.#pool = new Pool({
      Client: WatchedClient,
      connectionString: options.url,
      application_name: 'alcove',
      max: options.poolSize ?? 10,
      connectionTimeoutMillis: 3_000,
      keepAlive: true,
      // The server's own guard, should this process hang while it holds locks.
      idle_in_transaction_session_timeout: this.#transactionMs * 2,
    });
    // An idle connection that the server closed is replaced at the next use; without a listener it would end the process.
    this.#pool.on('error', () => undefined);
    this.#client = new PrismaClient({ adapter: new PrismaPg(this.#pool) });
  }

  /**
   * Runs fn in one transaction that sees only this tenant's rows. fn may run again after a lost race or a lost connection, so it must have no effects but
   * through tx (or say retry: false). Throws what fn throws, after a rollback; DbUnavailable when the database cannot be reached.
   */
  async withTenant<T>(tenantId: string, fn: (tx: Tx) => Promise<T>, options: TxOptions = {}): Promise<T> {
    assert(uuid.test(tenantId), 'a tenant id is a UUID');
    return this.#run((tx) => tx.$executeRaw`select set_config('app.tenant_id', ${tenantId}, true)`, fn, options);
  }

  /** Like withTenant, but sees and writes the rows of every tenant. The reason is set as app.system_reason, for the server's log and for readers. */
  async asSystem<T>(reason: SystemReason, fn: (tx: Tx) => Promise<T>, options: TxOptions = {}): Promise<T> {
    assert(systemReasons.includes(reason), 'an unknown reason');
    return this.#run((tx) => tx.$executeRaw`select set_config('app.system', 'on', true), set_config('app.system_reason', ${reason}, true)`, fn, options);
  }

  /** As withTenant(), for statements only: a fifth of the processor time, for what somebody waits for. */
  async withTenantSql<T>(tenantId: string, fn: (tx: SqlTx) => Promise<T>): Promise<T> {
    assert(uuid.test(tenantId), 'a tenant id is a UUID');
    return this.#runSql(`set_config('app.tenant_id', '${tenantId}', true)`, fn);
  }

  /** As asSystem(), for statements only. */
  async asSystemSql<T>(reason: SystemReason, fn: (tx: SqlTx) => Promise<T>): Promise<T> {
    assert(systemReasons.includes(reason), 'an unknown reason');
    return this.#runSql(`set_config('app.system', 'on', true), set_config('app.system_reason', '${reason}', true)`, fn);
  }

  /** Resolves when the database answers; DbUnavailable otherwise. For readiness checks. */
  async ping(): Promise<void> {
    try {
      await this.#pool.query('select 1');
    } catch (error) {
      throw new DbUnavailable(false, error);
    }
  }

  /** Closes every connection. Transactions that are open fail. */
  async close(): Promise<void> {
    await this.#client.$disconnect();
    await this.#pool.end();
  }

  /** Nest's hook: the last one, when nothing is served any more. */
  onApplicationShutdown(): Promise<void> {
    return this.close();
  }

  #run<T>(enter: (tx: Tx) => Promise<unknown>, fn: (tx: Tx) => Promise<T>, options: TxOptions): Promise<T> {
    return this.#retrying((progress) => this.#once(enter, fn, options, progress), options.retry !== false);
  }

  #runSql<T>(settings: string, fn: (tx: SqlTx) => Promise<T>): Promise<T> {
    const begin = `begin; set local statement_timeout = ${this.#transactionMs}; select ${settings}`;
    return this.#retrying((progress) => {
      const scope = { open: true };
      const work = async (tx: SqlTx): Promise<T> => {
        progress.fnStarted = true;
        const result = await this.#inside.run(scope, () => fn(tx));
        progress.fnReturned = true;
        return result;
      };
      return inSqlTransaction(this.#pool, begin, work).finally(() => (scope.open = false));
    }, true);
  }

  /** Runs a transaction again after a lost race or a lost connection, as long as it is certain that the try before left nothing. */
  async #retrying<T>(once: (progress: Progress) => Promise<T>, retry: boolean): Promise<T> {
    assert(!this.#inside.getStore()?.open, 'a transaction inside a transaction');
    const giveUpAt = this.#clock.monotonic() + this.#retryMs;
    for (let attempt = 0; ; attempt++) {
      const progress: Progress = { fnStarted: false, fnReturned: false };
      try {
        return await once(progress);
      } catch (error) {
        const failure = classify(error);
        const mayRunAgain = retry || !progress.fnStarted;
        const certainlyUndone = failure === 'conflict' || (failure === 'connection' && !progress.fnReturned);
        if (mayRunAgain && certainlyUndone && this.#clock.monotonic() < giveUpAt) {
          await this.#clock.sleep(this.#delay(attempt));
          continue;
        }
        if (failure === 'connection') throw new DbUnavailable(progress.fnReturned, error);
        throw error;
      }
    }
  }

  #once<T>(enter: (tx: Tx) => Promise<unknown>, fn: (tx: Tx) => Promise<T>, options: TxOptions, progress: Progress): Promise<T> {
    const scope = { open: true };
    const work = async (tx: Tx): Promise<T> => {
      await enter(tx);
      progress.fnStarted = true;
      const result = await this.#inside.run(scope, () => fn(tx));
      progress.fnReturned = true;
      return result;
    };
    const settings = { maxWait: 5_000, timeout: this.#transactionMs, ...(options.isolation && { isolationLevel: options.isolation }) };
    return this.#client.$transaction(work, settings).finally(() => (scope.open = false));
  }

  /** Doubling with jitter, milliseconds. */
  #delay(attempt: number): number {
    const ceiling = Math.min(maxDelayMs, firstDelayMs * 2 ** attempt);
    return ceiling / 2 + this.#random.below(Math.ceil(ceiling / 2));
  }
}
