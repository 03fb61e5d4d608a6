import { assert } from '@alcove/base';
import type { PoolClient } from 'pg';
import type { SqlTx } from './tx';

/** COPY's binary format (https://www.postgresql.org/docs/18/sql-copy.html, "Binary Format"): signature, flags and the length of an extension, then rows. */
const signature = Buffer.from('PGCOPY\n\xff\r\n\0', 'latin1');
const headerBytes = signature.length + 8;

/** Takes rows from what comes, piece by piece. PostgreSQL sends each row as a piece of its own, so that hardly anything is put together here. */
class RowReader {
  readonly rows: (Buffer | null)[][] = [];
  #rest: Buffer = Buffer.alloc(0);
  #begun = false;

  take(piece: Buffer): void {
    let bytes = this.#rest.length === 0 ? piece : Buffer.concat([this.#rest, piece]);
    if (!this.#begun) {
      if (bytes.length < headerBytes) return void (this.#rest = bytes);
      assert(bytes.subarray(0, signature.length).equals(signature), 'a COPY answer begins with its signature');
      bytes = bytes.subarray(headerBytes + bytes.readUInt32BE(headerBytes - 4));
      this.#begun = true;
    }
    for (let end = this.#row(bytes); end > 0; end = this.#row(bytes)) bytes = bytes.subarray(end);
    this.#rest = bytes;
  }

  /** Where the row at the front ends; 0: it is not whole yet, or the answer ends. */
  #row(bytes: Buffer): number {
    const columns = bytes.length >= 2 ? bytes.readInt16BE() : -1;
    const row: (Buffer | null)[] = [];
    let at = 2;
    for (let column = 0; column < columns; column++) {
      if (bytes.length < at + 4) return 0;
      const length = bytes.readInt32BE(at);
      at += 4;
      if (bytes.length < at + Math.max(0, length)) return 0;
      row.push(length < 0 ? null : bytes.subarray(at, at + length));
      at += Math.max(0, length);
    }
    if (columns < 0) return 0;
    this.rows.push(row);
    return at;
  }
}

/** What node-postgres asks of something that is sent instead of a query, and then told of what comes back (`pg` Submittable, as in its Query and pg-copy-streams). */
class CopyOut {
  readonly #reader = new RowReader();
  readonly #settle: { resolve: () => void; reject: (error: unknown) => void };
  readonly #done: Promise<void>;

  constructor(private readonly text: string) {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#done = promise;
    this.#settle = { resolve, reject };
  }

  async rows(): Promise<(Buffer | null)[][]> {
    await this.#done;
    return this.#reader.rows;
  }

  submit(connection: { query(text: string): void }): void {
    connection.query(this.text);
  }
  handleCopyData({ chunk }: { chunk: Buffer }): void {
    // The chunk is a view of the driver's own buffer, which the next packet overwrites.
    this.#reader.take(Buffer.from(chunk));
  }
  handleError(error: unknown): void {
    this.#settle.reject(error);
  }
  handleReadyForQuery(): void {
    this.#settle.resolve();
  }
  handleCommandComplete(): void {}
  handleRowDescription(): void {}
  handleDataRow(): void {}
  handleEmptyQuery(): void {}
}

const clients = new WeakMap<SqlTx, PoolClient>();

/** For withTenantSql: the connection that a transaction runs on. */
export function rememberClient(tx: SqlTx, client: PoolClient): void {
  clients.set(tx, client);
}

/**
 * As a tag: readBlobs(tx)`select …`. The rows of a query, each column as the bytes of PostgreSQL's binary format (bytea: itself; int4 and int8: big-endian; text: UTF-8), null where it is null. For
 * columns of many bytes: as a query's result they would come as hexadecimal text, at twice the bytes and many times the processor time. Only in a transaction of withTenantSql or
 * asSystemSql. Values become literals, escaped by the driver.
 */
export function readBlobs(tx: SqlTx): (query: TemplateStringsArray, ...values: (string | number)[]) => Promise<(Buffer | null)[][]> {
  const client = clients.get(tx);
  assert(client, 'bytes are read in a transaction of withTenantSql');
  return (query, ...values) => copyOut(client, query, values);
}

async function copyOut(client: PoolClient, query: TemplateStringsArray, values: (string | number)[]): Promise<(Buffer | null)[][]> {
  const literal = (value: string | number): string => {
    if (typeof value === 'string') return client.escapeLiteral(value);
    assert(Number.isSafeInteger(value), 'a number in a query for bytes is whole');
    return String(value);
  };
  const text = query.reduce((before, part, index) => `${before}${literal(values[index - 1] ?? '')}${part}`);
  const copy = new CopyOut(`copy (${text}) to stdout (format binary)`);
  client.query(copy);
  return copy.rows();
}
