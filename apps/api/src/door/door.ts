import type { IncomingHttpHeaders } from 'node:http';
import { assert, newId, type Log } from '@alcove/base';
import { Problem, type Principal } from '@alcove/contracts';
import type { FastifyInstance, FastifyReply, FastifyRequest, RouteOptions } from 'fastify';
import { answerHeaders } from './answer-headers';
import { installBodies } from './bodies';
import { checkBody, checkParams, checkQuery, droppedNames } from './checks';
import { KeyRates } from './key-rates';
import type { Metrics } from './metrics';
import type { OpenCalls } from './open-calls';
import { doorTable, type RouteId, type RouteSpec } from './route';

/** What the door asks of libs/identity. Rejects with an auth.… problem. */
export interface Authenticator {
  authenticate(bearer: string): Promise<Principal>;
}

/** Who may read /docs and /openapi.json. */
export type DocsSetting = 'keys' | 'public' | 'off';

const bearer = /^Bearer +(\S{1,512})$/i;
const visible = /^\S{1,512}$/;
const basic = /^Basic +([A-Za-z0-9+/=]{1,1024})$/i;
const foreignRequestId = /^[A-Za-z0-9_.-]{1,64}$/;

/**
 * The one way in. These are Fastify hooks and not Nest guards because a guard runs after the body was read: a stranger must not make this process read
 * megabytes. In order: request id, key, scope, rate, then the body is read, then every part is checked against the table.
 */
export class Door {
  readonly rates = new KeyRates();
  readonly #handled = new Set<RouteId>();

  constructor(
    private readonly identity: Authenticator,
    private readonly calls: OpenCalls,
    private readonly metrics: Metrics,
    private readonly docs: DocsSetting,
    private readonly log: Log,
  ) {}

  /** Must run before the application registers its routes. */
  install(fastify: FastifyInstance): void {
    installBodies(fastify);
    fastify.addHook('onRoute', (route) => this.#register(route));
    fastify.addHook('onRequest', (request, reply) => this.#enter(request, reply));
    fastify.addHook('preHandler', (request) => this.#check(request));
    fastify.addHook('onResponse', (request, reply) => this.#done(request, reply));
  }

  /** Once the application has registered its routes: each row of the table must have found its handler. */
  assertComplete(): void {
    const missing = Object.keys(doorTable).filter((id) => !this.#handled.has(id as RouteId));
    assert(missing.length === 0, `routes without a handler: ${missing.join(', ')}`);
  }

  /** A route that is not in the table would be one that nobody guards. */
  #register(route: RouteOptions): void {
    const id = route.config?.routeId;
    assert(id, `a route that is not in the table: ${String(route.method)} ${route.url}`);
    this.#handled.add(id);
    // bodies.ts keeps the real limit of each route; Fastify's own must not be lower.
    route.bodyLimit = Number.MAX_SAFE_INTEGER;
  }

  async #enter(request: FastifyRequest, reply: FastifyReply): Promise<void> {
    reply.headers(answerHeaders(request.id));
    if (this.calls.closing) throw new Problem('unavailable', { detail: 'The platform is restarting.' });
    let leave: () => void = () => undefined;
    request.gone = this.calls.add(reply, () => leave());
    const id = request.routeOptions.config.routeId;
    if (!id) return;
    const principal = await this.identify(doorTable[id], request.headers);
    if (!principal) return;
    request.principal = principal;
    leave = await this.#countIn(principal, reply);
  }

  async #countIn(principal: Principal, reply: FastifyReply): Promise<() => void> {
    const leave = await this.rates.enter(principal);
    if (!reply.raw.destroyed) return leave;
    // The caller went away meanwhile: its end has been seen already.
    leave();
    return () => undefined;
  }

  /** Who asks, once allowed to ask this; undefined where nobody needs to say. */
  async identify(spec: RouteSpec, headers: IncomingHttpHeaders): Promise<Principal | undefined> {
    if (spec.access === 'open') return undefined;
    if (spec.access === 'docs') {
      if (this.docs === 'off') throw new Problem('request.unknown_route');
      if (this.docs === 'public') return undefined;
    }
    const principal = await this.identity.authenticate(keyIn(spec, headers));
    if (spec.access !== 'docs' && !principal.scopes.includes(spec.access)) throw new Problem('auth.scope', { detail: `This needs the scope ${spec.access}.` });
    return principal;
  }

  async #check(request: FastifyRequest): Promise<void> {
    const id = request.routeOptions.config.routeId;
    if (!id) return;
    const spec = doorTable[id];
    checkParams(request.params as Record<string, string>);
    request.checkedQuery = checkQuery(spec, request.query);
    const given = request.body;
    request.body = checkBody(spec.body, given, spec.face);
    if (spec.face === 'e2b') this.#sayDropped(id, [...droppedNames(given, request.body ?? {}), ...droppedNames(request.query, request.checkedQuery)]);
  }

  /** A client that is newer than we are may ask for what we do not know: it is served all the same, and whoever wonders finds out here. */
  #sayDropped(route: RouteId, names: readonly string[]): void {
    if (names.length > 0) this.log.debug({ route, names }, 'asked for what is not known here');
  }

  async #done(request: FastifyRequest, reply: FastifyReply): Promise<void> {
    const route: RouteId | 'unknown' = request.routeOptions.config.routeId ?? 'unknown';
    this.metrics.answered(route, reply.statusCode, reply.elapsedTime);
    this.log.debug({ requestId: request.id, route, status: reply.statusCode, ms: Math.round(reply.elapsedTime), keyId: request.principal?.keyId }, 'answered');
  }
}

/** The key that a request shows. Throws auth.missing and auth.invalid. */
function keyIn(spec: RouteSpec, headers: IncomingHttpHeaders): string {
  const how = spec.face === 'e2b' ? 'Send the key as X-API-KEY: ak_…' : 'Send the key as Authorization: Bearer ak_…';
  const { authorization } = headers;
  const named = spec.face === 'e2b' ? headers['x-api-key'] : undefined;
  if (named !== undefined) {
    if (typeof named === 'string' && visible.test(named)) return named;
    throw new Problem('auth.invalid', { detail: how });
  }
  if (!authorization) throw new Problem('auth.missing', { detail: how });
  const key = bearer.exec(authorization)?.[1] ?? (spec.access === 'docs' ? basicPassword(authorization) : undefined);
  if (!key) throw new Problem('auth.invalid', { detail: how });
  return key;
}

/** A request's id: that of a proxy, where one is trusted, or a new one. */
export function requestId(headers: Readonly<Record<string, string | string[] | undefined>>, trustsProxy: boolean): string {
  const given = headers['x-request-id'];
  return trustsProxy && typeof given === 'string' && foreignRequestId.test(given) ? given : newId('req');
}

/** The password of HTTP Basic (RFC 7617): a browser can send a key that way. */
function basicPassword(authorization: string): string | undefined {
  const encoded = basic.exec(authorization)?.[1];
  if (!encoded) return undefined;
  const pair = Buffer.from(encoded, 'base64').toString('utf8');
  const colon = pair.indexOf(':');
  return colon < 0 ? undefined : pair.slice(colon + 1) || undefined;
}
