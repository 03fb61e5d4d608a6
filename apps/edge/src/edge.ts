import { createServer, ServerResponse, type IncomingMessage, type Server } from 'node:http';
import { createSecureServer, type Http2SecureServer, type ServerHttp2Session } from 'node:http2';
import type { AddressInfo, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { limits, systemClock, type Clock, type Log } from '@alcove/base';
import { sandboxIdOf } from '@alcove/contracts';
import { destinationOf, hostNameOf, surfacePort, type Destination } from './addresses';
import { passToApi } from './api-passage';
import type { EdgeConfig } from './config';
import { httpsControlPlane } from './control-plane';
import { answer, openExchange, remoteAddressOf, type AnyRequest, type AnyResponse, type Exchange } from './exchange';
import { valuesOf } from './headers';
import { Crowd, neighbourhood, Places, type Seat } from './places';
import { Refusal, replies } from './replies';
import { Rooms } from './rooms';
import { Routes } from './routes';
import { TunnelRefused, Upstreams } from './upstream';

/** A running edge. */
export interface Edge {
  /** Starts to listen; resolves with the addresses, ports chosen by the kernel included. */
  listen(): Promise<{ edge: AddressInfo; debug: AddressInfo | null }>;
  /** Reads the public certificate again. Throws BadSettings and keeps the one it has. */
  renewCertificate(): void;
  /** Takes nothing new, lets what is on its way finish for limits.edge.closeMs, then cuts it. */
  close(): Promise<void>;
}

/** What serves one checked request. Throws Refusal. */
type Serve = (exchange: Exchange) => Promise<void>;

/** Puts the edge together without listening. Throws when the certificate cannot be used. */
export function createEdge(config: EdgeConfig, log: Log, clock: Clock = systemClock): Edge {
  const controlPlane = httpsControlPlane(config.controlUrl, config.tls);
  const upstreams = new Upstreams(config.apiUrl, config.tls);
  const rooms = new Rooms(new Routes(controlPlane, clock), upstreams, clock);
  const door = new Door(log, !config.behindProxy);
  const sessions = new Set<ServerHttp2Session>();
  const server = publicServer(config, sessions);
  door.attend(server, (exchange) => dispatch(exchange, config.domain, { rooms, api: () => passToApi(exchange, upstreams, clock) }));
  const debug = config.debug ? { listen: config.debug.listen, server: createServer({ ...serverBounds, keepAliveTimeout: limits.edge.keepAliveMs }), room: config.debug.room } : null;
  if (debug) door.attend(debug.server, (exchange) => serveDebug(exchange, debug.room, rooms));
  return {
    listen: async () => ({ edge: await listening(server, config.listen), debug: debug && (await listening(debug.server, debug.listen)) }),
    renewCertificate: () => server.setSecureContext(config.certificate()),
    close: async () => {
      const closed = [server, ...(debug ? [debug.server] : [])].map((one) => new Promise((resolve) => one.close(resolve)));
      for (const session of sessions) session.close();
      const timer = setTimeout(() => {
        for (const session of sessions) session.destroy();
        door.destroyAll();
      }, limits.edge.closeMs);
      await Promise.all(closed);
      clearTimeout(timer);
      upstreams.close();
      controlPlane.close();
    },
  };
}

const serverBounds = {
  maxHeaderSize: limits.http.headerBytes,
  headersTimeout: limits.edge.headersMs,
  // A body may take as long as it moves.
  requestTimeout: 0,
  insecureHTTPParser: false,
  requireHostHeader: false,
  noDelay: true,
  keepAlive: true,
  keepAliveInitialDelay: 60_000,
};

function publicServer(config: EdgeConfig, sessions: Set<ServerHttp2Session>): Http2SecureServer {
  const server = createSecureServer({
    ...config.certificate(),
    ...serverBounds,
    allowHTTP1: true,
    minVersion: 'TLSv1.2',
    handshakeTimeout: limits.edge.headersMs,
    maxSessionMemory: limits.edge.sessionMemoryMiB,
    maxHeaderListPairs: limits.edge.headerPairs,
    settings: { maxConcurrentStreams: limits.edge.streamsPerSession, maxHeaderListSize: limits.http.headerBytes, initialWindowSize: limits.edge.streamWindowBytes, enablePush: false },
  });
  // What the types leave out, and createSecureServer() does not take as options.
  Object.assign(server, { keepAliveTimeout: limits.edge.keepAliveMs, maxConnections: limits.edge.connections, shouldUpgradeCallback: isWebSocket });
  server.on('session', (session) => {
    sessions.add(session);
    session.once('close', () => sessions.delete(session));
    session.on('error', () => undefined);
    session.setLocalWindowSize(limits.edge.sessionWindowBytes);
    // Idle means no stream: what flows slowly is not idle.
    session.setTimeout(limits.edge.sessionIdleMs, () => session.close());
  });
  return server;
}

/** Any other protocol is not offered, and the request goes on as it is (RFC 9110 §7.8). */
function isWebSocket(request: IncomingMessage): boolean {
  return request.headers.upgrade?.toLowerCase() === 'websocket';
}

function dispatch(exchange: Exchange, domain: string, { rooms, api }: { rooms: Rooms; api: () => Promise<void> }): Promise<void> {
  const { request } = exchange;
  const [id, port] = ['e2b-sandbox-id', 'e2b-sandbox-port'].map((name) => valuesOf(request.rawHeaders, name).join());
  const destination: Destination = destinationOf(exchange.authority, { id: id || undefined, port: port || undefined }, domain);
  switch (destination.kind) {
    case 'api':
      return api();
    case 'room':
      return rooms.serve(exchange, destination);
    case 'nothing':
      throw new Refusal(replies.nothing(hostNameOf(exchange.authority) ?? '', domain));
    case 'foreign':
      throw new Refusal(replies.foreignHost(hostNameOf(exchange.authority) ?? '', domain));
    case 'bad':
      throw new Refusal(replies.badRequest('There must be one host'));
  }
}

const ownNames = new Set(['localhost', '127.0.0.1', '::1']);

/**
 * The debug listener: one room's surface without a token, for programs of this machine. A page in this machine's browser must not get there, neither by a name that was
 * made to lead here nor by a form that it sends.
 */
async function serveDebug(exchange: Exchange, roomId: NonNullable<EdgeConfig['debug']>['room'], rooms: Rooms): Promise<void> {
  const { request, authority } = exchange;
  const isOwn = (name: string | undefined): boolean => ownNames.has(hostNameOf(name) ?? '');
  if (!isOwn(authority)) throw new Refusal(replies.notThisMachine());
  const origins = valuesOf(request.rawHeaders, 'origin');
  if (!origins.every((origin) => isOwn(URL.parse(origin)?.host)) || valuesOf(request.rawHeaders, 'sec-fetch-site').includes('cross-site')) throw new Refusal(replies.foreignOrigin());
  await rooms.serve(exchange, { kind: 'room', sandboxId: sandboxIdOf(roomId), roomId, port: surfacePort }, true);
}

/** What every request passes, whichever listener it came by. */
class Door {
  readonly #crowd: Crowd;
  readonly #connections = new Places(limits.edge.connectionsPerAddress);
  readonly #sockets = new Set<Duplex>();

  constructor(
    private readonly log: Log,
    /** What one address may have open is bounded. */
    private readonly boundsAddresses: boolean,
  ) {
    this.#crowd = new Crowd(boundsAddresses);
  }

  attend(server: Http2SecureServer | Server, serve: Serve): void {
    const onRequest = (request: AnyRequest, response: AnyResponse): void => void this.#serve(request, response, null, serve);
    const onUpgrade = (request: IncomingMessage, socket: Duplex, head: Buffer): void => {
      socket.on('error', () => undefined);
      const response = new ServerResponse(request);
      response.shouldKeepAlive = false;
      response.assignSocket(socket as Socket);
      response.once('finish', () => socket.end());
      const protocol = request.headers.upgrade ?? '';
      void this.#serve(request, response, { protocol, socket, head }, serve);
    };
    const either = server as Server;
    either.on('request', onRequest as (request: IncomingMessage, response: ServerResponse) => void);
    either.on('upgrade', onUpgrade);
    either.on('clientError', (error, socket) => refuseBadHttp(error, socket));
    either.on('connection', (socket) => this.#count(socket));
    for (const event of ['connection', 'secureConnection']) {
      either.on(event, (socket: Socket) => {
        this.#sockets.add(socket);
        socket.once('close', () => this.#sockets.delete(socket));
      });
    }
  }

  destroyAll(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  async #serve(request: AnyRequest, response: AnyResponse, upgrade: Exchange['upgrade'], serve: Serve): Promise<void> {
    try {
      await this.#crowd.seat(remoteAddressOf(request), (seat: Seat) => serve(openExchange(request, response, seat, upgrade)));
    } catch (error) {
      const refusal = error instanceof Refusal ? error : new Refusal(replies.internal(), error);
      this.#tell(refusal);
      answer(request, response, refusal.reply);
    }
  }

  #count(socket: Socket): void {
    if (!this.boundsAddresses) return;
    const leave = this.#connections.take(neighbourhood(socket.remoteAddress ?? ''));
    if (leave) socket.once('close', leave);
    else socket.destroy();
  }

  /** What a caller did wrong is not worth a line, nor that nobody listens on a port: only what failed among ourselves is. */
  #tell({ cause, reply, message }: Refusal): void {
    if (cause === undefined) return;
    const level = reply.status === 500 ? 'error' : cause instanceof TunnelRefused ? 'debug' : 'info';
    this.log[level]({ err: cause, status: reply.status }, message);
  }
}

/** What is no HTTP that can be understood gets an answer too, and its connection ends: whatever follows it could be anybody's. */
function refuseBadHttp(error: Error, socket: Duplex): void {
  const isLong = 'code' in error && error.code === 'HPE_HEADER_OVERFLOW';
  if (!socket.writable || ('bytesRead' in socket && socket.bytesRead === 0)) return void socket.destroy();
  socket.end(`HTTP/1.1 ${isLong ? '431 Request Header Fields Too Large' : '400 Bad Request'}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`);
}

async function listening(server: Http2SecureServer | Server, { host, port }: { host: string; port: number }): Promise<AddressInfo> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => {
      server.off('error', reject);
      resolve();
    });
  });
  return server.address() as AddressInfo;
}
