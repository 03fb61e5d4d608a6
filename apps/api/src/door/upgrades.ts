import type { IncomingHttpHeaders, IncomingMessage, Server } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Log } from '@alcove/base';
import { Problem, type Principal } from '@alcove/contracts';
import { answerHeaders } from './answer-headers';
import { checkParams, checkQuery } from './checks';
import { requestId, type Door } from './door';
import type { OpenCalls } from './open-calls';
import { toProblem } from './problems';
import { doorTable, type Call } from './route';

/** The routes whose connection may become something else than HTTP. */
type UpgradeId = 'pty' | 'forwardPort';

/** A request for that which came through the door. Whoever takes it answers on the socket; until something was written there, throwing is answered as on any route. */
export interface UpgradeCall<R extends UpgradeId> extends Pick<Call<R>, 'principal' | 'params' | 'query' | 'signal'> {
  readonly request: IncomingMessage;
  readonly socket: Duplex;
  /** What came after the request already. */
  readonly head: Buffer;
}

export type UpgradeHandlers = { readonly [R in UpgradeId]: (call: UpgradeCall<R>) => Promise<void> };

const patterns: Readonly<Record<UpgradeId, RegExp>> = {
  pty: /^\/v1\/rooms\/(?<roomId>[^/]+)\/pty$/,
  forwardPort: /^\/v1\/rooms\/(?<roomId>[^/]+)\/ports\/(?<port>[^/]+)\/(?<rest>.*)$/,
};
const keyProtocol = /^alcove\.key\.(\S{1,512})$/;

/** The subprotocols that a WebSocket's caller offers. */
export function protocolsOf(headers: IncomingHttpHeaders): string[] {
  return (headers['sec-websocket-protocol'] ?? '').split(',').map((name) => name.trim()).filter((name) => name !== '');
}

/**
 * WebSockets past Fastify, which has no word for them: Node hands the connection over, and here it meets the same door as every other request: key, scope, rate, checks.
 * Any other request that would like another protocol is served as if it had not said so.
 */
export class Upgrades {
  constructor(
    private readonly door: Door,
    private readonly calls: OpenCalls,
    private readonly handlers: UpgradeHandlers,
    private readonly trustsProxy: boolean,
    private readonly log: Log,
  ) {}

  install(server: Server): void {
    Object.assign(server, { shouldUpgradeCallback: (request: IncomingMessage) => routeOf(request) !== null });
    server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => void this.#take(request, socket, head));
  }

  async #take(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    const id = requestId(request.headers, this.trustsProxy);
    socket.on('error', (err) => this.log.debug({ err, requestId: id }, 'an upgraded connection broke'));
    try {
      await this.#admit(request, socket, head);
    } catch (error) {
      const problem = toProblem(error);
      this.log[problem.code === 'internal' ? 'error' : 'debug']({ err: problem, requestId: id }, 'an upgrade was refused');
      refuse(socket, problem, id, pathOf(request));
    }
  }

  async #admit(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    const route = routeOf(request);
    if (!route) throw new Problem('request.unknown_route');
    if (this.calls.closing) throw new Problem('unavailable', { detail: 'The platform is restarting.' });
    let leave: () => void = () => undefined;
    const signal = this.calls.addConnection(socket, () => leave());
    const principal = await this.#identify(route.id, request.headers);
    leave = await this.door.rates.enter(principal);
    if (socket.destroyed) return leave();
    this.calls.follows(signal);
    checkParams(route.params);
    const query = checkQuery(doorTable[route.id], queryOf(request));
    // The door has checked every part against the table; the cast carries that knowledge into the types.
    await (this.handlers[route.id] as (call: unknown) => Promise<void>)({ principal, params: route.params, query, signal, request, socket, head });
  }

  /** A browser cannot send Authorization with a WebSocket: it may offer the key as a subprotocol. */
  async #identify(id: UpgradeId, headers: IncomingHttpHeaders): Promise<Principal> {
    const offered = protocolsOf(headers).flatMap((name) => keyProtocol.exec(name)?.[1] ?? []);
    const key = headers.authorization === undefined && offered.length === 1 ? { authorization: `Bearer ${offered[0]}` } : {};
    const principal = await this.door.identify(doorTable[id], { ...headers, ...key });
    if (!principal) throw new Problem('auth.missing');
    return principal;
  }
}

function pathOf(request: IncomingMessage): string {
  return (request.url ?? '').split('?', 1)[0] ?? '';
}

function queryOf(request: IncomingMessage): Record<string, string | string[]> {
  const found: Record<string, string | string[]> = {};
  for (const [name, value] of new URLSearchParams((request.url ?? '').slice(pathOf(request).length + 1))) {
    const before = Object.hasOwn(found, name) ? found[name] : undefined;
    Object.defineProperty(found, name, { value: before === undefined ? value : [before, value].flat(), enumerable: true, configurable: true, writable: true });
  }
  return found;
}

/** Null for what stays HTTP. */
function routeOf(request: IncomingMessage): { id: UpgradeId; params: Record<string, string> } | null {
  if (request.method !== 'GET' || request.headers.upgrade?.toLowerCase() !== 'websocket') return null;
  const path = pathOf(request);
  for (const id of ['pty', 'forwardPort'] as const) {
    const groups = patterns[id].exec(path)?.groups;
    if (groups) return { id, params: { ...groups } };
  }
  return null;
}

function refuse(socket: Duplex, problem: Problem, id: string, instance: string): void {
  if (!socket.writable) {
    socket.destroy();
    return;
  }
  const body = JSON.stringify(problem.toBody({ instance, requestId: id }));
  const headers = {
    ...answerHeaders(id),
    'content-type': 'application/problem+json',
    'content-length': String(Buffer.byteLength(body)),
    connection: 'close',
    ...(problem.retryAfterMs === undefined ? {} : { 'retry-after': String(Math.ceil(problem.retryAfterMs / 1000)) }),
    ...(problem.status === 401 ? { 'www-authenticate': 'Bearer realm="Alcove"' } : {}),
  };
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.end(`HTTP/1.1 ${problem.status} ${problem.code}\r\n${lines.join('')}\r\n${body}`, () => socket.destroy());
}
