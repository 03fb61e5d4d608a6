import { Catch, HttpException, type ArgumentsHost, type ExceptionFilter } from '@nestjs/common';
import { errorCode, type Log } from '@alcove/base';
import { isProblem, Problem, type ProblemCode } from '@alcove/contracts';
import { DbUnavailable } from '@alcove/db';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { isE2bPath, toE2bError } from '../e2b/errors';
import { answerHeaders } from './answer-headers';
import { doorTable } from './route';

/** What the framework refuses by itself, as our problems. */
const frameworkCodes: Record<string, ProblemCode> = {
  FST_ERR_CTP_BODY_TOO_LARGE: 'request.too_large',
  FST_ERR_CTP_INVALID_MEDIA_TYPE: 'request.media_type',
  FST_ERR_BAD_URL: 'request.invalid',
  FST_ERR_MAX_PARAM_LENGTH: 'request.invalid',
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: 'request.invalid',
  FST_ERR_ASYNC_CONSTRAINT: 'request.invalid',
};

/** A body that is not read to its end keeps its connection busy; one larger than this is cut off. */
const drainBytes = 64 << 10;

/** Path patterns of the table, to tell a wrong method from a wrong path. */
const patterns = Object.values(doorTable).map((route) => ({ method: route.method, path: new RegExp(`^${route.path.replaceAll('.', '\\.').replaceAll(/:\w+/g, '[^/]+').replace('*', '.*')}$`) }));

/** The methods that a path takes; none when there is no such path. */
export function methodsOf(url: string): string[] {
  const path = url.split('?', 1)[0] ?? '';
  return [...new Set(patterns.filter((pattern) => pattern.path.test(path)).map((pattern) => pattern.method))].sort();
}

/** Any error as the problem that its caller may see. */
export function toProblem(error: unknown): Problem {
  if (isProblem(error)) return error;
  if (error instanceof DbUnavailable) return new Problem('unavailable', { cause: error });
  if (error instanceof HttpException && error.getStatus() === 404) return new Problem('request.unknown_route', { cause: error });
  const code = frameworkCodes[errorCode(error) ?? ''];
  return new Problem(code ?? 'internal', { cause: error });
}

/** Every refused request ends here: application/problem+json (RFC 9457), what went wrong in the log, never a stack outside. */
@Catch()
export class ProblemFilter implements ExceptionFilter {
  constructor(private readonly log: Log) {}

  catch(error: unknown, host: ArgumentsHost): void {
    const request = host.switchToHttp().getRequest<FastifyRequest>();
    const reply = host.switchToHttp().getResponse<FastifyReply>();
    this.answer(error, request, reply);
  }

  answer(error: unknown, request: FastifyRequest, reply: FastifyReply): void {
    const problem = this.#ofRoute(toProblem(error), request, reply);
    this.#record(problem, request);
    if (reply.raw.headersSent) {
      // The status is out already: a cut connection is the only way left to say that the answer is not whole.
      reply.raw.destroy();
      return;
    }
    reply.headers(answerHeaders(request.id));
    if (problem.retryAfterMs !== undefined) reply.header('retry-after', String(Math.ceil(problem.retryAfterMs / 1000)));
    if (problem.status === 401) reply.header('www-authenticate', this.#challenge(request));
    if (hasLargeRest(request)) reply.header('connection', 'close');
    if (isForE2b(request)) {
      const body = toE2bError(problem);
      void reply.code(body.code).type('application/json; charset=utf-8').serializer(JSON.stringify).send(body);
      return;
    }
    // The path alone: a query may hold the names of a user's files.
    const body = problem.toBody({ instance: request.url.split('?', 1)[0] ?? '', requestId: request.id });
    void reply.code(problem.status).type('application/problem+json').serializer(JSON.stringify).send(body);
  }

  #ofRoute(problem: Problem, request: FastifyRequest, reply: FastifyReply): Problem {
    if (problem.code !== 'request.unknown_route') return problem;
    const methods = methodsOf(request.url);
    if (methods.length === 0 || methods.includes(request.method)) return problem;
    reply.header('allow', methods.join(', '));
    return new Problem('request.method', { detail: `This path takes ${methods.join(', ')}.` });
  }

  #challenge(request: FastifyRequest): string {
    const id = request.routeOptions.config.routeId;
    return id && doorTable[id].access === 'docs' ? 'Basic realm="Alcove: any user name, an API key as the password", charset="UTF-8"' : 'Bearer realm="Alcove"';
  }

  #record(problem: Problem, request: FastifyRequest): void {
    const about = { requestId: request.id, route: request.routeOptions.config.routeId, code: problem.code, keyId: request.principal?.keyId };
    if (problem.status >= 500) this.log[problem.code === 'internal' ? 'error' : 'warn']({ ...about, err: problem }, 'request failed');
    else this.log.debug({ ...about, detail: problem.detail }, 'request refused');
  }
}

function isForE2b(request: FastifyRequest): boolean {
  const id = request.routeOptions.config.routeId;
  return id ? doorTable[id].face === 'e2b' : isE2bPath(request.url);
}

function hasLargeRest(request: FastifyRequest): boolean {
  if (request.raw.complete) return false;
  const length = request.headers['content-length'];
  return length === undefined ? request.headers['transfer-encoding'] !== undefined : Number(length) > drainBytes;
}
