import { BlockLabel, ConsolidationId, RotationId, EnvName, MemoryEventId, MemoryId, Problem, RoomIdSchema, SnapshotId, UserId, type ProblemCode } from '@alcove/contracts';
import { z } from 'zod';
import type { BodySpec, RouteSpec } from './route';

const errorsShown = 20;
const messageChars = 200;

/** What a path parameter must look like, and the answer when it does not: an id that cannot exist is an id that was not found. */
const params: Record<string, { schema: z.ZodType; problem: ProblemCode }> = {
  sandboxId: { schema: z.string().regex(/^i[0-9a-f]{20}$/), problem: 'room.not_found' },
  pid: { schema: z.string().regex(/^[1-9]\d{0,9}$/), problem: 'exec.not_found' },
  port: { schema: z.string().regex(/^[1-9]\d{0,4}$/).refine((text) => Number(text) <= 65_535), problem: 'request.invalid' },
  roomId: { schema: RoomIdSchema, problem: 'room.not_found' },
  userId: { schema: UserId, problem: 'user.not_found' },
  tenantId: { schema: z.uuid(), problem: 'tenant.not_found' },
  keyId: { schema: z.string().regex(/^key_[0-9a-f]{20}$/), problem: 'key.not_found' },
  snapshotId: { schema: SnapshotId, problem: 'snapshot.not_found' },
  memoryId: { schema: MemoryId, problem: 'memory.not_found' },
  eventId: { schema: MemoryEventId, problem: 'memory.not_found' },
  rotationId: { schema: RotationId, problem: 'key.rotation_not_found' },
  consolidationId: { schema: ConsolidationId, problem: 'memory.not_found' },
  label: { schema: BlockLabel, problem: 'memory.not_found' },
  name: { schema: EnvName, problem: 'request.invalid' },
  asset: { schema: z.string().regex(/^[a-z.-]{1,64}$/), problem: 'request.unknown_route' },
};

/** Throws the parameter's own not-found problem. */
export function checkParams(given: Readonly<Record<string, string>>): void {
  for (const [name, value] of Object.entries(given)) {
    const known = params[name];
    if (known && !known.schema.safeParse(value).success) throw new Problem(known.problem);
    // What follows a port is the room's to judge.
    if (!known && name !== '*') refuseNul(value, `path.${name}`);
  }
}

/** `metadata[team]=a` as `{metadata: {team: 'a'}}`: one level, as OpenAPI's deepObject style writes it. */
export function nested(query: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const result: Record<string, unknown> = Object.create(null) as Record<string, unknown>;
  for (const [name, value] of Object.entries(query)) {
    const parts = /^([^[\]]+)\[([^[\]]+)\]$/.exec(name);
    const [, outer, inner] = parts ?? [];
    if (outer === undefined || inner === undefined) {
      result[name] = value;
      continue;
    }
    const group = (result[outer] ??= Object.create(null)) as unknown;
    if (typeof group !== 'object' || group === null) throw invalid([{ path: outer, message: 'given both as a value and as a group' }]);
    (group as Record<string, unknown>)[inner] = value;
  }
  return { ...result };
}

function invalid(errors: { path: string; message: string }[], detail?: string): Problem {
  return new Problem('request.invalid', { errors: errors.slice(0, errorsShown), ...(detail === undefined ? {} : { detail }) });
}

function parse(schema: z.ZodType, value: unknown, where: 'query' | 'body'): unknown {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  throw invalid(result.error.issues.slice(0, errorsShown).map((issue) => ({ path: [where, ...issue.path.map(String)].join('.').slice(0, messageChars), message: issue.message.slice(0, messageChars) })));
}

const nothing = z.strictObject({});
const anything = z.object({});

/** The checked query; a route without one takes no parameter, one of E2B's face any that it does not know. */
export function checkQuery(spec: Pick<RouteSpec, 'query' | 'face'>, given: unknown): unknown {
  if (spec.query === 'any') return undefined;
  const query = spec.face === 'e2b' ? given : nested(given as Record<string, unknown>);
  refuseNul(query, 'query');
  return parse(spec.query ?? (spec.face === 'e2b' ? anything : nothing), query, 'query');
}

/**
 * The checked body: parsed JSON, or what the content parser made of it. A route without a body takes none, or an empty object. For E2B's clients, none at all is an empty
 * object too, and a route without a body takes any.
 */
export function checkBody(spec: BodySpec | undefined, given: unknown, face?: 'e2b'): unknown {
  if (spec && !('json' in spec)) return given;
  if (face === 'e2b') {
    refuseNul(given, 'body');
    return spec ? parse(spec.json, given ?? {}, 'body') : undefined;
  }
  refuseNul(given, 'body');
  if (spec) return parse(spec.json, given, 'body');
  if (given !== undefined && given !== null) parse(nothing, given, 'body');
  return undefined;
}

/** The names of an object, with those of the objects in it, that a check let pass and did not keep. The first few of them; values are not among them. */
export function droppedNames(given: unknown, kept: unknown): string[] {
  const dropped: string[] = [];
  const waiting: [unknown, unknown, string][] = [[given, kept, '']];
  while (waiting.length > 0 && dropped.length < errorsShown) {
    const [from, to, path] = waiting.pop() ?? [];
    if (!isObject(from) || !isObject(to)) continue;
    for (const [name, inner] of Object.entries(from)) {
      if (!(name in to)) dropped.push(`${path}${name}`.slice(0, messageChars));
      else waiting.push([inner, to[name], `${path}${name}.`]);
    }
  }
  return dropped.slice(0, errorsShown);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

/** No name or text of ours holds a NUL: PostgreSQL cannot store one, and a command's argument ends at it. Walks without recursion: the value may be deep. */
function refuseNul(value: unknown, where: string): void {
  const waiting: unknown[] = [value];
  while (waiting.length > 0) {
    const next = waiting.pop();
    if (typeof next === 'string' && next.includes('\0')) throw invalid([{ path: where, message: 'a text holds a NUL character' }]);
    if (typeof next !== 'object' || next === null) continue;
    for (const [name, inner] of Object.entries(next)) waiting.push(name, inner);
  }
}
