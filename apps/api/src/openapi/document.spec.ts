import { Ajv2020 } from 'ajv/dist/2020';
import { z } from 'zod';
import { routeTable } from '../door/route';
import { openApiDocument, problemsOf } from './document';

type Json = Record<string, unknown>;
const document = openApiDocument() as Json & { paths: Record<string, Record<string, Json>>; components: { schemas: Record<string, Json> } };
const operations = Object.entries(document.paths).flatMap(([path, methods]) => Object.entries(methods).map(([method, operation]) => ({ path, method, operation })));

function* everyObject(value: unknown): Generator<Json> {
  if (typeof value !== 'object' || value === null) return;
  if (!Array.isArray(value)) yield value as Json;
  for (const inner of Object.values(value)) yield* everyObject(inner);
}

/** The objects of OpenAPI 3.1.0 that are used here, with the fields that the specification gives them and no others. */
const anySchema = z.record(z.string(), z.unknown());
const Media = z.strictObject({ schema: anySchema });
const Content = z.record(z.string().regex(/^[a-z*]+\/[a-z0-9*+-]+$/), Media);
const Security = z.array(z.record(z.string(), z.array(z.string())));
const Parameter = z.strictObject({
  name: z.string().min(1),
  in: z.enum(['path', 'query', 'header']),
  required: z.boolean(),
  description: z.string().optional(),
  schema: anySchema,
  style: z.literal('deepObject').optional(),
  explode: z.boolean().optional(),
});
const Operation = z.strictObject({
  operationId: z.string(),
  tags: z.array(z.string()),
  summary: z.string(),
  description: z.string(),
  security: Security,
  parameters: z.array(Parameter),
  requestBody: z.strictObject({ required: z.boolean(), description: z.string().optional(), content: Content }).optional(),
  responses: z.record(z.string().regex(/^[1-5]\d\d$/), z.strictObject({ description: z.string().min(1), content: Content.optional() })),
});
const OpenApi = z.strictObject({
  openapi: z.literal('3.1.0'),
  info: z.strictObject({ title: z.string(), version: z.string(), description: z.string(), license: z.strictObject({ name: z.string(), identifier: z.string() }) }),
  servers: z.array(z.strictObject({ url: z.string() })),
  tags: z.array(z.strictObject({ name: z.string() })),
  paths: z.record(z.string().startsWith('/'), z.partialRecord(z.enum(['get', 'put', 'post', 'delete']), Operation)),
  components: z.strictObject({
    securitySchemes: z.record(z.string(), z.strictObject({ type: z.literal('http'), scheme: z.string(), description: z.string() })),
    schemas: z.record(z.string().regex(/^[a-zA-Z0-9._-]+$/), anySchema),
  }),
});

describe('the OpenAPI document', () => {
  it('is OpenAPI 3.1 and survives JSON', () => {
    expect(OpenApi.safeParse(document).error?.issues).toBeUndefined();
    expect(JSON.parse(JSON.stringify(document))).toEqual(document);
  });

  it('names every route of the table, by its id, once', () => {
    expect(operations.map(({ operation }) => operation['operationId']).sort()).toEqual(Object.keys(routeTable).sort());
  });

  it('declares each parameter of a path, and no other', () => {
    for (const { path, operation } of operations) {
      const inPath = (operation['parameters'] as Json[]).filter((parameter) => parameter['in'] === 'path');
      expect(inPath.map((parameter) => parameter['name'])).toEqual([...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name));
      expect(inPath.every((parameter) => parameter['required'] === true)).toBe(true);
    }
  });

  it('refers only to components that exist', () => {
    const references = [...everyObject(document)].map((object) => object['$ref']).filter((ref) => ref !== undefined);
    expect(references.length).toBeGreaterThan(20);
    for (const reference of references) expect(document.components.schemas).toHaveProperty(String(reference).replace('#/components/schemas/', ''));
  });

  it('describes every answer, and lists problems by status', () => {
    for (const { operation } of operations) {
      const responses = operation['responses'] as Record<string, Json>;
      expect(Object.keys(responses)).toContain('500');
      for (const [status, response] of Object.entries(responses)) {
        expect(status).toMatch(/^[1-5]\d\d$/);
        expect(response['description']).toEqual(expect.any(String));
      }
    }
  });

  it('holds only schemas that JSON Schema 2020-12 takes', () => {
    const ajv = new Ajv2020({ strict: false, validateFormats: false });
    ajv.addSchema({ $id: 'api', components: document.components });
    for (const name of Object.keys(document.components.schemas)) expect(() => ajv.compile({ $ref: `api#/components/schemas/${name}` })).not.toThrow();
  });

  it('has a type of its own for what callers send and get', () => {
    expect(Object.keys(document.components.schemas)).toEqual(expect.arrayContaining(['ApiKey', 'CreateRoom', 'ExecEvent', 'FileEntry', 'Problem', 'Room', 'RoomEvent', 'Tenant', 'User', 'WakeAnswer']));
  });
});

it.each([
  ['createRoom', ['host.unavailable', 'host.capacity', 'vault.key_unavailable', 'request.idempotency_reused']],
  ['wakeRoom', ['room.failed', 'host.fenced', 'engine.missing', 'engine.failed', 'vault.key_unavailable']],
  ['invoke', ['guest.protocol', 'guest.io', 'agent.timeout', 'host.fenced']],
  ['exec', ['exec.not_found', 'file.not_found', 'guest.io']],
] as const)('%s names what can come out of it', (id, codes) => {
  expect(problemsOf(routeTable[id])).toEqual(expect.arrayContaining([...codes]));
});
