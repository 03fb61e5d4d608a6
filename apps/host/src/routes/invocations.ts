import { type ClientRequest, type IncomingHttpHeaders, type IncomingMessage, request as httpRequest } from 'node:http';
import type { Duplex } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { type Clock, limits } from '@alcove/base';
import { invocationHeaders, isProblem, Problem } from '@alcove/contracts';
import type { Exchange } from '../http/answer';
import { countedBody, quieted } from '../http/body';
import type { Route } from '../http/server';
import type { Rooms } from '../rooms/rooms';
import { roomOf } from './room-params';

const agentPort = 8080;

/** Marks an answer as the agent's own, whatever its status: without it a failure is the host's. */
const sourceHeader = 'alcove-source';

/** `POST invocations`: an HTTP proxy to the agent's `POST /invocations`, streamed both ways. The caller's leaving ends it in the room too. */
export function invocationRoute(rooms: Rooms, clock: Clock): Route {
  return {
    method: 'POST',
    path: '/rooms/:roomId/incarnations/:n/invocations',
    handle: async (exchange) => {
      const stream = await rooms.openStream(roomOf(exchange));
      const idle = new IdleTimer(clock, limits.agent.invocationMs);
      try {
        const signal = AbortSignal.any([exchange.gone, stream.signal, idle.signal]);
        const socket = await stream.guest.connect(agentPort, limits.hostAgent.agentConnectMs, signal).catch((error: unknown) => {
          throw signal.aborted || passesAsItIs(error) ? (signal.reason ?? error) : new Problem('agent.unreachable', { cause: error, detail: 'nothing answers on port 8080 in the room' });
        });
        await proxy(exchange, quieted(socket), signal, idle);
      } finally {
        idle.stop();
        stream.close();
      }
    },
  };
}

/** Failures of the channel keep their code; anything else means that the agent cannot be reached. */
function passesAsItIs(error: unknown): boolean {
  return isProblem(error, 'guest.closed') || isProblem(error, 'guest.protocol') || isProblem(error, 'guest.limit') || isProblem(error, 'agent.unreachable');
}

async function proxy(exchange: Exchange, socket: Duplex, signal: AbortSignal, idle: IdleTimer): Promise<void> {
  const outgoing = httpRequest({
    method: 'POST',
    path: '/invocations',
    headers: { ...pick(exchange.request.headers, invocationHeaders.toAgent), host: `127.0.0.1:${agentPort}`, connection: 'close', ...lengthOf(exchange.request) },
    maxHeaderSize: limits.hostAgent.agentHeaderBytes,
    createConnection: () => socket,
  });
  const cut = () => outgoing.destroy(signal.reason as Error);
  if (signal.aborted) cut();
  else signal.addEventListener('abort', cut, { once: true });
  try {
    const answered = answerOf(outgoing, signal);
    const uploaded = pipeline(countedBody(exchange.request, limits.http.invocationBodyBytes, () => idle.touch()), outgoing).then(
      () => null,
      (error: unknown) => error,
    );
    const answer = await answered.catch(async (error: unknown) => {
      // A body that is too large cuts the request short: that is the cause, not what the agent made of it.
      const failure = await uploaded;
      throw isProblem(failure) ? failure : error;
    });
    await pass(exchange, answer, signal, idle);
  } finally {
    signal.removeEventListener('abort', cut);
    outgoing.destroy();
    socket.destroy();
  }
}

/** The beginning of the agent's answer, which may come, and end, before the agent has read everything. */
function answerOf(outgoing: ClientRequest, signal: AbortSignal): Promise<IncomingMessage> {
  const answered = new Promise<IncomingMessage>((resolve, reject) => {
    outgoing.once('response', resolve);
    // An agent has no use for a switched protocol here: its connection is ended.
    outgoing.once('upgrade', (_response, socket) => {
      socket.destroy();
      reject(new Problem('agent.unreachable', { detail: 'the agent tried to switch protocols' }));
    });
    outgoing.on('error', (error) => {
      // The channel's end may be heard here before it is heard by the room: then it was not the agent that broke off.
      if (signal.aborted || passesAsItIs(error)) return reject(signal.aborted ? (signal.reason as Error) : error);
      return reject(new Problem('agent.unreachable', { cause: error, detail: 'the agent broke off or its answer was not HTTP' }));
    });
  });
  // Nobody may be waiting any more when it fails.
  void answered.catch(() => undefined);
  return answered;
}

async function pass(exchange: Exchange, answer: IncomingMessage, signal: AbortSignal, idle: IdleTimer): Promise<void> {
  const { response } = exchange;
  const status = answer.statusCode ?? 502;
  if (status < 200 || status > 599) throw new Problem('agent.unreachable', { detail: `the agent answered with status ${status}` });
  response.writeHead(status, { ...pick(answer.headers, invocationHeaders.fromAgent), [sourceHeader]: 'agent' });
  response.flushHeaders();
  answer.on('data', () => idle.touch());
  try {
    await pipeline(answer, response, { signal });
  } catch (error) {
    // The answer has begun: all that can be said is that it is not whole.
    response.destroy();
    if (!signal.aborted && !exchange.gone.aborted) throw new Problem('guest.closed', { cause: error });
  }
}

function pick(headers: IncomingHttpHeaders, allowed: RegExp): Record<string, string> {
  const picked: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers)) if (typeof value === 'string' && allowed.test(name)) picked[name] = value;
  return picked;
}

function lengthOf(request: IncomingMessage): Record<string, string> {
  const length = request.headers['content-length'];
  if (length === undefined) return {};
  if (Number(length) > limits.http.invocationBodyBytes) throw new Problem('request.too_large');
  return { 'content-length': length };
}

/** Aborts with `agent.timeout` when nothing moved for `ms`. */
class IdleTimer {
  readonly #controller = new AbortController();
  readonly #stop = new AbortController();
  #touchedAt: number;
  constructor(
    private readonly clock: Clock,
    private readonly ms: number,
  ) {
    this.#touchedAt = clock.monotonic();
    void this.#run();
  }
  get signal(): AbortSignal {
    return this.#controller.signal;
  }
  touch(): void {
    this.#touchedAt = this.clock.monotonic();
  }
  stop(): void {
    this.#stop.abort();
  }
  async #run(): Promise<void> {
    for (;;) {
      const left = this.#touchedAt + this.ms - this.clock.monotonic();
      if (left <= 0) return this.#controller.abort(new Problem('agent.timeout', { detail: `the agent sent nothing for ${this.ms} ms` }));
      await this.clock.sleep(left, this.#stop.signal).catch(() => undefined);
      if (this.#stop.signal.aborted) return;
    }
  }
}
