import { type Clock, limits } from '@alcove/base';
import { edgePaths, isProblem } from '@alcove/contracts';
import { type Exchange, finishUnread, sendJson } from '../http/answer';
import type { Route } from '../http/server';
import type { RoomStream } from '../rooms/live-guest';
import type { Rooms } from '../rooms/rooms';
import { roomOf } from '../routes/room-params';
import type { Figures } from '../services/figures';
import { userNamed } from './accounts';
import type { Call, StreamCall, SurfaceParts, UnaryCall } from './call';
import { type CallKind, isStream, keepaliveMsOf, kindOf, readMessage, sendStreamError, sendUnary, sendUnaryError, timeoutMsOf } from './connect-codec';
import { EventStream } from './event-stream';
import { filesystemStreams, filesystemUnary } from './filesystem-service';
import { processStreams, processUnary } from './process-service';
import { restCalls } from './rest';
import { SurfaceError, surfaceError } from './surface-error';
import { Watchers } from './watchers';

const services: Record<string, { unary: Record<string, UnaryCall>; streams: Record<string, StreamCall> }> = {
  'process.Process': { unary: processUnary, streams: processStreams },
  'filesystem.Filesystem': { unary: filesystemUnary, streams: filesystemStreams },
};

/**
 * `surface/*`: what E2B's clients find on port 49983 of a sandbox. Who the caller is was settled by whoever passes the request on. A room that does not run here is a
 * problem as everywhere on this host, with `alcove-room: elsewhere`, before any of the body is read; every other failure is in E2B's words. When the room sleeps or
 * ends, the answer is cut.
 */
export function surfaceRoute(rooms: Rooms, figures: Figures, clock: Clock): Route {
  const parts: SurfaceParts = { rooms, figures, clock, watchers: new Watchers((room) => rooms.openStream(room), clock) };
  return {
    method: '*',
    path: `/rooms/:roomId/incarnations/:n/${edgePaths.surface}/*`,
    alsoFor: 'edge',
    proceeds: true,
    handle: async (exchange) => {
      const room = roomOf(exchange);
      const stream = await rooms.openStream(room).catch((error: unknown) => refuse(exchange, error));
      if (stream === null) return;
      try {
        exchange.proceed();
        await answer(exchange, parts, room, stream);
      } finally {
        stream.close();
      }
    },
  };
}

/** A room that runs but is at its bound is refused in E2B's words: as a plain 429 its clients take it for one that does not run. Rethrows everything else. */
function refuse({ request, response, params }: Exchange, error: unknown): null {
  if (!isProblem(error, 'guest.limit')) throw error;
  const failure = surfaceError(error);
  const [service = '', , ...more] = (params['*'] ?? '').split('/');
  const isRpc = Object.hasOwn(services, service) && more.length === 0;
  finishUnread(request, response);
  if (isRpc && isStream(request.headers['content-type'])) sendStreamError(response, failure);
  else if (isRpc) sendUnaryError(response, failure);
  else sendJson(response, failure.status, { code: failure.status, message: failure.message });
  return null;
}

async function answer(exchange: Exchange, parts: SurfaceParts, room: Call['room'], stream: RoomStream): Promise<void> {
  const { response } = exchange;
  try {
    const call = { exchange, parts, room, guest: stream.guest, signal: AbortSignal.any([exchange.gone, stream.signal]) };
    const [service = '', method = '', ...more] = (exchange.params['*'] ?? '').split('/');
    if (Object.hasOwn(services, service) && more.length === 0) await rpc(call, service, method);
    else await rest(call);
    // An answer that was whole before the room went is left alone.
    if (stream.signal.aborted && !response.writableEnded) response.destroy();
  } catch (error) {
    if (stream.signal.aborted || exchange.gone.aborted) response.destroy();
    else throw error;
  }
}

type BareCall = Omit<Call, 'user' | 'timeoutMs'>;

async function rest(call: BareCall): Promise<void> {
  const { request, response, params } = call.exchange;
  try {
    const run = restCalls[`${request.method ?? ''} ${params['*'] ?? ''}`];
    if (!run) throw new SurfaceError('unimplemented', 'page not found', 404);
    await run({ ...call, user: userNamed(request.headers.authorization), timeoutMs: undefined });
  } catch (error) {
    if (response.headersSent || call.signal.aborted) throw error;
    for (const name of response.getHeaderNames()) response.removeHeader(name);
    const { status, message } = surfaceError(error);
    finishUnread(request, response);
    sendJson(response, status, { code: status, message });
  }
}

async function rpc(call: BareCall, service: string, method: string): Promise<void> {
  const { request, response } = call.exchange;
  let kind: CallKind;
  try {
    if (request.method !== 'POST') throw new SurfaceError('unimplemented', 'a call is a POST', 405);
    kind = kindOf(request.headers['content-type']);
  } catch (error) {
    finishUnread(request, response);
    return sendUnaryError(response, surfaceError(error));
  }
  const time = new CallTime(call.parts.clock);
  const events = new EventStream(response, call.parts.clock, call.signal);
  try {
    const timeoutMs = timeoutMsOf(request.headers['connect-timeout-ms']);
    const { unary, streams } = services[service] ?? { unary: {}, streams: {} };
    const one = Object.hasOwn(unary, method) ? unary[method] : undefined;
    const many = Object.hasOwn(streams, method) ? streams[method] : undefined;
    if (kind === 'unary' ? !one : !many) throw new SurfaceError('unimplemented', `there is no ${kind === 'unary' ? '' : 'streamed '}${service}/${method} here`.slice(0, 200), 404);
    // A process has its time from its guest; the host only stops listening to one that has more than any guest gives.
    if (!many?.ownTime || (timeoutMs ?? 0) > limits.exec.timeoutMsMax) time.start(timeoutMs);
    const message = await readMessage(request, kind);
    const whole: Call = { ...call, signal: AbortSignal.any([call.signal, time.signal]), user: userNamed(request.headers.authorization), timeoutMs };
    if (one && kind === 'unary') return sendUnary(response, await one(whole, message));
    if (!many) return;
    events.keepAlive(keepaliveMsOf(request.headers['keepalive-ping-interval']), many.keepAlive);
    await many.run(whole, message, events);
    call.signal.throwIfAborted();
    events.end();
  } catch (error) {
    if (call.signal.aborted) throw error;
    const failure = surfaceError(time.signal.aborted ? time.signal.reason : error);
    finishUnread(request, response);
    if (kind === 'stream') events.end(failure);
    else sendUnaryError(response, failure);
  } finally {
    events.stop();
    time.stop();
  }
}

/** The time that a caller gives its call. */
class CallTime {
  readonly #late = new AbortController();
  readonly #over = new AbortController();
  constructor(private readonly clock: Clock) {}
  get signal(): AbortSignal {
    return this.#late.signal;
  }
  start(ms: number | undefined): void {
    if (ms === undefined) return;
    // Node's timers hold no more than 31 bits; nobody waits that long.
    this.clock.sleep(Math.min(ms, 2 ** 31 - 1), this.#over.signal).then(
      () => this.#late.abort(new SurfaceError('deadline_exceeded', 'the operation timed out')),
      () => undefined,
    );
  }
  stop(): void {
    this.#over.abort();
  }
}
