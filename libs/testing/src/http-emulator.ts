import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';

/** A request to an emulator of somebody's HTTP API, read whole. */
export interface EmulatedRequest {
  method: string;
  /** As it was sent, with the query. */
  path: string;
  headers: IncomingHttpHeaders;
  body: string;
}

export interface EmulatedAnswer {
  status: number;
  headers?: Record<string, string>;
  body?: string;
  /** Never answer. */
  silent?: true;
}

/** A server on a free port of 127.0.0.1 that answers as a function says, and as a test tells it to for the next requests. */
export class HttpEmulator {
  readonly requests: EmulatedRequest[] = [];
  readonly #server: Server;
  readonly #next: EmulatedAnswer[] = [];

  private constructor(answer: (request: EmulatedRequest) => EmulatedAnswer) {
    this.#server = createServer((request, response) => {
      const parts: Buffer[] = [];
      request.on('data', (part: Buffer) => parts.push(part));
      request.on('end', () => {
        const read = { method: request.method ?? '', path: request.url ?? '', headers: request.headers, body: Buffer.concat(parts).toString('utf8') };
        this.requests.push(read);
        const { status, headers = {}, body = '', silent } = this.#next.shift() ?? answer(read);
        if (!silent) response.writeHead(status, headers).end(body);
      });
    });
  }

  static async start(answer: (request: EmulatedRequest) => EmulatedAnswer): Promise<HttpEmulator> {
    const emulator = new HttpEmulator(answer);
    emulator.#server.listen(0, '127.0.0.1');
    await once(emulator.#server, 'listening');
    return emulator;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** The next requests get these answers, in this order, and are not looked at. */
  answerNext(...answers: EmulatedAnswer[]): void {
    this.#next.push(...answers);
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }
}
