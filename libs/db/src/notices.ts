import { type Clock, systemClock } from '@alcove/base';
import { Client } from 'pg';

export interface NoticeListener {
  /** Somebody's transaction that told this channel has committed. */
  onNotice(payload: string): void;
  /** The connection was lost for a while, or was just made: notices may have been missed. */
  onGap(): void;
}

const reconnectMs = 500;

/**
 * Hears `pg_notify` of other processes (LISTEN), on one connection of its own, made at the first listen() and again whenever it is lost. A notice is a nudge
 * to read again and may be lost: whoever listens looks for itself now and then.
 */
export class Notices {
  readonly #url: string;
  readonly #clock: Clock;
  readonly #listeners = new Map<string, NoticeListener>();
  readonly #closed = new AbortController();
  #loop: Promise<void> | null = null;
  #client: Client | null = null;

  constructor(url: string, clock: Clock = systemClock) {
    this.#url = url;
    this.#clock = clock;
  }

  /** Listens until close(). One listener per channel; a later one takes its place. */
  listen(channel: string, listener: NoticeListener): void {
    this.#listeners.set(channel, listener);
    this.#client?.query(`listen ${this.#client.escapeIdentifier(channel)}`).catch(() => undefined);
    this.#loop ??= this.#stayConnected();
  }

  async close(): Promise<void> {
    this.#closed.abort();
    await this.#client?.end().catch(() => undefined);
    await this.#loop;
  }

  /** Nest's hook. */
  onModuleDestroy(): Promise<void> {
    return this.close();
  }

  async #stayConnected(): Promise<void> {
    while (!this.#closed.signal.aborted) {
      await this.#connection().catch(() => undefined);
      this.#client = null;
      await this.#clock.sleep(reconnectMs, this.#closed.signal).catch(() => undefined);
    }
  }

  /** Resolves when the connection has ended. */
  async #connection(): Promise<void> {
    const client = new Client({ connectionString: this.#url, application_name: 'alcove-notices', connectionTimeoutMillis: 3_000, keepAlive: true });
    const ended = new Promise<void>((resolve) => {
      client.once('end', resolve);
      client.on('error', () => resolve());
    });
    client.on('notification', ({ channel, payload }) => this.#listeners.get(channel)?.onNotice(payload ?? ''));
    await client.connect();
    this.#client = client;
    try {
      for (const channel of this.#listeners.keys()) await client.query(`listen ${client.escapeIdentifier(channel)}`);
      for (const listener of this.#listeners.values()) listener.onGap();
      if (!this.#closed.signal.aborted) await ended;
    } finally {
      await client.end().catch(() => undefined);
    }
  }
}
