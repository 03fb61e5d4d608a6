import { applyDecorators, createParamDecorator, HttpCode, RequestMapping, RequestMethod, UseInterceptors, type ExecutionContext } from '@nestjs/common';
import { RouteConfig } from '@nestjs/platform-fastify';
import type { Principal, ProblemCode, Scope } from '@alcove/contracts';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { z } from 'zod';
import { e2bRoutes } from '../e2b/routes';
import { IdempotencyInterceptor } from './idempotency';
import { routes } from './routes';

export type Tag = 'Tenants' | 'Keys' | 'Users' | 'Rooms' | 'In the room' | 'Memory' | 'Platform' | 'E2B';

/** `json`: parsed and checked. `bytes`: held in memory, at most that many. `stream`: passed on as it comes, at most that many bytes. */
export type BodySpec = { readonly json: z.ZodType } | { readonly bytes: number } | { readonly stream: number };

/** `schema`: a JSON answer, or each event of a stream. `type`: its media type when that is not JSON. */
export interface AnswerSpec {
  readonly status: 101 | 200 | 201 | 202 | 204;
  readonly description: string;
  readonly schema?: z.ZodType;
  readonly type?: string;
}

/** One public route: who may call it, what it takes, what it answers. The door enforces it, /openapi.json shows it. */
export interface RouteSpec {
  /** `ALL`: every method that HTTP has. */
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE' | 'ALL';
  /** `*` at its end stands for anything. */
  readonly path: string;
  readonly tag: Tag;
  readonly summary: string;
  readonly description?: string;
  /** The scope that a key needs. `open`: no key. `docs`: any key, also by HTTP Basic, or none, as ALCOVE_DOCS says. */
  readonly access: Scope | 'open' | 'docs';
  /** `e2b`: for E2B's clients. Also takes the key as X-API-KEY, lets pass what it does not know of a body or a query, refuses in E2B's words. */
  readonly face?: 'e2b';
  /** Without one, a route takes no parameter. `any`: what is asked is not this process's to check. */
  readonly query?: z.ZodObject | 'any';
  readonly body?: BodySpec;
  readonly answer: AnswerSpec;
  /** Takes an Idempotency-Key: a repeat is answered with the first answer. */
  readonly idempotent?: true;
  readonly problems: readonly ProblemCode[];
}

export type Routes = typeof routes & typeof e2bRoutes;
export type RouteId = keyof Routes;

/** The platform's own routes as plain specifications, for code that walks them: what /openapi.json shows. */
export const routeTable: Readonly<Record<keyof typeof routes, RouteSpec>> = routes;
/** Every route that there is: what the door knows. */
export const doorTable: Readonly<Record<RouteId, RouteSpec>> = { ...routes, ...e2bRoutes };

type QueryOf<R> = R extends { query: infer Q extends z.ZodType } ? z.output<Q> : undefined;
type BodyOf<R> = R extends { body: { json: infer B extends z.ZodType } } ? z.output<B> : R extends { body: { bytes: number } } ? Buffer : R extends { body: { stream: number } } ? NodeJS.ReadableStream : undefined;
type ParamsOf<P extends string> = P extends `${infer Front}*` ? ParamsOf<Front> & { '*': string } : P extends `${string}:${infer Name}/${infer Rest}` ? { [K in Name]: string } & ParamsOf<Rest> : P extends `${string}:${infer Name}` ? { [K in Name]: string } : unknown;

/** A request that came through the door: its caller is known and allowed, its parts have been checked against the table. */
export interface Call<R extends RouteId> {
  readonly principal: Principal;
  readonly params: ParamsOf<Routes[R]['path']>;
  readonly query: QueryOf<Routes[R]>;
  readonly body: BodyOf<Routes[R]>;
  /** Aborted when the caller goes away or the process shuts down. */
  readonly signal: AbortSignal;
  readonly request: FastifyRequest;
  readonly reply: FastifyReply;
}

const methods = { GET: RequestMethod.GET, POST: RequestMethod.POST, PUT: RequestMethod.PUT, DELETE: RequestMethod.DELETE, ALL: RequestMethod.ALL } as const;

declare module 'fastify' {
  interface FastifyContextConfig {
    routeId?: RouteId;
  }
  interface FastifyRequest {
    /** Who asks; undefined on open routes. Set by the door. */
    principal?: Principal;
    /** Set by the door: see Call. */
    gone?: AbortSignal;
    checkedQuery?: unknown;
  }
}

/** Makes a method the handler of a route of the table. */
export function Route(id: RouteId): MethodDecorator {
  const spec = doorTable[id];
  return applyDecorators(
    RequestMapping({ method: methods[spec.method], path: spec.path }),
    HttpCode(spec.answer.status),
    RouteConfig({ routeId: id }),
    ...(spec.idempotent ? [UseInterceptors(IdempotencyInterceptor)] : []),
  );
}

/** The one parameter of a handler: `@Asked() call: Call<'createRoom'>`. */
export const Asked = createParamDecorator((_: unknown, context: ExecutionContext): Call<RouteId> => {
  const request = context.switchToHttp().getRequest<FastifyRequest>();
  const reply = context.switchToHttp().getResponse<FastifyReply>();
  // The door has checked every part against the table; the cast carries that knowledge into the types.
  return { principal: request.principal, params: request.params, query: request.checkedQuery, body: request.body, signal: request.gone, request, reply } as Call<RouteId>;
});
