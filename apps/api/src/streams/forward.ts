import { request, type ClientRequest, type IncomingHttpHeaders, type IncomingMessage } from 'node:http';
import type { Duplex, Readable } from 'node:stream';
import { limits } from '@alcove/base';
import { isProblem, Problem } from '@alcove/contracts';

/** Of one connection only (RFC 9110, section 7.6.1), or this process's to say. */
const hops = ['connection', 'keep-alive', 'proxy-authenticate', 'proxy-authorization', 'proxy-connection', 'te', 'trailer', 'transfer-encoding', 'upgrade', 'expect', 'http2-settings'];
/** What opens this API is no business of the room's; nor is what another room had the browser keep. */
const notInward: ReadonlySet<string> = new Set([...hops, 'host', 'authorization', 'x-api-key', 'cookie', 'content-length']);
/** What would bind the browser, and so every other room behind this address, to what one room says. */
const notOutward: ReadonlySet<string> = new Set([
  ...hops, 'set-cookie', 'strict-transport-security', 'alt-svc', 'clear-site-data', 'service-worker-allowed', 'nel', 'report-to', 'reporting-endpoints', 'content-security-policy', 'x-content-type-options', 'x-request-id',
]);

/** A request for a server in a room. `path` as its caller wrote it, with the query. */
export interface ForwardedRequest {
  readonly method: string;
  readonly port: number;
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body?: Readable;
  readonly signal: AbortSignal;
}

/** The part of a URL that goes in: what follows the port, as it was written. */
export function pathInside(url: string): string {
  return /^\/v1\/rooms\/[^/]+\/ports\/[^/]+(\/.*)$/s.exec(url)?.[1] ?? '/';
}

function headersInside({ headers, port, body }: ForwardedRequest): Record<string, string | string[]> {
  const passed = Object.entries(headers).flatMap(([name, value]): [string, string | string[]][] => (value === undefined || notInward.has(name) || named(headers.connection, name) ? [] : [[name, value]]));
  const length = body && headers['content-length'];
  return { ...Object.fromEntries(passed), host: `localhost:${port}`, ...(length ? { 'content-length': length } : {}) };
}

/** The headers of the room's answer that its caller may see. */
export function headersOutside(headers: IncomingHttpHeaders): Record<string, string | string[]> {
  return Object.fromEntries(Object.entries(headers).flatMap(([name, value]): [string, string | string[]][] => (value === undefined || notOutward.has(name) || named(headers.connection, name) ? [] : [[name, value]])));
}

function named(connection: string | undefined, name: string): boolean {
  return (connection ?? '').toLowerCase().split(',').some((part) => part.trim() === name);
}

function send(socket: Duplex, asked: ForwardedRequest, more: Record<string, string>): ClientRequest {
  const outgoing = request({
    createConnection: () => socket,
    method: asked.method,
    path: asked.path,
    headers: { ...headersInside(asked), ...more },
    setHost: false,
    maxHeaderSize: limits.hostAgent.agentHeaderBytes,
    signal: asked.signal,
  });
  if (asked.body) {
    asked.body.on('error', (error) => outgoing.destroy(error));
    asked.body.pipe(outgoing);
  } else {
    outgoing.end();
  }
  return outgoing;
}

/**
 * Speaks HTTP/1.1 through a tunnel, for one request. Resolves when the answer begins. Throws `agent.unreachable` when what listens there does not answer in HTTP, `agent.timeout`
 * after limits.agent.invocationMs without an answer, and what is wrong with the caller's body.
 */
export function askThrough(socket: Duplex, asked: ForwardedRequest): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const outgoing = send(socket, asked, {});
    const timer = setTimeout(() => outgoing.destroy(new Problem('agent.timeout')), limits.agent.invocationMs);
    outgoing.once('response', (answer) => {
      clearTimeout(timer);
      resolve(answer);
    });
    // Without somebody to hear of it, Node closes the connection and says nothing more.
    outgoing.once('upgrade', (_answer, inside) => {
      clearTimeout(timer);
      inside.destroy();
      reject(new Problem('guest.protocol', { detail: 'The server in the room switched to a protocol that nobody asked for.' }));
    });
    outgoing.on('error', (error) => {
      clearTimeout(timer);
      reject(failure(error, asked));
    });
  });
}

/** Asks for a WebSocket through a tunnel. Resolves with the answer, and with the connection when it was granted. */
export function upgradeThrough(socket: Duplex, asked: ForwardedRequest): Promise<{ answer: IncomingMessage; granted: { inside: Duplex; first: Buffer } | null }> {
  return new Promise((resolve, reject) => {
    const outgoing = send(socket, asked, { connection: 'Upgrade', upgrade: 'websocket' });
    const timer = setTimeout(() => outgoing.destroy(new Problem('agent.timeout')), limits.agent.invocationMs);
    outgoing.once('upgrade', (answer, inside, first) => {
      clearTimeout(timer);
      resolve({ answer, granted: { inside, first } });
    });
    outgoing.once('response', (answer) => {
      clearTimeout(timer);
      resolve({ answer, granted: null });
    });
    outgoing.on('error', (error) => {
      clearTimeout(timer);
      reject(failure(error, asked));
    });
  });
}

function failure(error: unknown, { port, signal }: ForwardedRequest): unknown {
  if (isProblem(error)) return error;
  if (signal.aborted && isProblem(signal.reason)) return signal.reason;
  return new Problem('agent.unreachable', { detail: `What listens on port ${port} in the room does not answer in HTTP.`, cause: error });
}
