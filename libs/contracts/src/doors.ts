import { limits } from '@alcove/base';
import { z } from 'zod';
import type { Problem } from './problem';

/**
 * Doors: loopback HTTP addresses in a room through which its programs reach services of the platform. A program in the room → the guest agent → a stream of the guest
 * channel → the host agent, which takes the request apart → the control plane's internal listener, which knows the user by the room's lease. Nothing that a program sends
 * travels on as it was: what the host passes on is one of the routes below by its name, with the parameters that the route has.
 */
export interface DoorRoute {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  /** A segment that begins with a colon is a parameter: 1…128 letters, digits, `.`, `_`, `-`. */
  readonly path: string;
  /** The request has a body of JSON. */
  readonly body?: true;
}

export const doors = {
  memory: {
    hostName: 'memory.alcove.internal',
    routes: {
      add: { method: 'POST', path: '/v1/memory', body: true },
      list: { method: 'GET', path: '/v1/memory' },
      search: { method: 'POST', path: '/v1/memory/search', body: true },
      usage: { method: 'GET', path: '/v1/memory/usage' },
      addEvent: { method: 'POST', path: '/v1/memory/events', body: true },
      blocks: { method: 'GET', path: '/v1/memory/blocks' },
      block: { method: 'GET', path: '/v1/memory/blocks/:label' },
      setBlock: { method: 'PUT', path: '/v1/memory/blocks/:label', body: true },
      get: { method: 'GET', path: '/v1/memory/:id' },
      remove: { method: 'DELETE', path: '/v1/memory/:id' },
      mcp: { method: 'POST', path: '/mcp', body: true },
    },
  },
} as const satisfies Record<string, { hostName: string; routes: Record<string, DoorRoute> }>;

export const doorNames = Object.keys(doors) as (keyof typeof doors)[];
export const DoorName = z.enum(doorNames);
export type DoorName = z.infer<typeof DoorName>;
export type MemoryDoorRoute = keyof (typeof doors)['memory']['routes'];

/** The headers of a request that mean something to a service behind a door; all others stay with the host. */
export const doorHeaders = ['accept', 'if-match', 'idempotency-key', 'mcp-protocol-version', 'mcp-method', 'mcp-name'] as const;

const header = z.string().max(limits.doors.headerChars);

/** POST `doorPath(…)`: one request of a program in the room. */
export const DoorCall = z.strictObject({
  door: DoorName,
  route: z.string().max(32),
  params: z.record(z.string().max(32), z.string().max(limits.doors.paramChars)),
  query: z.record(z.string().max(32), z.string().max(limits.doors.queryBytes)),
  headers: z.partialRecord(z.enum(doorHeaders), header),
  /** JSON as text, not read yet; null where the route has none. */
  body: z.string().max(limits.doors.bodyBytes).nullable(),
});
export type DoorCall = z.infer<typeof DoorCall>;

/** What the program is answered. */
export const DoorAnswer = z.strictObject({
  status: z.int().min(200).max(599),
  headers: z.partialRecord(z.enum(['content-type', 'retry-after', 'etag', 'allow']), header),
  /** Null: none. */
  body: z.string().nullable(),
});
export type DoorAnswer = z.infer<typeof DoorAnswer>;

/** What is refused, as what the program is answered. */
export function problemAnswer(problem: Problem): DoorAnswer {
  const { retryAfterMs } = problem;
  const again = retryAfterMs === undefined ? {} : { 'retry-after': String(Math.max(1, Math.ceil(retryAfterMs / 1000))) };
  return { status: problem.status, headers: { 'content-type': 'application/problem+json', ...again }, body: JSON.stringify(problem.toBody()) };
}

/** Of the control plane's internal listener. Only the host whose certificate this is, for a room that it runs in this incarnation. Problems: `auth.scope`, `incarnation.stale`. */
export const doorPathPattern = '/internal/hosts/:hostId/rooms/:roomId/incarnations/:incarnation/doors';

export function doorPath(hostId: string, roomId: string, incarnation: number): string {
  const values: Record<string, string> = { hostId, roomId, incarnation: String(incarnation) };
  return doorPathPattern.replaceAll(/:([a-zA-Z]+)/g, (_all, name: string) => encodeURIComponent(values[name] ?? ''));
}
