import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { type Clock, limits, type Log } from '@alcove/base';
import { type DoorAnswer, type DoorCall, isProblem, Problem, problemAnswer } from '@alcove/contracts';
import type { RoomKey } from '@alcove/runtime';
import { readHead } from './door-request';
import type { MinuteCount } from './minute-count';

/** For whom a connection is answered. Nothing of it comes from the guest. */
export interface DoorRoom {
  readonly key: RoomKey;
  /** Throws while this host may not speak for the room. */
  check(): void;
  readonly requests: MinuteCount;
}

export interface DoorServerParts {
  ask(room: RoomKey, call: DoorCall, signal: AbortSignal): Promise<DoorAnswer>;
  clock: Clock;
  log: Log;
}

/**
 * Answers HTTP on connections that programs in rooms have made. Every request is taken apart and its meaning passed on; no byte of it is. One request at a time on
 * a connection, each part of it within its time, and so many at once on the whole host.
 */
export class DoorServer {
  readonly #server: Server;
  readonly #connections = new WeakMap<Duplex, DoorConnection>();
  /** Requests under way, their answers' sending included; by room. */
  readonly #running = new Map<string, number>();

  constructor(private readonly parts: DoorServerParts) {
    // The server never listens, so Node's own timers for headers and requests do not run: each connection has its own.
    this.#server = createServer({ maxHeaderSize: limits.doors.headerBytes, keepAliveTimeout: limits.doors.idleMs, insecureHTTPParser: false, requireHostHeader: true });
    this.#server.maxHeadersCount = 2 * limits.doors.headers;
    this.#server.on('request', (request, response) => void this.#connections.get(request.socket)?.serve(request, response, false));
    this.#server.on('checkContinue', (request, response) => void this.#connections.get(request.socket)?.serve(request, response, true));
    this.#server.on('clientError', (error, socket) => {
      parts.log.debug({ err: error }, 'bad HTTP at a door');
      this.#connections.get(socket)?.refuse();
    });
  }

  take(socket: Duplex, room: DoorRoom): DoorConnection {
    const connection = new DoorConnection(socket, room, this.parts, () => this.#enter(room.key.roomId));
    this.#connections.set(socket, connection);
    this.#server.emit('connection', socket as Socket);
    return connection;
  }

  #enter(roomId: string): () => void {
    const mine = this.#running.get(roomId) ?? 0;
    if (mine >= limits.doors.atOncePerRoom) throw new Problem('request.concurrency', { detail: `A room may have ${limits.doors.atOncePerRoom} requests at once.` });
    let all = 0;
    for (const count of this.#running.values()) all += count;
    if (all >= limits.doors.atOnce) throw new Problem('unavailable', { detail: 'The doors of this host are busy.' });
    this.#running.set(roomId, mine + 1);
    return () => {
      const left = (this.#running.get(roomId) ?? 1) - 1;
      if (left === 0) this.#running.delete(roomId);
      else this.#running.set(roomId, left);
    };
  }
}

/** One connection. Its owner may end it at any time; `finish` lets a request that is under way be answered. */
export class DoorConnection {
  readonly closed: Promise<void>;
  #busy = false;
  #onAnswered: (() => void)[] = [];
  #finishing = false;
  #patience = new AbortController();

  constructor(
    private readonly socket: Duplex,
    private readonly room: DoorRoom,
    private readonly parts: DoorServerParts,
    private readonly enter: () => () => void,
  ) {
    this.closed = new Promise((resolve) => socket.once('close', resolve));
    socket.on('error', () => undefined);
    socket.once('close', () => this.#patience.abort());
    this.#within(limits.doors.headersMs);
  }

  get busy(): boolean {
    return this.#busy;
  }
  /** Resolves when no request is under way. */
  answered(): Promise<void> {
    return this.#busy ? new Promise((resolve) => this.#onAnswered.push(resolve)) : Promise.resolve();
  }
  /** Takes no further request. */
  finish(): void {
    this.#finishing = true;
    if (!this.#busy) this.#part();
  }
  destroy(): void {
    this.socket.destroy();
  }
  /** What came was no HTTP. */
  refuse(): void {
    if (this.socket.writable && !this.#busy) this.socket.write('HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n');
    this.#part();
  }

  async serve(request: IncomingMessage, response: ServerResponse, awaited: boolean): Promise<void> {
    // Whoever sends a second request before the first is answered is no client that we know.
    if (this.#busy || this.#finishing) return this.destroy();
    this.#busy = true;
    const signal = this.#within(limits.doors.requestMs);
    response.sendDate = false;
    response.once('close', () => this.#done(response));
    const answer = await this.#answer(request, response, awaited, signal).catch((error: unknown) => this.#failure(error));
    if (this.socket.destroyed) return;
    // A body that was not read to its end cannot be followed by another request.
    if (this.#finishing || !request.complete) response.shouldKeepAlive = false;
    const body = answer.body === null ? undefined : Buffer.from(answer.body);
    response.writeHead(answer.status, { ...answer.headers, 'content-length': body?.length ?? 0 });
    response.end(body);
  }

  async #answer(request: IncomingMessage, response: ServerResponse, awaited: boolean, signal: AbortSignal): Promise<DoorAnswer> {
    const wait = this.room.requests.take(this.parts.clock.monotonic());
    if (wait > 0) throw new Problem('request.rate', { detail: 'This room asks too often.', retryAfterMs: wait });
    const { method = '', url = '', httpVersion, headers, rawHeaders } = request;
    const { call, body } = readHead({ method, target: url, httpVersion, headers, rawHeaders });
    // Until the program has taken its answer, or is let go: what is not taken stands in this process's memory.
    response.once('close', this.enter());
    if (awaited && body) response.writeContinue();
    const text = body ? await readText(request, signal) : null;
    this.room.check();
    return this.parts.ask(this.room.key, { ...call, body: text }, signal);
  }

  #failure(error: unknown): DoorAnswer {
    const problem = isProblem(error) ? error : new Problem('unavailable', { cause: error });
    this.parts.log.debug({ err: problem, ...this.room.key }, 'a door did not do as asked');
    return problemAnswer(problem);
  }
  #done(response: ServerResponse): void {
    this.#busy = false;
    for (const tell of this.#onAnswered.splice(0)) tell();
    if (this.#finishing || !response.shouldKeepAlive) this.#part();
    else this.#within(limits.doors.idleMs);
  }
  /** Says that no more comes, and lets go even of one who does not listen. */
  #part(): void {
    this.#finishing = true;
    this.socket.end();
    this.#within(limits.doors.drainMs);
  }
  /** The connection ends unless something else happens on it in this time. */
  #within(ms: number): AbortSignal {
    this.#patience.abort();
    this.#patience = new AbortController();
    const { signal } = this.#patience;
    if (this.socket.destroyed) this.#patience.abort();
    else this.parts.clock.sleep(ms, signal).then(() => this.destroy(), () => undefined);
    return signal;
  }
}

/** The whole body as text. Problems `request.too_large`, `request.invalid` (no UTF-8). */
async function readText(request: IncomingMessage, signal: AbortSignal): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    signal.throwIfAborted();
    bytes += chunk.length;
    if (bytes > limits.doors.bodyBytes) throw new Problem('request.too_large');
    chunks.push(chunk);
  }
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(Buffer.concat(chunks));
  } catch (cause) {
    throw new Problem('request.invalid', { detail: 'The body is not UTF-8.', cause });
  }
}
