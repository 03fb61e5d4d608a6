import { createServer, type Server } from 'node:https';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { TLSSocket } from 'node:tls';
import { limits, type Log, newId } from '@alcove/base';
import { Problem } from '@alcove/contracts';
import { type Exchange, sendFailure } from './answer';

export type Handler = (exchange: Exchange) => Promise<void>;
export interface Route {
  method: 'GET' | 'PUT' | 'POST' | 'DELETE';
  /** `/rooms/:roomId/…`: a segment that begins with a colon is a parameter. */
  path: string;
  handle: Handler;
}

export interface TlsFiles {
  ca: Buffer;
  cert: Buffer;
  key: Buffer;
}

/** The one caller of a host: the common name of its client certificate. */
const controlPlaneName = 'control-plane';

/** Finds the route of a request. Throws `request.unknown_route` or `request.method`. */
export function matchRoute(routes: readonly Route[], method: string, path: string): { route: Route; params: Record<string, string> } {
  const segments = path.split('/');
  let pathKnown = false;
  for (const route of routes) {
    const params = matchPath(route.path.split('/'), segments);
    if (!params) continue;
    if (route.method === method) return { route, params };
    pathKnown = true;
  }
  throw new Problem(pathKnown ? 'request.method' : 'request.unknown_route');
}

function matchPath(pattern: readonly string[], segments: readonly string[]): Record<string, string> | null {
  if (pattern.length !== segments.length) return null;
  const params: Record<string, string> = {};
  for (const [i, part] of pattern.entries()) {
    const segment = segments[i] ?? '';
    if (part.startsWith(':')) params[part.slice(1)] = segment;
    else if (part !== segment) return null;
  }
  return params;
}

/**
 * The host's HTTPS server. A client certificate of our authority is demanded by TLS itself; whose it is, is asked here. Bodies may be long uploads, so there is
 * no bound on the time of a whole request; headers have one, and so have idle connections.
 */
export function createHostServer(tls: TlsFiles, routes: readonly Route[], log: Log, observe: (route: string, status: number, ms: number) => void): Server {
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
  });
  server.maxConnections = limits.hostAgent.connections;
  server.on('request', (request, response) => void serve(routes, request, response, log, observe));
  server.on('tlsClientError', (err) => log.debug({ err }, 'a TLS handshake failed'));
  server.on('clientError', (_error, socket) => socket.destroy());
  return server;
}

async function serve(routes: readonly Route[], request: IncomingMessage, response: ServerResponse, log: Log, observe: (route: string, status: number, ms: number) => void): Promise<void> {
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
    if (commonName(request) !== controlPlaneName) throw new Problem('auth.scope', { detail: 'this certificate is not the control plane’s' });
    const url = URL.parse(request.url ?? '/', 'https://host');
    if (!url) throw new Problem('request.unknown_route');
    const { route, params } = matchRoute(routes, request.method ?? '', url.pathname);
    name = `${route.method} ${route.path}`;
    await route.handle({ request, response, params, query: url.searchParams, requestId, gone: closed.signal });
  } catch (error) {
    sendFailure({ request, response, requestId }, error, log);
  }
}

/** The common name of the client's certificate, remembered per connection. */
function commonName(request: IncomingMessage): string {
  const socket = request.socket as TLSSocket;
  const known = names.get(socket);
  if (known !== undefined) return known;
  const cn = socket.authorized ? socket.getPeerCertificate().subject?.CN : undefined;
  const name = typeof cn === 'string' ? cn : '';
  names.set(socket, name);
  return name;
}
const names = new WeakMap<TLSSocket, string>();
