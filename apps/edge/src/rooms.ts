import { limits, type Clock } from '@alcove/base';
import type { EdgeRoute } from '@alcove/contracts';
import { isControlRoute, sameText } from './access';
import { surfacePort, type RoomAddress } from './addresses';
import { forwardedHeaders, type Exchange } from './exchange';
import { requestHeaders, valuesOf } from './headers';
import { deliver, framing, isRepeatable, send, takeBody, type Body } from './passage';
import { Places, type Leave } from './places';
import { Refusal, replies, type Reply } from './replies';
import type { Routes } from './routes';
import { sendUpgrade } from './upgrades';
import { isBusy, isElsewhere, TunnelRefused, UpstreamFailure, type Target, type Upstreams } from './upstream';
import { judge, refusalOf, type By, type RoomRequest, type Verdict } from './verdict';

/** One request to a room, with all that is needed to judge and to send it, once or twice. */
interface Ticket extends RoomRequest {
  readonly exchange: Exchange;
  readonly roomId: string;
  /** Path and query below the surface, or as they were sent. */
  readonly path: string;
  /** Takes a place among those of the room's owner or of strangers there. Throws Refusal; once is enough. */
  enter(by: By): void;
}

interface Place {
  readonly target: Target;
  readonly route: EdgeRoute;
}

/** `passed`: the caller has its answer, whole or seen to be cut. Else nothing was acted on: the room is not on that host, or the host could not be reached. */
type Passed = 'passed' | 'elsewhere' | 'unreachable';

const trafficHeader = 'e2b-traffic-access-token';
const tokenHeader = 'x-access-token';
const notForSurface = (name: string): boolean => name === tokenHeader || /^(e2b|alcove)-/.test(name);
const notForPort = (name: string): boolean => name === trafficHeader || name.startsWith('e2b-sandbox-');
/** What a host tells its callers among ourselves. */
const notForCaller = (name: string): boolean => name.startsWith('alcove-');

/** Requests to rooms: where is it, may this be, wake it when it sleeps, pass it on, and ask once more when the room has moved meanwhile. */
export class Rooms {
  readonly #places: Readonly<Record<By, Places>> = { owner: new Places(limits.edge.exchangesPerRoom), stranger: new Places(limits.edge.strangersPerRoom) };

  constructor(
    private readonly routes: Routes,
    private readonly upstreams: Upstreams,
    private readonly clock: Clock,
  ) {}

