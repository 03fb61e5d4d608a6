import type { IncomingMessage } from 'node:http';
import { request } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import { newId } from '@alcove/base';
import type { CopiedReport, GoneReport, Heartbeat, HeartbeatAnswer, HostDescription, HostState, ImageRef, IncarnationState, RunningReport, SealedReport, TlsIdentity } from '@alcove/contracts';
import { edgePaths, Problem } from '@alcove/contracts';
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';

export type RoomParams = { roomId: string; n: string; '*'?: string };
/** What a test lets the room answer to a call below its incarnation. Throwing a Problem is the host's own refusal. */
export type Answer = (request: FastifyRequest<{ Params: RoomParams }>, reply: FastifyReply) => unknown;

/** What of an order the stub looks at. */
interface Order {
  readonly generation?: number;
  readonly image?: unknown;
  readonly hasDisk?: boolean;
  readonly newIdentity?: boolean;
  readonly source?: { readonly image: unknown };
}

export const template = { id: `tpl_${'1'.repeat(20)}`, name: 'default', builtAt: '2026-01-01T00:00:00.000Z', cloneSafe: true, size: { memoryMiB: 512, vcpus: 1, diskMiB: 4096 } };

/**
 * A host over real mutual TLS that obeys at once and runs nothing: rooms are rows in a map. What happens inside a room is the test's to say, so that the API's
 * handling of every answer and every break can be tried.
 */
export class StubHost {
  readonly #server: FastifyInstance;
  readonly #incarnations = new Map<string, IncarnationState>();
  readonly #answers = new Map<string, Answer>();
  readonly #held = new Map<string, Promise<void>>();
  readonly #failures = new Map<string, Problem>();
  readonly #ports = new Map<number, (socket: Duplex) => void>();
  /** What it says that it has. */
  templates: (typeof template)[] = [template];
  /** How many rooms it says that it takes. */
  roomsMax = 1000;
  #sequence = 0;
  #beats = 0;
  /** Room ids of the calls that were refused as stale; the operations, in order. */
  readonly orders: string[] = [];

