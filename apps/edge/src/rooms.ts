import { limits, type Clock } from '@alcove/base';
import { isControlRoute } from './access';
import { surfacePort, type RoomAddress } from './addresses';
import { forwardedHeaders, type Exchange } from './exchange';
import { requestHeaders, valuesOf } from './headers';
import { deliver, framing, isRepeatable, send, takeBody, type Body } from './passage';
import { Refusal, replies } from './replies';
import type { Routes } from './routes';
import { sendUpgrade } from './upgrades';
import { isElsewhere, TunnelRefused, UpstreamFailure, type Target, type Upstreams } from './upstream';
import { judge, refusalOf, type RoomRequest } from './verdict';

/** One request to a room, with all that is needed to judge and to send it, once or twice. */
interface Ticket extends RoomRequest {
  readonly exchange: Exchange;
  readonly roomId: string;
  /** Path and query below the surface, or as they were sent. */
  readonly path: string;
}

interface Place {
  readonly target: Target;
  readonly maskRequestHost: string | null;
}

const trafficHeader = 'e2b-traffic-access-token';
const notForSurface = (name: string): boolean => name === 'x-access-token' || /^(e2b|alcove)-/.test(name);
const notForPort = (name: string): boolean => name === trafficHeader || name.startsWith('e2b-sandbox-');
/** What a host tells its callers among ourselves. */
const notForCaller = (name: string): boolean => name.startsWith('alcove-');

/** Requests to rooms: where is it, may this be, wake it when it sleeps, pass it on, and ask once more when the room has moved meanwhile. */
export class Rooms {
  /** How many requests are on their way, by room. */
  readonly #open = new Map<string, number>();

  constructor(
    private readonly routes: Routes,
    private readonly upstreams: Upstreams,
    private readonly clock: Clock,
  ) {}

  /** Serves one request, to its end. `trusted`: no token is asked for. Throws Refusal. */
  async serve(exchange: Exchange, address: RoomAddress, trusted = false): Promise<void> {
    const ticket = this.#ticket(exchange, address, trusted);
    const open = this.#open.get(ticket.roomId) ?? 0;
    if (open >= limits.edge.exchangesPerRoom) throw new Refusal(replies.tooMany(address.sandboxId));
    this.#open.set(ticket.roomId, open + 1);
    try {
      await this.#attempts(ticket);
    } finally {
      const left = (this.#open.get(ticket.roomId) ?? 1) - 1;
      if (left > 0) this.#open.set(ticket.roomId, left);
      else this.#open.delete(ticket.roomId);
    }
  }

  #ticket(exchange: Exchange, address: RoomAddress, trusted: boolean): Ticket {
    const { request, method, target } = exchange;
    // Before any question is asked: what no room has, no room is woken or looked up for.
    const surface = address.port === surfacePort ? surfaceOf(exchange) : null;
    const { roomId, sandboxId } = address;
    if (roomId === null) throw new Refusal(replies.notFound(sandboxId));
    const known = { exchange, address, trusted, roomId, nowS: Math.floor(this.clock.now() / 1000), trafficToken: valuesOf(request.rawHeaders, trafficHeader)[0] };
    if (surface === null) return { ...known, surface, path: target };
    const tokens = valuesOf(request.rawHeaders, 'x-access-token');
    if (tokens.length > 1) throw new Refusal(replies.badRequest('There must be one token'));
    return { ...known, surface: { method, pathname: surface.pathname, query: surface.searchParams, token: tokens[0] }, path: `${surface.pathname}${surface.search}` };
  }

