import { problemCodes, type ProblemCode } from '@alcove/contracts';
import { routeTable, type RouteSpec } from '../door/route';
import { Schemas, type JsonSchema } from './schemas';

/** What any route may answer. */
const always: ProblemCode[] = ['request.invalid', 'unavailable', 'internal'];
const withKey: ProblemCode[] = ['auth.missing', 'auth.invalid', 'auth.expired', 'auth.revoked', 'auth.scope', 'request.rate', 'request.concurrency'];
const withBody: ProblemCode[] = ['request.too_large', 'request.media_type'];
const withIdempotency: ProblemCode[] = ['request.idempotency_reused', 'request.idempotency_busy'];

const problemSchema: JsonSchema = {
  type: 'object',
  description: 'RFC 9457. Decide by `code`; `detail` is for people.',
  required: ['type', 'title', 'status', 'code'],
  properties: {
    type: { type: 'string', format: 'uri' },
    title: { type: 'string' },
    status: { type: 'integer' },
    code: { type: 'string', enum: Object.keys(problemCodes) },
    detail: { type: 'string' },
    instance: { type: 'string' },
    requestId: { type: 'string' },
    retryAfterMs: { type: 'integer', description: 'When the same call may succeed; also in the header Retry-After, in seconds' },
    errors: { type: 'array', items: { type: 'object', required: ['path', 'message'], properties: { path: { type: 'string' }, message: { type: 'string' } } } },
  },
};

/** The problems that a route may answer, its own and those of every route like it. */
export function problemsOf(route: RouteSpec): ProblemCode[] {
  const keyed = route.access !== 'open';
  return [...new Set([...route.problems, ...always, ...(keyed ? withKey : []), ...(route.body ? withBody : []), ...(route.idempotent ? withIdempotency : [])])];
}

function problemAnswers(route: RouteSpec): JsonSchema {
  const byStatus = new Map<number, string[]>();
  for (const code of problemsOf(route)) {
    const { status, title } = problemCodes[code];
    byStatus.set(status, [...(byStatus.get(status) ?? []), `\`${code}\` ${title}`]);
  }
  const content = { 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } };
  return Object.fromEntries([...byStatus].map(([status, lines]) => [status, { description: lines.join(' · '), content }]));
}

function parameters(route: RouteSpec, schemas: Schemas): JsonSchema[] {
  const inPath = [...route.path.replace('*', ':path').matchAll(/:(\w+)/g)].map(([, name]) => ({ name, in: 'path', required: true, schema: { type: 'string' } }));
  const inQuery = Object.entries(route.query && route.query !== 'any' ? route.query.shape : {}).map(([name, schema]) => {
    const { optional, json } = schemas.parameter(schema);
    return { name, in: 'query', required: !optional, schema: json, ...(json['type'] === 'object' ? { style: 'deepObject', explode: true } : {}) };
  });
  const inHeader = route.idempotent
    ? [{ name: 'Idempotency-Key', in: 'header', required: false, description: 'A repeat with the same key and body is answered with the first answer, for a day', schema: { type: 'string', maxLength: 128 } }]
    : [];
  return [...inPath, ...inQuery, ...inHeader];
}

function requestBody(route: RouteSpec, schemas: Schemas): JsonSchema | undefined {
  const { body } = route;
  if (!body) return undefined;
  if ('json' in body) return { required: !body.json.safeParse(undefined).success, content: { 'application/json': { schema: schemas.input(body.json) } } };
  const maxLength = 'bytes' in body ? body.bytes : body.stream;
  const type = 'bytes' in body ? 'application/json' : 'application/octet-stream';
  return { required: true, description: `At most ${maxLength} bytes`, content: { [type]: { schema: 'bytes' in body ? {} : { type: 'string', format: 'binary' } } } };
}

function answer(route: RouteSpec, schemas: Schemas): JsonSchema {
  const { status, description, schema, type } = route.answer;
  if (status === 204 || status === 101) return { [status]: { description } };
  const json = schema ? schemas.output(schema) : { type: 'string' };
  return { [status]: { description, content: { [type ?? 'application/json']: { schema: json } } } };
}

function security(route: RouteSpec): JsonSchema[] {
  if (route.access === 'open') return [];
  if (route.access === 'docs') return [{ key: [] }, { keyAsPassword: [] }];
  return [{ key: [] }];
}

function operation(id: string, route: RouteSpec, schemas: Schemas): JsonSchema {
  const scope = route.access === 'open' || route.access === 'docs' ? '' : `Needs the scope \`${route.access}\`.`;
  const body = requestBody(route, schemas);
  return {
    operationId: id,
    tags: [route.tag],
    summary: route.summary,
    description: [route.description, scope].filter(Boolean).join('\n\n'),
    security: security(route),
    parameters: parameters(route, schemas),
    ...(body ? { requestBody: body } : {}),
    responses: { ...answer(route, schemas), ...problemAnswers(route) },
  };
}

/** The public API as OpenAPI 3.1, made from the table of routes and the zod schemas in it. */
export function openApiDocument(): JsonSchema {
  const schemas = new Schemas();
  const paths: Record<string, JsonSchema> = {};
  for (const [id, route] of Object.entries(routeTable)) {
    const path = route.path.replace('*', ':path').replaceAll(/:(\w+)/g, '{$1}');
    // OpenAPI has no word for any method.
    const method = route.method === 'ALL' ? 'post' : route.method.toLowerCase();
    paths[path] = { ...paths[path], [method]: operation(id, route, schemas) };
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Alcove',
      version: '1.0.0',
      description: "One private room per user: a microVM in which that user's agent lives, sleeps when idle and wakes on the next message.",
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: '/' }],
    tags: [...new Set(Object.values(routeTable).map((route) => route.tag))].map((name) => ({ name })),
    paths,
    components: {
      securitySchemes: {
        key: { type: 'http', scheme: 'bearer', description: 'An API key, `ak_…`' },
        keyAsPassword: { type: 'http', scheme: 'basic', description: 'For a browser: any user name, an API key as the password' },
      },
      schemas: { Problem: problemSchema, ...schemas.named },
    },
  };
}
