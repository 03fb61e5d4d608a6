import type { ClientRequest, IncomingMessage } from 'node:http';
import { limits, type Clock } from '@alcove/base';
import { cut, discard, flushHead, isWhole, writeHead, type Exchange } from './exchange';
import { answerHeaders } from './headers';
import { Refusal, replies } from './replies';
import { boundConnecting, TunnelRefused, UpstreamFailure } from './upstream';

/** What is sent as the body: a small one was read whole, so that it can be sent again. */
export type Body = { readonly kind: 'none' } | { readonly kind: 'small'; readonly bytes: Buffer } | { readonly kind: 'stream' };

/** Reads a body that is said to be small; leaves any other where it is. Throws Refusal when it does not come, or not in time. */
export async function takeBody({ request, length, moved }: Exchange, clock: Clock): Promise<Body> {
  if (length === 'none') return { kind: 'none' };
  if (length === 'unknown' || length > limits.edge.smallBodyBytes) return { kind: 'stream' };
  const begunAt = clock.monotonic();
  let movedAt = begunAt;
  const chunks: Buffer[] = [];
  const taken = new Promise<Body>((resolve, reject) => {
    const broken = (): void => reject(new Refusal(replies.badRequest('The body was broken off')));
    request.on('data', (chunk: Buffer) => {
      moved();
      movedAt = clock.monotonic();
      chunks.push(chunk);
    });
    request.once('end', () => (isWhole(request) ? resolve({ kind: 'small', bytes: Buffer.concat(chunks) }) : broken()));
    for (const event of ['error', 'aborted', 'close']) request.once(event, broken);
  });
  const over = new AbortController();
  try {
    return await Promise.race([taken, late(() => Math.min(movedAt + limits.http.bodyIdleMs, begunAt + limits.edge.smallBodyMs), clock, over.signal)]);
  } finally {
    over.abort();
  }
}

/** Throws Refusal at the deadline, which may be put off meanwhile; never resolves. */
async function late(deadline: () => number, clock: Clock, over: AbortSignal): Promise<never> {
  for (let left = deadline() - clock.monotonic(); left > 0; left = deadline() - clock.monotonic()) await clock.sleep(left, over);
  throw new Refusal(replies.slowBody());
}

/** The header that says how the body is framed on the way on: made new, never copied. */
export function framing(exchange: Exchange, body: Body): string[] {
  if (body.kind === 'small') return ['Content-Length', String(body.bytes.length)];
  if (body.kind === 'stream') return typeof exchange.length === 'number' ? ['Content-Length', String(exchange.length)] : ['Transfer-Encoding', 'chunked'];
  return ['POST', 'PUT', 'PATCH'].includes(exchange.method) ? ['Content-Length', '0'] : [];
}

/** Sends the request on; resolves when the answer's head is there. Rejects with UpstreamFailure or TunnelRefused. `asked`: an upgrade is what the caller waits for. */
export function send(exchange: Exchange, outgoing: ClientRequest, body: Body, asked: 'answer' | 'upgrade' = 'answer'): Promise<IncomingMessage> {
  const { gone } = exchange;
  return new Promise((resolve, reject) => {
    const connecting = boundConnecting(outgoing);
    const leave = (): void => void outgoing.destroy();
    outgoing.on('error', (error) => reject(error instanceof TunnelRefused || error instanceof UpstreamFailure ? error : new UpstreamFailure(error, connecting.connected, outgoing.reusedSocket)));
    outgoing.once('response', resolve);
    outgoing.once('upgrade', (_answer, socket) => {
      if (asked === 'upgrade') return;
      socket.destroy();
      reject(new UpstreamFailure(new Error('an upgrade that was not asked for'), true, false));
    });
    outgoing.once('close', () => gone.removeEventListener('abort', leave));
    if (gone.aborted) return leave();
    gone.addEventListener('abort', leave, { once: true });
    if (body.kind === 'stream') pump(exchange, outgoing);
    else outgoing.end(body.kind === 'small' ? body.bytes : undefined);
  });
}

/** Reads the caller's body no faster than upstream takes it. One that is broken off is broken off there, never ended: half an upload must not pass for a whole one. */
function pump({ request, length, moved }: Exchange, outgoing: ClientRequest): void {
  const abandon = (): void => void outgoing.destroy();
  const settle = (): unknown => (isWhole(request) ? outgoing.end() : abandon());
  request.on('data', moved);
  request.once('error', abandon);
  request.once('aborted', abandon);
  // Clients that cancel an upload under HTTP/2 (Node's among them) end the stream and reset it in one breath. Where no length was said, only the reset tells: it is
  // waited for until the connection was read once more.
  request.once('end', () => (length === 'unknown' ? setImmediate(() => setImmediate(settle)) : settle()));
  request.pipe(outgoing, { end: false });
}

/** Streams an answer back. Resolves when it is over: `false` when it was not whole, which the caller has been made to see. */
export function deliver(exchange: Exchange, outgoing: ClientRequest, incoming: IncomingMessage, drop?: (name: string) => boolean): Promise<boolean> {
  const { request, response, moved } = exchange;
  return new Promise((resolve) => {
    const finish = (whole: boolean): void => {
      if (!whole) cut(response);
      // Who has answered does not read on; what the caller still sends is nobody's.
      if (!outgoing.writableFinished) outgoing.destroy();
      resolve(whole);
    };
    incoming.on('data', moved);
    incoming.once('error', () => finish(false));
    incoming.once('aborted', () => finish(false));
    incoming.once('end', () => {
      if (!incoming.complete) return finish(false);
      response.end();
      request.unpipe();
      discard(request);
      finish(true);
    });
    response.once('close', () => {
      if (response.writableEnded) return;
      outgoing.destroy();
      resolve(false);
    });
    try {
      writeHead(response, incoming.statusCode ?? 502, answerHeaders(incoming.rawHeaders, drop));
    } catch {
      outgoing.destroy();
      return finish(false);
    }
    // Events and the like: the head must not wait for the first piece of the body.
    setImmediate(() => flushHead(response));
    incoming.pipe(response, { end: false });
  });
}

/** True when repeating the request does no harm, and nothing of it is lost. */
export function isRepeatable(exchange: Exchange, body: Body): boolean {
  return body.kind !== 'stream' && ['GET', 'HEAD', 'OPTIONS'].includes(exchange.method);
}