  async #attempts(ticket: Ticket): Promise<void> {
    const { exchange, address, roomId } = ticket;
    const first = await this.#find(ticket, isStreamed(exchange) || isAboutLife(ticket));
    const body = await takeBody(exchange);
    if (await this.#pass(ticket, first, body)) return;
    this.routes.forget(roomId);
    const second = await this.#find(ticket, true);
    // Of a body that has begun to flow, a part is lost.
    if (body.kind !== 'stream' && (await this.#pass(ticket, second, body))) return;
    this.routes.forget(roomId);
    throw new Refusal(replies.notFound(address.sandboxId, 'moving'));
  }

  /** Where the room runs, after it was woken where that is needed. Throws Refusal. */
  async #find(ticket: Ticket, now: boolean): Promise<Place> {
    const { roomId, address } = ticket;
    try {
      let { route, fresh } = now ? { route: await this.routes.ask(roomId), fresh: true } : await this.routes.find(roomId);
      let verdict = judge(ticket, route);
      if (verdict.kind !== 'pass' && !fresh) {
        route = await this.routes.ask(roomId);
        verdict = judge(ticket, route);
      }
      if (verdict.kind === 'wake') {
        route = await this.routes.wake(roomId);
        verdict = judge(ticket, route);
      }
      if (verdict.kind === 'pass') return { target: verdict.target, maskRequestHost: route.maskRequestHost };
      throw new Refusal(verdict.kind === 'wake' ? replies.moving(address.sandboxId) : verdict.reply);
    } catch (error) {
      throw error instanceof Refusal ? error : refusalOf(address.sandboxId, error);
    }
  }

  /** True when the caller has its answer, whole or seen to be cut; false when the room is not there and the request may be sent again. Throws Refusal. */
  async #pass(ticket: Ticket, place: Place, body: Body): Promise<boolean> {
    const { exchange, address, surface, roomId } = ticket;
    try {
      return surface === null ? await this.#passToPort(ticket, place, body) : await this.#passToSurface(ticket, place, body);
    } catch (error) {
      if (exchange.gone.aborted) return true;
      if (error instanceof TunnelRefused) return refusedTunnel(error, address);
      if (!(error instanceof UpstreamFailure)) throw error;
      if (!error.connected || (error.reused && isRepeatable(exchange, body))) return false;
      this.routes.forget(roomId);
      throw new Refusal(surface === null ? replies.noAnswer(address.sandboxId, address.port) : replies.notFound(address.sandboxId, 'no answer'), error);
    }
  }

  async #passToSurface({ exchange, roomId, path }: Ticket, { target }: Place, body: Body): Promise<boolean> {
    const { request, method, authority } = exchange;
    const headers = ['Host', authority, ...requestHeaders(request.rawHeaders, notForSurface), ...framing(exchange, body)];
    const outgoing = this.upstreams.toSurface({ roomId, target }, method, path, headers);
    const incoming = await send(exchange, outgoing, body);
    if (isElsewhere(incoming)) {
      request.unpipe(outgoing);
      incoming.on('error', () => undefined);
      outgoing.destroy();
      return false;
    }
    if (!(await deliver(exchange, outgoing, incoming, notForCaller))) this.routes.forget(roomId);
    return true;
  }

  async #passToPort({ exchange, address, roomId, path }: Ticket, { target, maskRequestHost }: Place, body: Body): Promise<boolean> {
    const to = { roomId, target, port: address.port };
    const host = maskRequestHost?.replaceAll('${PORT}', String(to.port)) ?? exchange.authority;
    const headers = ['Host', host, ...forwardedHeaders(exchange, notForPort)];
    const fresh = exchange.upgrade !== null || !isRepeatable(exchange, body);
    if (exchange.upgrade) {
      const { protocol } = exchange.upgrade;
      return sendUpgrade(exchange, this.upstreams.toPort(to, exchange.method, path, [...headers, 'Connection', 'Upgrade', 'Upgrade', protocol], fresh));
    }
    const outgoing = this.upstreams.toPort(to, exchange.method, path, [...headers, ...framing(exchange, body)], fresh);
    if (!(await deliver(exchange, outgoing, await send(exchange, outgoing, body)))) this.routes.forget(roomId);
    return true;
  }
}

/** What the host will make of the path is made of it here, before anything is decided by it: `..` must not lead out of the room. Throws Refusal. */
function surfaceOf({ target, upgrade }: Exchange): URL {
  const url = URL.parse(`http://surface${target}`);
  if (url?.host !== 'surface') throw new Refusal(replies.badRequest('This is no path'));
  if (isControlRoute(url.pathname)) throw new Refusal(replies.controlRoute());
  if (upgrade) throw new Refusal(replies.badRequest('There is nothing to upgrade to'));
  return url;
}

/** Who asks for the health wants to know whether the room lives now: after a kill or a pause that was answered, it does not, though its VM may still be ending. */
function isAboutLife({ surface }: Ticket): boolean {
  return surface?.pathname === '/health';
}

/** A body that cannot be sent twice: its room had better be where we think it is. */
function isStreamed({ length }: Exchange): boolean {
  return length === 'unknown' || (typeof length === 'number' && length > limits.edge.smallBodyBytes);
}

function refusedTunnel(error: TunnelRefused, { sandboxId, port }: RoomAddress): false {
  if (error.elsewhere) return false;
  if (error.status === 429) throw new Refusal(replies.tooMany(sandboxId), error);
  if (error.status === 503) throw new Refusal(replies.cannotNow(sandboxId, 'host'), error);
  throw new Refusal(replies.portClosed(sandboxId, port), error);
}
