import { Agent, request } from 'node:https';
import type { ClientRequest, IncomingMessage } from 'node:http';
import { limits } from '@alcove/base';
import {
  CopiedReport, edgePaths, GoneReport, HostState, isProblem, Problem, problemCodes, RunningReport, SealedReport, type EnsureCopied, type EnsureGone, type EnsureRunning, type EnsureSealed, type ProblemBody, type TlsIdentity,
} from '@alcove/contracts';
import { Readable, type Duplex } from 'node:stream';
import type { z } from 'zod';
import { HostClient, type HostAddress, type IncarnationKey, type StreamAnswer, type StreamRequest, type TunnelRequest } from './host-client';
import { openTunnel } from './host-tunnel';

/** How long a verb may take: the move's own bound on the host, and a little for the way. Milliseconds. */
const onTheWayMs = 5_000;
const stateMs = 5_000;
/** Marks an answer as the agent's own, whatever its status; without it a failure is the host's. */
const sourceHeader = 'alcove-source';

interface Call {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: Readable | Buffer | string;
  readonly signal: AbortSignal | undefined;
}

/**
 * The host API over HTTP/1.1 and mutual TLS. Connections are kept; a host must show the certificate of its own id, because every host's is of the same
 * authority. Idle connections end before the host's own bound on them.
 */
export class HttpsHostClient extends HostClient {
  readonly #agent: Agent;

  constructor(tls: TlsIdentity) {
    super();
    this.#agent = new Agent({
      ca: tls.ca,
      cert: tls.cert,
      key: tls.key.expose(),
      minVersion: 'TLSv1.3',
      keepAlive: true,
      maxFreeSockets: 64,
      // The name asked for is the host's id, which is what its certificate is for, not the address.
      checkServerIdentity: (name, certificate) => (certificate.subject?.CN === name ? undefined : new Error(`the certificate is not that of ${name}`)),
    });
  }

  override ensureRunning(host: HostAddress, room: IncarnationKey, order: EnsureRunning, signal?: AbortSignal): Promise<RunningReport> {
    const moveMs = order.hasDisk || order.image ? limits.move.resumeMs : limits.move.provisionMs;
    return this.#verb(host, `${pathOf(room)}/running`, order, RunningReport, moveMs, signal);
  }

  override ensureSealed(host: HostAddress, room: IncarnationKey, order: EnsureSealed, signal?: AbortSignal): Promise<SealedReport> {
    return this.#verb(host, `${pathOf(room)}/sealed`, order, SealedReport, limits.move.hibernateMs, signal);
  }

  override ensureCopied(host: HostAddress, room: IncarnationKey, order: EnsureCopied, signal?: AbortSignal): Promise<CopiedReport> {
    return this.#verb(host, `${pathOf(room)}/copied`, order, CopiedReport, limits.move.copyMs, signal);
  }

  override ensureGone(host: HostAddress, room: IncarnationKey, order: EnsureGone, signal?: AbortSignal): Promise<GoneReport> {
    return this.#verb(host, `${pathOf(room)}/gone`, order, GoneReport, limits.move.destroyMs, signal);
  }

  override async state(host: HostAddress, signal?: AbortSignal): Promise<HostState> {
    const bounded = AbortSignal.any([AbortSignal.timeout(stateMs), ...(signal ? [signal] : [])]);
    return this.#json(host, { method: 'GET', path: '/state', headers: {}, signal: bounded }, HostState);
  }

  override async stream({ host, roomId, incarnation, method, path, headers = {}, body, signal }: StreamRequest): Promise<StreamAnswer> {
    const length: Record<string, string> = typeof body === 'string' || Buffer.isBuffer(body) ? { 'content-length': String(Buffer.byteLength(body)) } : {};
    const call: Call = { method, path: `${pathOf({ roomId, incarnation })}/${path}`, headers: { ...headers, ...length }, ...(body === undefined ? {} : { body }), signal };
    const answer = await this.#send(host, call, 'guest.closed');
    const status = answer.statusCode ?? 0;
    const answerHeaders = Object.fromEntries(Object.entries(answer.headers).flatMap(([name, value]) => (value === undefined ? [] : [[name, String(value)]])));
    if (status < 400 || sourceHeader in answerHeaders) return { status, headers: answerHeaders, body: answer };
    throw await readRefusal(answer);
  }

  override tunnel(asked: TunnelRequest): Promise<Duplex> {
    return openTunnel(this.#agent, `${pathOf(asked)}/${edgePaths.ports}/${asked.port}`, asked, readRefusal);
  }

  override async close(): Promise<void> {
    this.#agent.destroy();
  }

  #verb<S extends z.ZodType>(host: HostAddress, path: string, order: unknown, schema: S, moveMs: number, signal?: AbortSignal): Promise<z.output<S>> {
    const body = JSON.stringify(order);
    const headers = { 'content-type': 'application/json', 'content-length': String(Buffer.byteLength(body)) };
    const bounded = AbortSignal.any([AbortSignal.timeout(moveMs + onTheWayMs), ...(signal ? [signal] : [])]);
    return this.#json(host, { method: 'PUT', path, headers, body, signal: bounded }, schema);
  }

  async #json<S extends z.ZodType>(host: HostAddress, call: Call, schema: S): Promise<z.output<S>> {
    const answer = await this.#send(host, call, 'host.unavailable');
    if (answer.statusCode !== 200) throw await readProblem(answer);
    const parsed = schema.safeParse(parseJson(await readAll(answer)));
    if (!parsed.success) throw new Problem('host.unavailable', { detail: 'the host gave an answer that does not fit', cause: parsed.error });
    return parsed.data;
  }

  /** Resolves when the answer begins. `broken`: the code of a connection that ends after it was made and before that. */
  #send(host: HostAddress, call: Call, broken: 'host.unavailable' | 'guest.closed'): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      if (call.signal?.aborted) return reject(abortProblem(call.signal));
      const outgoing = request(new URL(call.path, host.url), { method: call.method, headers: call.headers, agent: this.#agent, servername: host.id });
      const state = { connected: false };
      const onAbort = (): void => void outgoing.destroy();
      call.signal?.addEventListener('abort', onAbort, { once: true });
      boundConnecting(outgoing, state);
      outgoing.once('response', (answer) => {
        answer.once('close', () => call.signal?.removeEventListener('abort', onAbort));
        resolve(answer);
      });
      outgoing.on('error', (cause) => {
        call.signal?.removeEventListener('abort', onAbort);
        if (call.signal?.aborted) return reject(abortProblem(call.signal));
        // What was wrong with the caller's body is not the connection's fault.
        if (isProblem(cause)) return reject(cause);
        reject(new Problem(state.connected ? broken : 'host.unavailable', { cause }));
      });
      write(outgoing, call.body);
    });
  }
}

