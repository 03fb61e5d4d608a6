import { Client } from 'pg';

export type LockOutcome<T> = { ran: true; value: T } | { ran: false };

/**
 * Locks by name that one session of the whole cluster holds: PostgreSQL's session-level advisory locks, all on one connection of their own, so that a long run
 * takes none from the pool. They go with the connection: after a crash at once, after a lost connection while the work may still run. So a lock saves doubled
 * work; it is no fence, and what runs under it must be safe to run twice.
 */
export class AdvisoryLocks {
  readonly #url: string;
  /** Names that this process holds: the server would grant them again to the same session. */
  readonly #held = new Set<string>();
  #session: Promise<Client> | null = null;

  constructor(url: string) {
    this.#url = url;
  }

  /** Runs fn unless somebody else holds the name. Never waits for the lock. Throws what fn throws, or the driver's error when the database cannot be reached. */
  async withAdvisoryLock<T>(name: string, fn: () => Promise<T>): Promise<LockOutcome<T>> {
    if (this.#held.has(name)) return { ran: false };
    this.#held.add(name);
    try {
      const session = await this.#connected();
      const { rows } = await session.query<{ locked: boolean }>('select pg_try_advisory_lock(hashtextextended($1, 0)) as locked', [name]);
      if (!rows[0]?.locked) return { ran: false };
      try {
        return { ran: true, value: await fn() };
      } finally {
        // A lost connection has released it already.
        await session.query('select pg_advisory_unlock(hashtextextended($1, 0))', [name]).catch(() => undefined);
      }
    } finally {
      this.#held.delete(name);
    }
  }

  /** Ends the connection, which releases every lock. */
  async close(): Promise<void> {
    const session = this.#session;
    this.#session = null;
    await session?.then((client) => client.end()).catch(() => undefined);
  }

  /** Nest's hook: the last one, when nothing is served any more. */
  onApplicationShutdown(): Promise<void> {
    return this.close();
  }

  #connected(): Promise<Client> {
    if (this.#session) return this.#session;
    const client = new Client({ connectionString: this.#url, application_name: 'alcove-locks', connectionTimeoutMillis: 3_000, keepAlive: true });
    const session = client.connect().then(() => client);
    const forget = (): void => {
      if (this.#session === session) this.#session = null;
    };
    client.on('error', forget);
    client.on('end', forget);
    session.catch(forget);
    this.#session = session;
    return session;
  }
}
