import { Inject, Injectable, type CallHandler, type ExecutionContext, type NestInterceptor } from '@nestjs/common';
import { limits, type Log } from '@alcove/base';
import { Problem } from '@alcove/contracts';
import type { Json } from '@alcove/db';
import { IdempotencyKeys, requestHash, type FirstRequest } from '@alcove/identity';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { from, lastValueFrom, of, type Observable } from 'rxjs';
import { LOG } from '../tokens';

const keyForm = new RegExp(`^[\\x21-\\x7e]{1,${limits.http.idempotencyKeyChars}}$`);

/** The request's Idempotency-Key; undefined when it has none. Problem `request.invalid`. */
export function idempotencyKeyOf({ headers }: Pick<FastifyRequest, 'headers'>): string | undefined {
  const given = headers['idempotency-key'];
  if (given === undefined || (typeof given === 'string' && keyForm.test(given))) return given;
  throw new Problem('request.invalid', { errors: [{ path: 'header.idempotency-key', message: `one, of 1 to ${limits.http.idempotencyKeyChars} visible ASCII characters` }] });
}

/** Answers a repeat of a request that carries an Idempotency-Key with the first answer. Failures are not kept: a repeat tries again. */
@Injectable()
export class IdempotencyInterceptor implements NestInterceptor {
  constructor(
    private readonly keys: IdempotencyKeys,
    @Inject(LOG) private readonly log: Log,
  ) {}

  async intercept(context: ExecutionContext, next: CallHandler): Promise<Observable<unknown>> {
    const request = context.switchToHttp().getRequest<FastifyRequest>();
    const reply = context.switchToHttp().getResponse<FastifyReply>();
    if (!request.principal) return next.handle();
    const given = idempotencyKeyOf(request);
    if (given === undefined) return next.handle();
    const { tenantId, keyId } = request.principal;
    const hash = requestHash(request.method, request.url, request.body as Json);
    const begun = await this.keys.begin({ tenantId, keyId, idempotencyKey: given, requestHash: hash });
    if (begun.kind === 'replay') {
      void reply.code(begun.status).header('idempotent-replayed', 'true');
      return of(begun.body);
    }
    return from(this.#first(begun, next, reply.statusCode));
  }

  async #first(first: FirstRequest, next: CallHandler, status: number): Promise<unknown> {
    let answer: unknown;
    try {
      answer = await lastValueFrom(next.handle());
    } catch (error) {
      await first.abandon().catch((failure: unknown) => this.log.warn({ err: failure }, 'an idempotency key stays taken until its lease ends'));
      throw error;
    }
    // What was asked for is done: the caller hears so even when a repeat will not.
    await first.finish(status, answer as Json).catch((failure: unknown) => this.log.warn({ err: failure }, 'an answer could not be kept for repeats'));
    return answer;
  }
}