function pathOf({ roomId, incarnation }: IncarnationKey): string {
  return `/rooms/${roomId}/incarnations/${incarnation}`;
}

/** Ends the call when TCP and TLS take longer than they may. */
function boundConnecting(outgoing: ClientRequest, state: { connected: boolean }): void {
  outgoing.once('socket', (socket) => {
    if (!socket.connecting) {
      state.connected = true;
      return;
    }
    const timer = setTimeout(() => outgoing.destroy(new Error('connecting took too long')), limits.host.connectTimeoutMs);
    socket.once('secureConnect', () => {
      state.connected = true;
      clearTimeout(timer);
    });
    socket.once('close', () => clearTimeout(timer));
  });
}

function write(outgoing: ClientRequest, body: Call['body']): void {
  if (!(body instanceof Readable)) {
    outgoing.end(body);
    return;
  }
  body.on('error', (error) => outgoing.destroy(error));
  outgoing.once('close', () => body.destroy());
  body.pipe(outgoing);
}

/** A caller's own Problem passes as it is; a deadline of ours means that the host did not answer in time. */
function abortProblem(signal: AbortSignal): Error {
  const reason: unknown = signal.reason;
  if (isProblem(reason)) return reason;
  if (reason instanceof Error && reason.name === 'TimeoutError') return new Problem('host.unavailable', { detail: 'the host did not answer in time', cause: reason });
  return reason instanceof Error ? reason : new Problem('unavailable', { cause: reason });
}

/** Reads a whole answer, bounded. Throws `host.unavailable` when it breaks off or is too large. */
async function readAll(answer: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const chunk of answer as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      if (bytes > limits.host.reportBytes) throw new Error('too large');
      chunks.push(chunk);
    }
  } catch (cause) {
    throw new Problem('host.unavailable', { detail: "the host's answer was not whole", cause });
  }
  return Buffer.concat(chunks).toString('utf8');
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** As readProblem, for a call into a room: the row says that this incarnation runs and its host says that it does not, so the row is what is wrong. */
async function readRefusal(answer: IncomingMessage): Promise<Problem> {
  const problem = await readProblem(answer);
  return isProblem(problem, 'room.not_running') ? new Problem('incarnation.stale', { cause: problem }) : problem;
}

/** The Problem in an answer; `host.unavailable` when there is none that we know. */
async function readProblem(answer: IncomingMessage): Promise<Problem> {
  const body = parseJson(await readAll(answer)) as Partial<ProblemBody> | undefined;
  const code = body?.code;
  if (code === undefined || !(code in problemCodes)) return new Problem('host.unavailable', { detail: `the host answered with status ${answer.statusCode}` });
  const { detail, retryAfterMs, errors } = body ?? {};
  return new Problem(code, { ...(typeof detail === 'string' && { detail }), ...(typeof retryAfterMs === 'number' && { retryAfterMs }), ...(Array.isArray(errors) && { errors }) });
}
