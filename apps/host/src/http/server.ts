import { createServer, type Server } from 'node:https';
import { type IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import { limits, type Log, newId } from '@alcove/base';
import { edgePaths, Problem } from '@alcove/contracts';
import { type Exchange, sendFailure } from './answer';
import { Wires } from './wires';

export type Handler = (exchange: Exchange) => Promise<void>;
/** Who may call a host: the common name of the client's certificate. */
export type Caller = 'control-plane' | 'edge';

export interface Route {
  /** `*` is any. */
  method: 'GET' | 'PUT' | 'POST' | 'DELETE' | '*';
  /** `/rooms/:roomId/…`: a segment that begins with a colon is a parameter; a last segment `*` is everything that follows, as the parameter `*`. */
  path: string;
  /** Besides the control plane, which may call everything. */
  alsoFor?: 'edge';
  /** The handler calls `exchange.proceed` before it reads the body; until then nothing was acted on. */
  proceeds?: true;
  handle: Handler;
  /** Takes over the connection of a request that asks for the tunnel's protocol. Until it has answered, a failure is answered as any other. */
  upgrade?: (exchange: Exchange, connection: Connection) => Promise<void>;
}

/** A connection that is no longer HTTP. */
export interface Connection {
  readonly socket: Duplex;
  /** What the caller sent before it was answered. */
  readonly head: Buffer;
  /** Ends it so that the other side sees it was cut: a TCP reset, where a mere close would pass for an end. */
  cut(): void;
}

export interface TlsFiles {
  ca: Buffer;
  cert: Buffer;
  key: Buffer;
}

export interface HostService {
  routes: readonly Route[];
  log: Log;
  observe: (route: string, status: number, ms: number) => void;
}

/** Finds the route of a request. Throws `request.unknown_route` or `request.method`. */
export function matchRoute(routes: readonly Route[], method: string, path: string): { route: Route; params: Record<string, string> } {
  const segments = path.split('/');
  let pathKnown = false;
  for (const route of routes) {
    const params = matchPath(route.path.split('/'), segments);
    if (!params) continue;
    if (route.method === method || route.method === '*') return { route, params };
    pathKnown = true;
  }
  throw new Problem(pathKnown ? 'request.method' : 'request.unknown_route');
}

function matchPath(pattern: readonly string[], segments: readonly string[]): Record<string, string> | null {
  const open = pattern.at(-1) === '*';
  if (open ? segments.length < pattern.length : segments.length !== pattern.length) return null;
  const params: Record<string, string> = {};
  for (const [i, part] of pattern.entries()) {
    const segment = segments[i] ?? '';
    if (part === '*' && i === pattern.length - 1) params['*'] = segments.slice(i).join('/');
    else if (part.startsWith(':')) params[part.slice(1)] = segment;
    else if (part !== segment) return null;
  }
  return params;
}

/**
 * The host's HTTPS server. A client certificate of our authority is demanded by TLS itself; whose it is, is asked here. Bodies may be long uploads, so there is
 * no bound on the time of a whole request; headers have one, and so have idle connections. A connection is only ever given up to a tunnel: whoever asks for another
 * protocol is answered in HTTP.
 */
export function createHostServer(tls: TlsFiles, service: HostService, edgeConnections: number = limits.hostAgent.edgeConnections): Server {
  const server = createServer({
    ...tls,
    minVersion: 'TLSv1.3',
    requestCert: true,
    rejectUnauthorized: true,
    maxHeaderSize: limits.http.headerBytes,
    headersTimeout: limits.http.bodyIdleMs,
    requestTimeout: 0,
    keepAliveTimeout: 4 * limits.http.ssePingMs,
    noDelay: true,
    // A tunnel's ends close one after the other.
    allowHalfOpen: true,
    shouldUpgradeCallback: (request: IncomingMessage) => request.headers.upgrade === edgePaths.tunnelProtocol,
  } as Parameters<typeof createServer>[0]);
  const wires = new Wires(server);
  server.maxConnections = limits.hostAgent.connections;
  boundEdge(server, edgeConnections);
  server.on('request', (request, response) => void serve(service, request, response, false));
  // Who asks whether to go on with a body is told so by whatever begins to read it.
  server.on('checkContinue', (request, response) => void serve(service, request, response, true));
  server.on('upgrade', (request, socket, head) => void upgrade(service, request, { socket, head, cut: () => wires.cut(socket) }));
  server.on('tlsClientError', (err) => service.log.debug({ err }, 'a TLS handshake failed'));
  server.on('clientError', (_error, socket) => socket.destroy());
  return server;
}

/**
 * Behind the edge is everybody: its connections must not take the places that the control plane needs to command this host. Some beyond the bound are told so in HTTP and
 * closed: a connection that merely ends would pass for a host, or a room, that is not there.
 */
function boundEdge(server: Server, most: number): void {
  let open = 0;
  server.on('secureConnection', (socket) => {
    if (nameOf(socket) !== 'edge') return;
    if (open >= most + limits.hostAgent.edgeRefusals) return void socket.destroy();
    if (open >= most) surplus.add(socket);
    open += 1;
    socket.once('close', () => (open -= 1));
  });
}
const surplus = new WeakSet<object>();

/** Throws `guest.limit` on a connection that is one too many; whoever reads the header knows that nothing is said about the room. */
function refuseSurplus(request: IncomingMessage, response: ServerResponse): void {
  if (!surplus.has(request.socket)) return;
  response.setHeader('alcove-room', 'busy');
  response.setHeader('connection', 'close');
  throw new Problem('guest.limit', { detail: 'this host has too many connections at once' });
}

async function serve({ routes, log, observe }: HostService, request: IncomingMessage, response: ServerResponse, awaited: boolean): Promise<void> {
  const startedAt = performance.now();
  const requestId = newId('req');
  const closed = new AbortController();
  let name = 'unknown';
  response.on('close', () => {
    if (!response.writableFinished) closed.abort(new Problem('guest.closed', { detail: 'the caller went away' }));
    observe(name, response.statusCode, performance.now() - startedAt);
  });
  response.on('error', (err) => log.debug({ err, requestId }, 'an answer could not be sent'));
  try {
    refuseSurplus(request, response);
    const { route, params, query } = find(routes, request);
    name = `${route.method} ${route.path}`;
    const proceed = () => {
      if (awaited) response.writeContinue();
      awaited = false;
    };
    if (!route.proceeds) proceed();
    await route.handle({ request, response, params, query, requestId, gone: closed.signal, proceed });
  } catch (error) {
    sendFailure({ request, response, requestId }, error, log);
  }
}

async function upgrade({ routes, log, observe }: HostService, request: IncomingMessage, connection: Connection): Promise<void> {
  const startedAt = performance.now();
  const requestId = newId('req');
  const closed = new AbortController();
  const { socket } = connection;
  let name = 'unknown';
  socket.on('error', (err) => log.debug({ err, requestId }, 'a tunnel broke'));
  socket.on('close', () => {
    closed.abort(new Problem('guest.closed', { detail: 'the caller went away' }));
  });
  const response = new ServerResponse(request);
  try {
    refuseSurplus(request, response);
    const { route, params, query } = find(routes, request);
    name = `${route.method} ${route.path}`;
    if (!route.upgrade) throw new Problem('request.invalid', { detail: 'there is no tunnel here' });
    await route.upgrade({ request, response, params, query, requestId, gone: closed.signal, proceed: () => undefined }, connection);
    observe(name, 101, performance.now() - startedAt);
  } catch (error) {
    if (socket.destroyed) return;
    response.shouldKeepAlive = false;
    response.assignSocket(socket as TLSSocket);
    response.on('finish', () => socket.end());
    sendFailure({ request, response, requestId }, error, log);
    observe(name, response.statusCode, performance.now() - startedAt);
  }
}

function find(routes: readonly Route[], request: IncomingMessage): { route: Route; params: Record<string, string>; query: URLSearchParams } {
  const caller = commonName(request);
  if (caller !== 'control-plane' && caller !== 'edge') throw new Problem('auth.scope', { detail: 'this certificate is neither the control plane’s nor the edge’s' });
  const url = URL.parse(request.url ?? '/', 'https://host');
  if (!url) throw new Problem('request.unknown_route');
  const allowed = caller === 'control-plane' ? routes : routes.filter((route) => route.alsoFor === caller);
  try {
    return { ...matchRoute(allowed, request.method ?? '', url.pathname), query: url.searchParams };
  } catch (error) {
    // The edge is told of no other route, not even that there is none.
    throw caller === 'edge' ? new Problem('auth.scope', { detail: 'the edge may not call that' }) : error;
  }
}

/** The common name of the client's certificate, remembered per connection. */
function commonName(request: IncomingMessage): string {
  return nameOf(request.socket as TLSSocket);
}

function nameOf(socket: TLSSocket): string {
  const known = names.get(socket);
  if (known !== undefined) return known;
  const cn = socket.authorized ? socket.getPeerCertificate().subject?.CN : undefined;
  const name = typeof cn === 'string' ? cn : '';
  names.set(socket, name);
  return name;
}
const names = new WeakMap<TLSSocket, string>();
