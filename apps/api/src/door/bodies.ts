import { Transform, type TransformCallback } from 'node:stream';
import { limits } from '@alcove/base';
import { Problem } from '@alcove/contracts';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { doorTable, type BodySpec } from './route';

const json = /^application\/json\s*(;|$)/i;
const strictUtf8 = new TextDecoder('utf-8', { fatal: true });

/** How the body of this request is to be read; undefined when its route takes none. */
function bodyOf(request: FastifyRequest): BodySpec | undefined {
  const id = request.routeOptions.config.routeId;
  return id ? doorTable[id].body : undefined;
}

/** The most bytes that a route's body may have. A route that takes none may still be sent an empty object. */
function limitOf(spec: BodySpec | undefined): number {
  if (spec && 'bytes' in spec) return spec.bytes;
  if (spec && 'stream' in spec) return spec.stream;
  return limits.http.bodyBytes;
}

/** Calls back when the sender of a body says nothing for limits.http.bodyIdleMs; stop() ends the watch. */
function watchIdle(onIdle: () => void): { heard: () => void; stop: () => void } {
  const timer = setTimeout(onIdle, limits.http.bodyIdleMs);
  return { heard: () => timer.refresh(), stop: () => clearTimeout(timer) };
}

const tooLarge = (limit: number): Problem => new Problem('request.too_large', { detail: `At most ${limit} bytes.` });
const tooSlow = (): Problem => new Problem('request.invalid', { detail: 'The body stopped arriving.' });

/** Reads a whole body. Rejects with request.too_large as soon as the limit is passed. */
export function readWhole(payload: NodeJS.ReadableStream, limit: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let length = 0;
    const settle = (outcome: () => void): void => {
      watch.stop();
      payload.removeListener('data', onData);
      outcome();
    };
    const onData = (chunk: Buffer): void => {
      watch.heard();
      length += chunk.length;
      chunks.push(chunk);
      if (length > limit) settle(() => reject(tooLarge(limit)));
    };
    const watch = watchIdle(() => settle(() => reject(tooSlow())));
    payload.on('data', onData);
    payload.once('end', () => settle(() => resolve(Buffer.concat(chunks, length))));
    payload.once('error', (error) => settle(() => reject(new Problem('request.invalid', { detail: 'The body ended early.', cause: error }))));
    payload.once('close', () => settle(() => reject(new Problem('request.invalid', { detail: 'The body ended early.' }))));
  });
}

/** Passes a body on, with back-pressure, and fails when it is longer than the limit or stops arriving. */
class BoundedBody extends Transform {
  #length = 0;
  readonly #watch = watchIdle(() => this.#idle());
  constructor(readonly limit: number) {
    super();
  }
  override _transform(chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    this.#watch.heard();
    this.#length += chunk.length;
    if (this.#length > this.limit) done(tooLarge(this.limit));
    else done(null, chunk);
  }
  override _flush(done: TransformCallback): void {
    this.#watch.stop();
    done();
  }
  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#watch.stop();
    done(error);
  }
  /** A full buffer means that the room is slow, not the sender. */
  #idle(): void {
    if (this.writableNeedDrain) this.#watch.heard();
    else this.destroy(tooSlow());
  }
}

function bounded(payload: NodeJS.ReadableStream, limit: number): BoundedBody {
  const body = new BoundedBody(limit);
  payload.once('error', (error) => body.destroy(new Problem('request.invalid', { detail: 'The body ended early.', cause: error })));
  payload.once('close', () => {
    if (!body.writableEnded) body.destroy(new Problem('request.invalid', { detail: 'The body ended early.' }));
  });
  // A caller that is refused before anybody reads its file must not end the process.
  body.on('error', () => payload.unpipe(body));
  payload.pipe(body);
  return body;
}

/** Parses JSON text. `parse` is Fastify's own parser, which refuses keys that would change an object's prototype. */
async function readJson(request: FastifyRequest, payload: NodeJS.ReadableStream, parse: (text: string) => Promise<unknown>): Promise<unknown> {
  const bytes = await readWhole(payload, limitOf(bodyOf(request)));
  if (bytes.length === 0) return undefined;
  if (!json.test(request.headers['content-type'] ?? '')) throw new Problem('request.media_type', { detail: 'Send JSON with content-type: application/json.' });
  try {
    return await parse(strictUtf8.decode(bytes));
  } catch (error) {
    throw new Problem('request.invalid', { detail: 'The body is not valid JSON.', cause: error });
  }
}

/** Teaches Fastify to read each route's body as the table says: parsed, whole, or passed on unread. */
export function installBodies(fastify: FastifyInstance): void {
  const parser = fastify.getDefaultJsonParser('error', 'error');
  const parse = (request: FastifyRequest) => (text: string) =>
    new Promise<unknown>((resolve, reject) => {
      void parser(request, text, (error, value) => (error ? reject(error) : resolve(value)));
    });
  fastify.removeAllContentTypeParsers();
  fastify.addContentTypeParser('*', async (request: FastifyRequest, payload: NodeJS.ReadableStream) => {
    const spec = bodyOf(request);
    const limit = limitOf(spec);
    if (Number(request.headers['content-length'] ?? 0) > limit) throw tooLarge(limit);
    if (spec && 'stream' in spec) return bounded(payload, limit);
    if (spec && 'bytes' in spec) return readWhole(payload, limit);
    return readJson(request, payload, parse(request));
  });
}