  /** Serves one request, to its end. `trusted`: no token is asked for. Throws Refusal. */
  async serve(exchange: Exchange, address: RoomAddress, trusted = false): Promise<void> {
    let leave: Leave | null = null;
    const ticket = this.#ticket(exchange, address, trusted, (by) => {
      if (leave) return;
      if (by === 'owner') exchange.seat.shown();
      else exchange.seat.belong('stranger');
      leave = this.#places[by].take(address.sandboxId);
      if (!leave) throw new Refusal(replies.tooMany(address.sandboxId, 'sandbox'));
    });
    try {
      await this.#attempts(ticket);
    } finally {
      (leave as Leave | null)?.();
    }
  }

  #ticket(exchange: Exchange, address: RoomAddress, trusted: boolean, enter: Ticket['enter']): Ticket {
    const { request, method, target } = exchange;
    // Before any question is asked: what no room has, no room is woken or looked up for.
    const surface = address.port === surfacePort ? surfaceOf(exchange) : null;
    const { roomId, sandboxId } = address;
    if (roomId === null) throw new Refusal(replies.notFound(sandboxId));
    const known = { exchange, address, trusted, enter, roomId, nowS: Math.floor(this.clock.now() / 1000), trafficToken: valuesOf(request.rawHeaders, trafficHeader)[0] };
    if (surface === null) return { ...known, surface, path: target };
    const tokens = valuesOf(request.rawHeaders, tokenHeader);
    if (tokens.length > 1) throw new Refusal(replies.badRequest('There must be one token'));
    return { ...known, surface: { method, pathname: surface.pathname, query: surface.searchParams, token: tokens[0] }, path: `${surface.pathname}${surface.search}` };
  }

  async #attempts(ticket: Ticket): Promise<void> {
    const { exchange, address, roomId } = ticket;
    const first = await this.#find(ticket, isStreamed(exchange) || isAboutLife(ticket));
    const body = await takeBody(exchange, this.clock);
    let passed = await this.#pass(ticket, first, body);
    if (passed === 'passed') return;
    this.routes.forget(roomId);
    const second = await this.#find(ticket, true);
    // Of a body that has begun to flow, a part is lost.
    if (body.kind !== 'stream') passed = await this.#pass(ticket, second, body);
    if (passed === 'passed') return;
    this.routes.forget(roomId);
    // That a host cannot be reached does not say that the room does not run.
    throw new Refusal(passed === 'unreachable' ? replies.cannotNow(address.sandboxId, 'host') : replies.notFound(address.sandboxId, 'moving'));
  }

  /** Where the room runs, after it was woken where that is needed. Throws Refusal. */
  async #find(ticket: Ticket, now: boolean): Promise<Place> {
    const { roomId, address, enter } = ticket;
    try {
      let { route, verdict } = await this.#judged(ticket, now);
      if (verdict.kind !== 'refuse') enter(verdict.by);
      if (verdict.kind === 'wake') {
        route = await this.routes.wake(roomId);
        verdict = judge(ticket, route);
      }
      if (verdict.kind === 'pass') return { target: verdict.target, route };
      throw new Refusal(verdict.kind === 'wake' ? replies.moving(address.sandboxId) : verdict.reply);
    } catch (error) {
      throw error instanceof Refusal ? error : refusalOf(address.sandboxId, error);
    }
  }

  /** A refusal, and a need to wake, are judged by an answer that is no older than the request; that of the surface's token by one that has refused one a moment ago. */
  async #judged(ticket: Ticket, now: boolean): Promise<{ route: EdgeRoute; verdict: Verdict }> {
    const { roomId } = ticket;
    const settled = this.routes.settled(roomId);
    if (settled) {
      const verdict = judge(ticket, settled);
      if (isAboutToken(verdict)) return { route: settled, verdict };
    }
    let { route, fresh } = now ? { route: await this.routes.ask(roomId), fresh: true } : await this.routes.find(roomId);
    let verdict = judge(ticket, route);
    if (verdict.kind !== 'pass' && !fresh) {
      route = await this.routes.ask(roomId);
      verdict = judge(ticket, route);
    }
    if (isAboutToken(verdict)) this.routes.settle(roomId);
    return { route, verdict };
  }

  /** Throws Refusal. */
  async #pass(ticket: Ticket, place: Place, body: Body): Promise<Passed> {
    const { exchange, address, surface, roomId } = ticket;
    try {
      return surface === null ? await this.#passToPort(ticket, place, body) : await this.#passToSurface(ticket, place, body);
    } catch (error) {
      if (exchange.gone.aborted) return 'passed';
      if (error instanceof TunnelRefused) return refusedTunnel(error, address);
      if (!(error instanceof UpstreamFailure)) throw error;
      if (!error.connected || (error.reused && isRepeatable(exchange, body))) return 'unreachable';
      this.routes.forget(roomId);
      throw new Refusal(surface === null ? replies.noAnswer(address.sandboxId, address.port) : await this.#silent(ticket), error);
    }
  }

  /** Of a request that may have been acted on and has no answer: either the room runs no longer, and then that is said, or it cannot be told. */
  async #silent(ticket: Ticket): Promise<Reply> {
    const { sandboxId } = ticket.address;
    const verdict = await this.routes.ask(ticket.roomId).then((route) => judge(ticket, route), () => null);
    return verdict?.kind === 'refuse' ? verdict.reply : replies.cannotNow(sandboxId, 'no answer');
  }

  async #passToSurface({ exchange, address, roomId, path }: Ticket, { target }: Place, body: Body): Promise<Passed> {
    const { request, method, authority } = exchange;
    const headers = ['Host', authority, ...requestHeaders(request.rawHeaders, notForSurface), ...framing(exchange, body)];
    const outgoing = this.upstreams.toSurface({ roomId, target }, method, path, headers);
    const incoming = await send(exchange, outgoing, body);
    if (isElsewhere(incoming) || isBusy(incoming)) {
      request.unpipe(outgoing);
      incoming.on('error', () => undefined);
      outgoing.destroy();
      if (isBusy(incoming)) throw new Refusal(replies.tooMany(address.sandboxId, 'host'));
      return 'elsewhere';
    }
    if (!(await deliver(exchange, outgoing, incoming, notForCaller))) this.routes.forget(roomId);
    return 'passed';
  }

  async #passToPort({ exchange, address, roomId, path }: Ticket, { target, route }: Place, body: Body): Promise<Passed> {
    const to = { roomId, target, port: address.port };
    const host = route.maskRequestHost?.replaceAll('${PORT}', String(to.port)) ?? exchange.authority;
    const isOwn = showsToken(exchange, route.surfaceToken);
    const headers = ['Host', host, ...forwardedHeaders(exchange, (name) => notForPort(name) || (isOwn && name === tokenHeader))];
    const fresh = exchange.upgrade !== null || !isRepeatable(exchange, body);
    if (exchange.upgrade) {
      const { protocol } = exchange.upgrade;
      await sendUpgrade(exchange, this.upstreams.toPort(to, exchange.method, path, [...headers, 'Connection', 'Upgrade', 'Upgrade', protocol], fresh));
      return 'passed';
    }
    const outgoing = this.upstreams.toPort(to, exchange.method, path, [...headers, ...framing(exchange, body)], fresh);
    if (!(await deliver(exchange, outgoing, await send(exchange, outgoing, body)))) this.routes.forget(roomId);
    return 'passed';
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

/** The token of the surface opens the whole room: what runs on one of its ports is not to have it, whoever sends it there. An application's own token of that name is its own. */
function showsToken({ request }: Exchange, token: string | null): boolean {
  return token !== null && valuesOf(request.rawHeaders, tokenHeader).some((value) => value.split(',').some((part) => sameText(part.trim(), token)));
}

function isAboutToken(verdict: Verdict): boolean {
  return verdict.kind === 'refuse' && verdict.about === 'token';
}

function refusedTunnel(error: TunnelRefused, { sandboxId, port }: RoomAddress): 'elsewhere' {
  if (error.elsewhere) return 'elsewhere';
  if (error.status === 429) throw new Refusal(replies.tooMany(sandboxId, 'ports'), error);
  if (error.status === 503) throw new Refusal(replies.cannotNow(sandboxId, 'host'), error);
  throw new Refusal(replies.portClosed(sandboxId, port), error);
}
