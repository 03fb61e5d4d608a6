import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer as createHttpServer, type IncomingMessage, type Server as HttpServer, type ServerResponse } from 'node:http';
import { connect as connectHttp2, type ClientHttp2Session, type ClientHttp2Stream, type OutgoingHttpHeaders, type SecureClientSessionOptions } from 'node:http2';
import { createServer as createHttpsServer, request, type Server as HttpsServer } from 'node:https';
import { connect as connectTcp, type AddressInfo, type Server as TcpServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { silentLog, systemClock, type Clock } from '@alcove/base';
import { edgePaths, EdgeRouteAsked, Problem, type EdgeRoute, type ProblemCode } from '@alcove/contracts';
import { ensureCertificates, tlsFiles } from '../../apps/cli/src/setup/certificates';
import { edgeConfig } from '../../apps/edge/src/config';
import { createEdge, type Edge } from '../../apps/edge/src/edge';
import { readIdentity } from './host-certificates';

export const domain = 'alcove.test';
export const room = { id: 'room_0123456789abcdef0123', sandboxId: 'i0123456789abcdef0123' };
export const surfaceToken = 'the-token-of-the-surface';
export const surface = `49983-${room.sandboxId}.${domain}`;
export const hostOf = (port: number): string => `${port}-${room.sandboxId}.${domain}`;

export type Handle = (request: IncomingMessage, response: ServerResponse) => void;

/** Two real servers that stand for control plane and host, over mutual TLS; an API; and a real edge in front of them. */
export class EdgeWorld {
  readonly folder = mkdtempSync(join(tmpdir(), 'alcove-edge-test-'));
  /** What the host does with a request to the surface. */
  onSurface: Handle = (_request, response) => void response.writeHead(204).end();
  /** What the application in the room does; null: nobody listens. */
  app: HttpServer | null = null;
  onApi: Handle = (_request, response) => void response.writeHead(200, { 'content-type': 'application/json' }).end('{}');
  route: EdgeRoute;
  /** What a wake makes of the route. */
  wakes: () => EdgeRoute | ProblemCode = () => 'room.not_running';
  /** Rooms beside the one, by id. */
  readonly others = new Map<string, EdgeRoute>();
  asked = 0;
  woken = 0;
  /** The control plane answers no question before this. */
  answers: Promise<void> = Promise.resolve();
  /** Rooms that the host does not have any more. */
  elsewhere = false;
  readonly tunnels = new Set<Duplex>();
  edge!: Edge;
  port = 0;
  debugPort = 0;
  #servers: (HttpServer | HttpsServer | TcpServer)[] = [];
  #sessions: ClientHttp2Session[] = [];
  #initial: EdgeRoute | null = null;
  apiServer!: HttpServer;

  constructor() {
    this.route = this.running('');
  }

  running(hostUrl: string, incarnation = 1): EdgeRoute {
    return { state: 'running', reason: null, target: { hostId: 'host-1', hostUrl, incarnation }, surfaceToken, trafficToken: null, maskRequestHost: null, autoResume: false };
  }
  asleep(change: Partial<EdgeRoute> = {}): EdgeRoute {
    return { ...this.route, state: 'hibernated', target: null, ...change };
  }

  async start(extra: Record<string, string> = {}, clock: Clock = systemClock): Promise<void> {
    const tls = join(this.folder);
    await ensureCertificates(tls, ['control-plane', 'host-1', 'host-2', 'edge'], domain);
    const control = this.#serve(createHttpsServer({ ...readIdentity(tlsFiles(tls, 'control-plane')), requestCert: true, rejectUnauthorized: true }, (q, a) => void this.#control(q, a)));
    const host = createHttpsServer({ ...readIdentity(tlsFiles(tls, 'host-1')), requestCert: true, rejectUnauthorized: true }, (q, a) => this.#host(q, a));
    host.on('upgrade', (q, socket, head) => this.#tunnel(q, socket, head));
    this.apiServer = createHttpServer((q, a) => this.onApi(q, a));
    const [controlPort, hostPort, apiPort] = await Promise.all([control, this.#serve(host), this.#serve(this.apiServer)]);
    this.route = this.running(`https://127.0.0.1:${hostPort}`);
    const [own, shown] = [tlsFiles(tls, 'edge'), tlsFiles(tls, 'public')];
    const config = edgeConfig({
      ALCOVE_EDGE_LISTEN: '127.0.0.1:0', ALCOVE_EDGE_DOMAIN: `${domain}:8443`, ALCOVE_EDGE_CERT: shown.cert, ALCOVE_EDGE_KEY: shown.key,
      ALCOVE_API_URL: `http://127.0.0.1:${apiPort}`, ALCOVE_CONTROL_URL: `https://127.0.0.1:${controlPort}`, ALCOVE_TLS_CA: own.ca, ALCOVE_TLS_CERT: own.cert, ALCOVE_TLS_KEY: own.key, ...extra,
    });
    this.edge = createEdge(config, silentLog, clock);
    const bound = await this.edge.listen();
    this.port = bound.edge.port;
    this.debugPort = bound.debug?.port ?? 0;
  }

  /** As at the start, under another incarnation: nothing that the edge keeps is of use. */
  renew(): void {
    const { target } = this.#initial ?? this.route;
    this.#initial = this.route = this.running(target?.hostUrl ?? '', (target?.incarnation ?? 0) + 1);
    this.elsewhere = false;
    this.wakes = () => 'room.not_running';
    this.onSurface = (_request, response) => void response.writeHead(204).end();
    this.onApi = (_request, response) => void response.writeHead(200, { 'content-type': 'application/json' }).end('{}');
  }

  async stop(): Promise<void> {
    for (const session of this.#sessions) session.destroy();
    const closing = this.edge.close();
    for (const server of this.#servers) if ('closeAllConnections' in server) server.closeAllConnections();
    for (const tunnel of this.tunnels) tunnel.destroy();
    for (const server of this.#servers) server.close();
    await closing;
    rmSync(this.folder, { recursive: true, force: true });
  }

  get ca(): Buffer {
    return readIdentity(tlsFiles(this.folder, 'edge')).ca;
  }

  /** An application in the room. */
  async listenInRoom(server: HttpServer): Promise<void> {
    this.app = server;
    await this.#serve(server);
  }

  // Clients.

  /** A TLS connection that speaks HTTP/1.1. */
  async raw(): Promise<TLSSocket> {
    const socket = connectTls({ host: '127.0.0.1', port: this.port, servername: `api.${domain}`, ca: this.ca, ALPNProtocols: ['http/1.1'] });
    socket.on('error', () => undefined);
    await once(socket, 'secureConnect');
    return socket;
  }

  /** One request over HTTP/1.1, on a connection of its own. */
  http1(host: string, path: string, options: { method?: string; headers?: Record<string, string | string[]>; body?: string | Buffer } = {}): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const outgoing = request({ host: '127.0.0.1', port: this.port, servername: `api.${domain}`, ca: this.ca, agent: false, method: options.method ?? 'GET', path, headers: { ...options.headers, host } }, (incoming) => {
        const chunks: Buffer[] = [];
        incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
        incoming.on('end', () => resolve(toAnswer(incoming.statusCode ?? 0, incoming.headers, chunks)));
        incoming.on('error', reject);
      });
      outgoing.on('error', reject);
      outgoing.end(options.body);
    });
  }

  /** `localAddress`: whence the edge sees it come. */
  async session(localAddress = '127.0.0.1'): Promise<ClientHttp2Session> {
    const session = connectHttp2(`https://127.0.0.1:${this.port}`, { ca: this.ca, servername: `api.${domain}`, maxSessionMemory: 64, localAddress } as SecureClientSessionOptions);
    session.on('error', () => undefined);
    this.#sessions.push(session);
    await once(session, 'connect');
    return session;
  }

  /** One request over HTTP/2, on the given session or one of its own. */
  async http2(host: string, path: string, options: { method?: string; headers?: OutgoingHttpHeaders; body?: string | Buffer; session?: ClientHttp2Session } = {}): Promise<Answer> {
    const session = options.session ?? (await this.session());
    const stream = session.request({ ':authority': host, ':path': path, ':method': options.method ?? 'GET', ...options.headers }, { endStream: options.body === undefined });
    if (options.body !== undefined) stream.end(options.body);
    return readStream(stream);
  }

  // Servers.

  async #serve(server: HttpServer | HttpsServer | TcpServer): Promise<number> {
    this.#servers.push(server);
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return (server.address() as AddressInfo).port;
  }

  async #control(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of incoming as AsyncIterable<Buffer>) chunks.push(chunk);
    const { roomId } = EdgeRouteAsked.parse(JSON.parse(Buffer.concat(chunks).toString()));
    const isWake = incoming.url === edgePaths.wake;
    if (isWake) this.woken++;
    else this.asked++;
    await this.answers;
    const unknown: EdgeRoute = { ...this.route, state: 'unknown', target: null, surfaceToken: null };
    const outcome = roomId !== room.id ? (this.others.get(roomId) ?? unknown) : isWake ? this.wakes() : this.route;
    if (typeof outcome !== 'string') return void response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(outcome));
    const problem = new Problem(outcome);
    response.writeHead(problem.status, { 'content-type': 'application/problem+json' }).end(JSON.stringify(problem.toBody()));
  }

  #isHere(incoming: IncomingMessage): boolean {
    return !this.elsewhere && (incoming.url ?? '').startsWith(`/rooms/${room.id}/incarnations/${this.route.target?.incarnation}/`);
  }

  #host(incoming: IncomingMessage, response: ServerResponse): void {
    if (!this.#isHere(incoming)) return void response.writeHead(409, { 'alcove-room': 'elsewhere', 'content-type': 'application/problem+json' }).end(JSON.stringify(new Problem('incarnation.stale').toBody()));
    if (incoming.url?.includes('/ports/')) return void response.writeHead(426).end();
    response.setHeader('alcove-room', 'here');
    this.onSurface(incoming, response);
  }

  #tunnel(incoming: IncomingMessage, socket: Duplex, head: Buffer): void {
    socket.on('error', () => undefined);
    const answer = (line: string, more = ''): void => void socket.end(`HTTP/1.1 ${line}\r\n${more}content-length: 0\r\nconnection: close\r\n\r\n`);
    if (!this.#isHere(incoming)) return answer('409 Conflict', 'alcove-room: elsewhere\r\n');
    if (incoming.headers.upgrade !== edgePaths.tunnelProtocol || !/\/ports\/\d+$/.test(incoming.url ?? '')) return answer('400 Bad Request');
    if (!this.app) return answer('502 Bad Gateway');
    const inside = connectTcp((this.app.address() as AddressInfo).port, '127.0.0.1');
    inside.on('error', () => socket.destroy());
    inside.once('connect', () => {
      socket.write('HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: alcove-bytes\r\n\r\n');
      if (head.length > 0) inside.write(head);
      socket.pipe(inside).pipe(socket);
      this.tunnels.add(socket);
      socket.once('close', () => {
        this.tunnels.delete(socket);
        inside.destroy();
      });
    });
  }
}

export interface Answer {
  status: number;
  headers: Record<string, unknown>;
  body: Buffer;
  json: unknown;
}

function toAnswer(status: number, headers: Record<string, unknown>, chunks: Buffer[]): Answer {
  const body = Buffer.concat(chunks);
  const json: unknown = String(headers['content-type'] ?? '').startsWith('application/json') && body.length > 0 ? JSON.parse(body.toString()) : null;
  return { status, headers, body, json };
}

/** Reads an HTTP/2 answer to its end. Rejects with BrokenStream when it was reset. */
export async function readStream(stream: ClientHttp2Stream): Promise<Answer> {
  const chunks: Buffer[] = [];
  let headers: Record<string, unknown> = {};
  stream.on('response', (head) => (headers = head));
  stream.on('data', (chunk: Buffer) => chunks.push(chunk));
  stream.on('error', () => undefined);
  await new Promise((resolve) => stream.once('close', resolve));
  if (stream.rstCode !== 0) throw new BrokenStream(stream.rstCode ?? -1);
  return toAnswer(Number(headers[':status']), headers, chunks);
}

export class BrokenStream extends Error {
  constructor(readonly code: number) {
    super(`reset with code ${code}`);
  }
}

/** Everything until the connection ends. */
export async function rest(socket: Socket | Duplex): Promise<string> {
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  await new Promise((resolve) => socket.once('close', resolve));
  return Buffer.concat(chunks).toString('latin1');
}

export async function bodyOf(incoming: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of incoming as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks);
}

export function digest(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}
