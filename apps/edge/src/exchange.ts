import type { IncomingMessage, ServerResponse } from 'node:http';
import { constants, type Http2ServerRequest, type Http2ServerResponse } from 'node:http2';
import type { Duplex } from 'node:stream';
import { limits } from '@alcove/base';
import { bodyLengthOf, requestHeaders, valuesOf, type BodyLength } from './headers';
import type { Seat } from './places';
import { formOf, Refusal, rendered, replies, type Reply } from './replies';

export type AnyRequest = IncomingMessage | Http2ServerRequest;
export type AnyResponse = ServerResponse | Http2ServerResponse;

/** One request on its way, HTTP/1.1 or 2, checked: what follows can rely on one host, one length and a path in origin form. */
export interface Exchange {
  readonly request: AnyRequest;
  readonly response: AnyResponse;
  readonly method: string;
  /** Path and query as they were sent: printable ASCII that begins with a slash. */
  readonly target: string;
  readonly authority: string;
  readonly length: BodyLength;
  readonly remoteAddress: string;
  readonly seat: Seat;
  /** The connection, where the request asks for it to become a WebSocket. */
  readonly upgrade: { readonly protocol: string; readonly socket: Duplex; readonly head: Buffer } | null;
  /** Aborted when the caller is gone before it was answered. */
  readonly gone: AbortSignal;
  /** Ends the exchange when nothing moves for limits.edge.idleMs; to be called for every piece that does. */
  moved(): void;
  /** The connection has become something else, which somebody else watches. */
  handOver(): void;
}

/** Printable ASCII without a fragment, from a slash on: no absolute form, whose host might be another one than the header's. */
const originForm = /^\/[\x21\x22\x24-\x7e]*$/;
const methods = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']);

export function isHttp2(request: AnyRequest): request is Http2ServerRequest {
  return request.httpVersionMajor === 2;
}

/** Checks a request. Throws Refusal for one that could be understood in two ways. */
export function openExchange(request: AnyRequest, response: AnyResponse, seat: Seat, upgrade: Exchange['upgrade'] = null): Exchange {
  const hosts = valuesOf(request.rawHeaders, 'host');
  const authorities = isHttp2(request) ? valuesOf(request.rawHeaders, ':authority') : [];
  const [authority = ''] = [...authorities, ...hosts];
  if (hosts.length > 1 || authorities.length > 1 || [...authorities, ...hosts].some((name) => name.toLowerCase() !== authority.toLowerCase())) throw new Refusal(replies.badRequest('There must be one host'));
  const target = request.url ?? '';
  const method = request.method ?? '';
  if (target.length > limits.edge.pathBytes) throw new Refusal(replies.headersTooLarge());
  if (!originForm.test(target)) throw new Refusal(replies.badRequest('This is no path'));
  if (!methods.has(method)) throw new Refusal(replies.method());
  const length = lengthOf(request);
  if (length === null) throw new Refusal(replies.badRequest('The length of the body can be read in two ways'));
  return { request, response, method, target, authority, length, remoteAddress: remoteAddressOf(request), seat, upgrade, ...watchEnd(response) };
}

export function remoteAddressOf(request: AnyRequest): string {
  return request.socket.remoteAddress ?? '';
}

function lengthOf(request: AnyRequest): BodyLength | null {
  const said = bodyLengthOf(request.rawHeaders);
  if (!isHttp2(request)) return said;
  if (request.stream.endAfterHeaders) return said === null ? null : 'none';
  // HTTP/2 says by itself where a body ends, and its parser holds it to the length.
  return said === 'none' ? 'unknown' : said;
}

function watchEnd(response: AnyResponse): Pick<Exchange, 'gone' | 'moved' | 'handOver'> {
  const gone = new AbortController();
  const timer = setTimeout(() => cut(response), limits.edge.idleMs);
  response.on('error', () => undefined);
  response.on('close', () => {
    clearTimeout(timer);
    // Not writableFinished: HTTP/2 says that of answers which were broken off, too.
    if (!response.writableEnded) gone.abort(new Error('the caller is gone'));
  });
  return { gone: gone.signal, moved: () => void timer.refresh(), handOver: () => clearTimeout(timer) };
}

/** Ends an answer so that its reader sees it is not whole: HTTP/1.1 by the connection's end, HTTP/2 by INTERNAL_ERROR; a client takes CANCEL for a clean end. */
export function cut(response: AnyResponse): void {
  if (!('stream' in response)) response.destroy();
  // Compatible responses lose their stream when it has closed.
  else if (response.stream && !response.stream.closed) response.stream.close(constants.NGHTTP2_INTERNAL_ERROR);
}

/** Gives an answer of our own; one that has begun is cut instead. */
export function answer(request: AnyRequest, response: AnyResponse, reply: Reply): void {
  if (response.headersSent) return cut(response);
  const { status, headers, bytes } = rendered(reply, formOf(request.method, request.url ?? '', request.headers));
  writeHead(response, status, headers);
  if (request.method === 'HEAD') response.end();
  else response.end(bytes);
  discard(request);
}

/** The head of an answer, with repeated headers and, towards HTTP/1.1, their case. */
export function writeHead(response: AnyResponse, status: number, headers: string[]): void {
  if ('stream' in response) response.writeHead(status, headers as unknown as NodeJS.Dict<string[]>);
  else response.writeHead(status, headers);
}

/** Sends the head now, without waiting for a piece of the body. HTTP/2 has sent it already. */
export function flushHead(response: AnyResponse): void {
  if (!('stream' in response) && !response.writableEnded && !response.destroyed) response.flushHeaders();
}

/** True when the whole body of a request has arrived, not merely its last piece before it was broken off. To be asked when it has ended. */
export function isWhole(request: AnyRequest): boolean {
  if (!isHttp2(request)) return request.complete;
  return !request.aborted && request.stream !== undefined && !request.stream.closed && !request.stream.aborted;
}

/**
 * What is left of the body of an answered request is thrown away for a moment, so that a caller that writes first and reads then gets to its answer; after that the
 * connection, or under HTTP/2 the stream, is closed.
 */
export function discard(request: AnyRequest): void {
  request.on('error', () => undefined);
  request.resume();
  if (request.readableEnded || (isHttp2(request) ? request.stream === undefined || request.stream.closed : request.complete)) return;
  const timer = setTimeout(() => {
    if (!isHttp2(request)) request.destroy();
    else if (request.stream !== undefined && !request.stream.closed) request.stream.close(constants.NGHTTP2_NO_ERROR);
  }, limits.edge.lingerMs);
  // The connection is what keeps a process alive, not the wish to close it.
  timer.unref();
  for (const event of ['end', 'close']) request.once(event, () => clearTimeout(timer));
}

/** The headers that go on to an application, and those that say whom we speak for. */
export function forwardedHeaders(exchange: Exchange, drop: (name: string) => boolean): string[] {
  const { request, authority, remoteAddress } = exchange;
  const kept = requestHeaders(request.rawHeaders, drop);
  return [...kept, 'X-Forwarded-For', remoteAddress, 'X-Forwarded-Proto', 'https', 'X-Forwarded-Host', authority];
}
