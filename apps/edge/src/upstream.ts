import { Agent as HttpAgent, request as httpRequest, type ClientRequest, type IncomingMessage } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest, type AgentOptions, type RequestOptions } from 'node:https';
import type { Duplex } from 'node:stream';
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { errorCode, limits } from '@alcove/base';
import { edgePaths, type EdgeRoute, type TlsIdentity } from '@alcove/contracts';

export type Target = NonNullable<EdgeRoute['target']>;
/** Where a tunnel leads. */
export interface PortOf {
  readonly roomId: string;
  readonly target: Target;
  readonly port: number;
}

/** No answer came. `connected`: the request may have been acted on. `reused`: the connection was an older one, which the other side may just have closed. */
export class UpstreamFailure extends Error {
  override readonly name = 'UpstreamFailure';
  constructor(
    cause: unknown,
    readonly connected: boolean,
    readonly reused: boolean,
  ) {
    super('no answer from upstream', { cause });
  }
}

/** The host would not make a tunnel: what it said instead. */
export class TunnelRefused extends Error {
  override readonly name = 'TunnelRefused';
  constructor(
    readonly status: number,
    readonly elsewhere: boolean,
  ) {
    super(`no tunnel: status ${status}`);
  }
}

/** A host says with it that the incarnation it was asked for is not the one it runs. */
export const roomHeader = 'alcove-room';
export function isElsewhere(answer: IncomingMessage): boolean {
  return answer.headers[roomHeader] === 'elsewhere';
}
/** The host has too many connections: nothing is said about the room. */
export function isBusy(answer: IncomingMessage): boolean {
  return answer.headers[roomHeader] === 'busy';
}

/** Connections to the API, the hosts, and through hosts to ports of rooms. All are kept and used again. */
export class Upstreams {
  readonly #api: HttpAgent;
  readonly #hosts: HttpsAgent;
  readonly #tunnels: TunnelAgent;

  constructor(
    private readonly apiUrl: URL,
    tls: TlsIdentity,
  ) {
    this.#api = forgivingPool(new HttpAgent({ keepAlive: true, maxFreeSockets: 64 }));
    this.#hosts = forgivingPool(new HttpsAgent({ ...identityOptions(tls), keepAlive: true, maxFreeSockets: 64 }));
    this.#tunnels = new TunnelAgent((to) => this.openTunnel(to));
  }