  /** The certificate's common name is the id. */
  constructor(
    readonly id: string,
    readonly tls: TlsIdentity,
  ) {
    this.#server = fastify({ bodyLimit: 1 << 30, https: { ca: tls.ca, cert: tls.cert, key: tls.key.expose(), requestCert: true, rejectUnauthorized: true } });
    this.#server.removeContentTypeParser(['application/json', 'text/plain']);
    this.#server.addContentTypeParser('*', (_request, payload, done) => done(null, payload));
    this.#server.setErrorHandler(async (error, _request, reply) => {
      const problem = error instanceof Problem ? error : new Problem('internal', { cause: error });
      return reply.code(problem.status).type('application/problem+json').serializer(JSON.stringify).send(problem.toBody());
    });
    this.#server.get('/state', async (): Promise<HostState> => ({ hostId: this.id, bootId: 'stub', fenced: false, description: this.description(), capacity: this.beat().capacity, incarnations: [...this.#incarnations.values()] }));
    this.#server.put('/rooms/:roomId/incarnations/:n/:verb(^running|sealed|gone|copied$)', async (asked: FastifyRequest<{ Params: RoomParams & { verb: string } }>) => {
      const { roomId, n, verb } = asked.params;
      const order = await jsonOf(asked);
      await this.#held.get(verb);
      return this.#obey(roomId, Number(n), verb, order);
    });
    this.#server.route({ method: ['GET', 'POST', 'PUT', 'DELETE'], url: '/rooms/:roomId/incarnations/:n/*', handler: async (asked: FastifyRequest<{ Params: RoomParams }>, reply) => this.#inRoom(asked, reply) });
    this.#server.server.on('upgrade', (asked: IncomingMessage, socket: Duplex, head: Buffer) => this.#tunnel(asked, socket, head));
  }

  /** Keeps the answers to this verb until the result is called. */
  hold(verb: 'running' | 'sealed' | 'gone' | 'copied'): () => void {
    let release: () => void = () => undefined;
    this.#held.set(verb, new Promise<void>((resolve) => (release = resolve)));
    return () => {
      this.#held.delete(verb);
      release();
    };
  }

  /** Refuses this verb from now on; null: obeys again. */
  fail(verb: 'running' | 'sealed' | 'gone' | 'copied', problem: Problem | null): void {
    if (problem) this.#failures.set(verb, problem);
    else this.#failures.delete(verb);
  }

  /** Answers `<METHOD> <path below the incarnation>` from now on. */
  on(call: string, answer: Answer): void {
    this.#answers.set(call, answer);
  }

  /** What listens on a port in every room from now on: it gets the connections of the tunnels there. */
  port(number: number, onConnection: (socket: Duplex) => void): void {
    this.#ports.set(number, onConnection);
  }

  async listen(): Promise<void> {
    await this.#server.listen({ host: '127.0.0.1', port: 0 });
  }

  close(): Promise<void> {
    return this.#server.close();
  }

  /** As if the VM of this room had died. */
  kill(roomId: string): void {
    for (const [key, state] of this.#incarnations) if (state.roomId === roomId) this.#incarnations.delete(key);
  }

  description(): HostDescription {
    const { port } = this.#server.server.address() as AddressInfo;
    return { url: `https://127.0.0.1:${port}`, driver: 'fake', isolation: 'software', accelerator: 'none', engineBuild: 'stub', storeGroup: 'stub', templates: this.templates };
  }

  beat(): Heartbeat {
    const capacity = { roomsMax: this.roomsMax, roomsUsed: this.#incarnations.size, memoryMiBTotal: 1 << 20, memoryMiBFree: 1 << 20, diskMiBFree: 1 << 20 };
    return { bootId: 'stub', sequence: ++this.#beats, description: this.description(), capacity, incarnations: [...this.#incarnations.values()], ended: [] };
  }

  /** Sends a heartbeat as a host does. */
  async sendBeat(internalUrl: string, beat: unknown = this.beat(), hostId: string = this.id): Promise<{ status: number; body: HeartbeatAnswer & { code?: string } }> {
    return postJson(`${internalUrl}/internal/hosts/${hostId}/heartbeat`, beat, this.tls);
  }

  #obey(roomId: string, incarnation: number, verb: string, order: Order): RunningReport | SealedReport | GoneReport | CopiedReport {
    const key = `${roomId}/${incarnation}`;
    const known = this.#incarnations.get(key);
    const sequence = ++this.#sequence;
    this.orders.push(`${verb} ${key}`);
    const report = { roomId: roomId as RunningReport['roomId'], incarnation, sequence };
    const failure = this.#failures.get(verb);
    if (failure) throw failure;
    if (verb === 'copied') return { ...report, image: { ...(order.source?.image as ImageRef), id: newId('img'), roomId: report.roomId, incarnation, generation: order.generation ?? 1 }, durationMs: 1 };
    if (verb === 'running') {
      const resumedFrom = order.image ? 'memory' : order.hasDisk ? 'disk' : 'new';
      this.#incarnations.set(key, { roomId, incarnation, phase: 'running', sequence } as IncarnationState);
      return { ...report, resumedFrom, fallbacks: [], isolation: 'software', accelerator: 'none', bootAttempts: 1, durationMs: 1, steps: {} };
    }
    this.#incarnations.delete(key);
    if (verb === 'gone') return { ...report, wasRunning: known !== undefined };
    if (!known) throw new Problem('incarnation.stale');
    const image = { id: newId('img'), roomId: report.roomId, incarnation, generation: order.generation ?? 1, templateId: template.id, compatibility: 'c'.repeat(64), diskState: 'd', bytes: 1, pages: 1, sha256: 'a'.repeat(64) };
    return { ...report, image, stallMs: 1, durableMs: 1, steps: {} };
  }

  #tunnel(asked: IncomingMessage, socket: Duplex, head: Buffer): void {
    socket.on('error', () => undefined);
    const [, roomId, n, port] = /^\/rooms\/([^/]+)\/incarnations\/(\d+)\/ports\/(\d+)$/.exec(asked.url ?? '') ?? [];
    if (asked.headers.upgrade !== edgePaths.tunnelProtocol) return refuseTunnel(socket, new Problem('request.invalid'));
    if (!this.#incarnations.has(`${roomId}/${n}`)) return refuseTunnel(socket, new Problem('incarnation.stale'));
    const listener = this.#ports.get(Number(port));
    if (!listener) return refuseTunnel(socket, new Problem('agent.unreachable', { detail: `nothing listens on port ${port} in the room` }));
    socket.write(`HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: ${edgePaths.tunnelProtocol}\r\n\r\n`);
    if (head.length > 0) socket.unshift(head);
    listener(socket);
  }

  async #inRoom(asked: FastifyRequest<{ Params: RoomParams }>, reply: FastifyReply): Promise<unknown> {
    const { roomId, n } = asked.params;
    if (!this.#incarnations.has(`${roomId}/${n}`)) throw new Problem('incarnation.stale');
    const answer = this.#answers.get(`${asked.method} ${asked.params['*'] ?? ''}`);
    if (!answer) throw new Problem('agent.unreachable');
    return answer(asked, reply);
  }
}

function refuseTunnel(socket: Duplex, problem: Problem): void {
  const body = JSON.stringify(problem.toBody());
  socket.resume();
  socket.end(`HTTP/1.1 ${problem.status} No\r\ncontent-type: application/problem+json\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`);
}

/** The whole body of a request to the stub. */
export async function bytesOf(asked: FastifyRequest): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of (asked.body ?? []) as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks);
}

async function jsonOf(asked: FastifyRequest): Promise<Order> {
  const text = (await bytesOf(asked)).toString();
  return text === '' ? {} : (JSON.parse(text) as Order);
}

/** A POST over mutual TLS. */
export function postJson<T>(url: string, value: unknown, tls: Partial<TlsIdentity> & Pick<TlsIdentity, 'ca'>): Promise<{ status: number; body: T }> {
  return new Promise((resolve, reject) => {
    const credentials = { ca: tls.ca, ...(tls.cert ? { cert: tls.cert } : {}), ...(tls.key ? { key: tls.key.expose() } : {}) };
    const sent = request(url, { method: 'POST', agent: false, checkServerIdentity: () => undefined, headers: { 'content-type': 'application/json' }, ...credentials }, (answer) => {
      let text = '';
      answer.on('data', (chunk: Buffer) => (text += chunk.toString()));
      answer.on('end', () => resolve({ status: answer.statusCode ?? 0, body: JSON.parse(text) as T }));
      answer.on('error', reject);
    });
    sent.on('error', reject);
    sent.end(JSON.stringify(value));
  });
}
