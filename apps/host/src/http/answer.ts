import type { IncomingMessage, ServerResponse } from 'node:http';
import { Writable } from 'node:stream';
import { limits, type Log, systemClock } from '@alcove/base';
import { isProblem, Problem } from '@alcove/contracts';
import type { z } from 'zod';

/** One request on its way through a route. */
export interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly params: Readonly<Record<string, string>>;
  readonly query: URLSearchParams;
  readonly requestId: string;
  /** Aborted when the caller goes away before it was answered. */
  readonly gone: AbortSignal;
  /** Tells a caller who asked (`Expect: 100-continue`) to send its body. Done before the route's handler, unless that says that it does so itself. */
  proceed(): void;
}

/** On a refusal because the incarnation does not run here: the request was not acted on, and may be made again where it does. */
const elsewhere = { 'alcove-room': 'elsewhere' };

export function sendJson(response: ServerResponse, status: number, value: unknown): void {
  const body = Buffer.from(JSON.stringify(value));
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': body.length });
  response.end(body);
}

/** Answers with the Problem; an answer that has begun is cut instead, so that the caller sees it is not whole. */
export function sendFailure(exchange: Pick<Exchange, 'request' | 'response' | 'requestId'>, error: unknown, log: Log): void {
  const { request, response, requestId } = exchange;
  const problem = isProblem(error) ? error : new Problem('internal', { cause: error });
  if (problem.status >= 500) log.warn({ err: error, requestId, code: problem.code }, 'a request failed');
  if (response.headersSent || response.destroyed) {
    response.destroy();
    return;
  }
  const body = Buffer.from(JSON.stringify(problem.toBody({ requestId })));
  const retry = problem.retryAfterMs === undefined ? {} : { 'retry-after': String(Math.ceil(problem.retryAfterMs / 1000)) };
  const where = problem.code === 'room.not_running' || problem.code === 'incarnation.stale' ? elsewhere : {};
  finishUnread(request, response);
  response.writeHead(problem.status, { 'content-type': 'application/problem+json', 'content-length': body.length, ...retry, ...where });
  response.end(body);
}

/**
 * To be called before an answer that comes before the end of the body. What is left of that is thrown away for a moment, so that the caller gets to read the answer; then
 * the connection is cut. Node must not think that the connection ends with the answer (`shouldKeepAlive`): it would close the socket, and a caller that still writes would
 * lose the answer to EPIPE.
 */
export function finishUnread(request: IncomingMessage, response: ServerResponse): void {
  if (request.complete) return;
  response.shouldKeepAlive = true;
  void linger(request);
}

async function linger(request: IncomingMessage): Promise<void> {
  request.on('error', () => undefined);
  request.resume();
  await systemClock.sleep(limits.hostAgent.lingerMs);
  if (!request.complete) request.destroy();
}

/** The whole of a body. Problem `request.too_large`. */
export async function readBytes(request: IncomingMessage, bytesMax: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > bytesMax) throw new Problem('request.too_large');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** Reads and checks a JSON body. Problems: `request.media_type`, `request.too_large`, `request.invalid`. */
export async function readJson<S extends z.ZodType>(request: IncomingMessage, schema: S): Promise<z.output<S>> {
  if (!/^application\/json\b/.test(request.headers['content-type'] ?? '')) throw new Problem('request.media_type');
  const body = await readBytes(request, limits.host.requestBytes);
  let value: unknown;
  try {
    value = JSON.parse(body.toString('utf8'));
  } catch {
    throw new Problem('request.invalid', { detail: 'the body is not JSON' });
  }
  return check(schema, value);
}

/** Checks a query string; a repeated name is refused. */
export function readQuery<S extends z.ZodType>(query: URLSearchParams, schema: S): z.output<S> {
  const names = [...query.keys()];
  if (new Set(names).size !== names.length) throw new Problem('request.invalid', { detail: 'a query parameter is given twice' });
  return check(schema, Object.fromEntries(query));
}

export function check<S extends z.ZodType>(schema: S, value: unknown): z.output<S> {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new Problem('request.invalid', { errors: parsed.error.issues.slice(0, 32).map((issue) => ({ path: issue.path.join('.'), message: issue.message })) });
}

/** Writes and waits for room when there is none. Rejects with the signal's reason when it is aborted first. */
export async function writeWithPressure(response: Writable, data: string | Buffer, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  if (response.destroyed) throw new Problem('guest.closed', { detail: 'the caller went away' });
  if (response.write(data)) return;
  await new Promise<void>((resolve, reject) => {
    const settle = () => {
      response.off('drain', settle);
      response.off('close', settle);
      signal.removeEventListener('abort', settle);
      if (signal.aborted) reject(signal.reason as Error);
      else resolve();
    };
    response.once('drain', settle);
    response.once('close', settle);
    signal.addEventListener('abort', settle, { once: true });
  });
}