  /** `fresh`: on a connection of its own, which may become something else. */
  toApi(method: string, path: string, headers: string[], fresh = false): ClientRequest {
    return httpRequest({ host: this.apiUrl.hostname.replace(/^\[|\]$/g, ''), port: this.apiUrl.port || 80, method, path, headers, agent: fresh ? false : this.#api });
  }

  /** `path`: below the surface, with its query, beginning with a slash. */
  toSurface({ roomId, target }: Omit<PortOf, 'port'>, method: string, path: string, headers: string[]): ClientRequest {
    return httpsRequest({ ...hostOptions(target), method, path: `${roomPath(roomId, target)}/${edgePaths.surface}${path}`, headers, agent: this.#hosts });
  }

  /** `fresh`: through a tunnel of its own, because only what is safe to repeat may meet a kept one that has just been closed. */
  toPort(to: PortOf, method: string, path: string, headers: string[], fresh: boolean): ClientRequest {
    const options: TunnelOptions = { tunnel: to, method, path, headers, agent: fresh ? this.#tunnels.single() : this.#tunnels };
    return httpRequest(options);
  }

  /** A byte stream to the port, by way of the room's host. Rejects with TunnelRefused, or UpstreamFailure: nothing was sent yet then. */
  openTunnel({ roomId, target, port }: PortOf): Promise<Duplex> {
    const headers = { connection: 'upgrade', upgrade: edgePaths.tunnelProtocol };
    const outgoing = httpsRequest({ ...hostOptions(target), method: 'GET', path: `${roomPath(roomId, target)}/${edgePaths.ports}/${port}`, headers, agent: this.#hosts });
    return new Promise((resolve, reject) => {
      boundConnecting(outgoing);
      const timer = setTimeout(() => outgoing.destroy(new Error('the tunnel took too long')), limits.edge.headersMs);
      outgoing.once('close', () => clearTimeout(timer));
      outgoing.on('error', (error) => reject(new UpstreamFailure(error, false, outgoing.reusedSocket)));
      outgoing.once('response', (answer) => {
        answer.on('error', () => undefined).resume();
        reject(new TunnelRefused(answer.statusCode ?? 0, isElsewhere(answer)));
      });
      outgoing.once('upgrade', (_answer, socket, head) => {
        clearTimeout(timer);
        if (head.length > 0) socket.unshift(head);
        resolve(socket);
      });
      outgoing.end();
    });
  }

  close(): void {
    for (const agent of [this.#api, this.#hosts, this.#tunnels]) agent.destroy();
  }
}

type TunnelOptions = RequestOptions & { tunnel: PortOf };

/** HTTP/1.1 through tunnels; one that has been used waits a moment for the next request to the same port of the same incarnation. */
class TunnelAgent extends HttpAgent {
  constructor(
    private readonly open: (to: PortOf) => Promise<Duplex>,
    keepAlive = true,
  ) {
    super({ keepAlive, maxFreeSockets: limits.edge.tunnelsFree, timeout: limits.edge.tunnelIdleMs });
  }

  single(): TunnelAgent {
    return new TunnelAgent(this.open, false);
  }

  override getName(options: Partial<TunnelOptions> = {}): string {
    const to = options.tunnel;
    return to ? `${to.target.hostId} ${to.roomId} ${to.target.incarnation} ${to.port}` : super.getName(options);
  }

  override createConnection(options: object, done?: (error: Error | null, stream: Duplex) => void): undefined {
    this.open((options as TunnelOptions).tunnel).then(
      (socket) => done?.(null, forgiving(socket as Socket)),
      (error: Error) => done?.(error, undefined as unknown as Duplex),
    );
  }
}

/** Mutual TLS with a server whose common name is the name we ask for: every host's certificate is of the same authority, so the address says nothing. */
export function identityOptions(tls: TlsIdentity): AgentOptions {
  return {
    ca: tls.ca,
    cert: tls.cert,
    key: tls.key.expose(),
    minVersion: 'TLSv1.3',
    checkServerIdentity: (name, certificate) => (certificate.subject?.CN === name ? undefined : new Error(`the certificate is not that of ${name}`)),
  };
}

function hostOptions(target: Target): RequestOptions {
  const url = new URL(target.hostUrl);
  return { host: url.hostname.replace(/^\[|\]$/g, ''), port: url.port || 443, servername: target.hostId };
}

function roomPath(roomId: string, target: Target): string {
  return `/rooms/${roomId}/incarnations/${target.incarnation}`;
}

/**
 * Writes into a connection that the other side has closed count as done: who answers early and closes has said all there is to say, and its answer may still wait to be
 * read. A connection that brings no answer either is seen by its end.
 */
function forgiving<S extends Socket>(socket: S): S {
  const isOver = (error?: Error | null): boolean => ['EPIPE', 'ECONNRESET'].includes(errorCode(error) ?? '');
  const [write, writeMany] = [socket._write, socket._writev];
  socket._write = (chunk, encoding, done) => write.call(socket, chunk, encoding, (error) => done(isOver(error) ? null : error));
  if (writeMany) socket._writev = (chunks, done) => writeMany.call(socket, chunks, (error) => done(isOver(error) ? null : error));
  return socket;
}

function forgivingPool<A extends HttpAgent>(agent: A): A {
  const connect = agent.createConnection.bind(agent);
  agent.createConnection = (options, done) => {
    const socket = connect(options, done);
    return socket ? forgiving(socket as Socket) : socket;
  };
  return agent;
}

/** Ends a request whose connection takes too long to be made, and remembers whether it was. */
export function boundConnecting(outgoing: ClientRequest): { connected: boolean } {
  const state = { connected: false };
  const ready = (): void => void (state.connected = true);
  outgoing.once('socket', (socket) => {
    if (!socket.connecting) return ready();
    const timer = setTimeout(() => outgoing.destroy(new Error('connecting took too long')), limits.edge.connectMs);
    socket.once('getPeerCertificate' in (socket as TLSSocket) ? 'secureConnect' : 'connect', () => {
      ready();
      clearTimeout(timer);
    });
    socket.once('close', () => clearTimeout(timer));
  });
  return state;
}
