import { Client, type ClientConfig } from 'pg';

/** A query failed because its connection is gone. It has the code of a reset socket, which the layers above know. */
export class ConnectionLost extends Error {
  override readonly name = 'ConnectionLost';
  readonly code = 'ECONNRESET';
}

/**
 * The driver's client, but with errors that can be told apart: the driver reports a connection that was lost under a query, or before it, as an Error without
 * any code.
 */
export class WatchedClient extends Client {
  constructor(config?: string | ClientConfig) {
    super(config);
    let lost = false;
    const lose = (): void => {
      lost = true;
    };
    this.on('error', lose);
    this.on('end', lose);
    const query = this.query.bind(this) as (...args: unknown[]) => unknown;
    const watched = (...args: unknown[]): unknown => {
      const result = query(...args);
      if (!(result instanceof Promise)) return result;
      return result.catch((error: unknown) => {
        throw lost ? new ConnectionLost('the connection to the database was lost', { cause: error }) : error;
      });
    };
    this.query = watched as Client['query'];
  }
}
