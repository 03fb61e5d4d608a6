import {
  AddMemory, AddMemoryEvent, BlockLabel, type DoorAnswer, type DoorCall, ListMemories, type Memory, type MemoryDoorRoute, MemoryId, MemorySource, Problem, RemoveMemory, SearchMemory, SetBlock, type TrustLabel, trustLabels,
} from '@alcove/contracts';
import type { MemoryCaller, MemoryService } from '@alcove/memory';
import { z } from 'zod';
import type { Access } from './quotas';
import { roomTrust, sourceOf } from './trust';

/** What of libs/memory is behind the door. */
export type RoomMemory = Pick<MemoryService, 'add' | 'get' | 'list' | 'remove' | 'search' | 'blocks' | 'block' | 'setBlock' | 'addEvent' | 'usage'>;

/** One request: who asks, what, and how its quota is asked. */
export interface Asked {
  readonly caller: MemoryCaller;
  readonly call: DoorCall;
  /** Throws when the room has used up its quota. */
  enter(access: Access): Promise<void>;
}

type Handler = (memory: RoomMemory, asked: Asked) => Promise<DoorAnswer>;

/** What a body may say of where it is from: less than the schemas of the public API want, because the rest is known. */
const said = z.object({ source: MemorySource.partial().optional() });
const idempotencyKey = z.string().min(1).max(128);
/** `If-Match: "3"` (RFC 9110): the version. */
const entityTag = /^"?(\d{1,9})"?$/;

/** Every route of the memory's door but its MCP server. */
export const memoryRoutes: Record<Exclude<MemoryDoorRoute, 'mcp'>, { access: Access; handle: Handler }> = {
  add: {
    access: 'write',
    handle: async (memory, { caller, call }) => {
      const { memory: added, repeated } = await memory.add(caller, read(AddMemory, sourced(call)), keyed(call));
      return ofRecord(added, repeated ? 200 : 201);
    },
  },
  list: { access: 'read', handle: async (memory, { caller, call }) => json(200, await memory.list(caller, read(ListMemories, call.query))) },
  search: { access: 'read', handle: async (memory, { caller, call }) => json(200, await memory.search(caller, read(SearchMemory, bodyOf(call)))) },
  usage: { access: 'read', handle: async (memory, { caller }) => json(200, await memory.usage(caller)) },
  addEvent: {
    access: 'write',
    handle: async (memory, { caller, call }) => {
      const { event, repeated } = await memory.addEvent(caller, read(AddMemoryEvent, sourced(call)), keyed(call));
      return json(repeated ? 200 : 201, event);
    },
  },
  blocks: { access: 'read', handle: async (memory, { caller }) => json(200, await memory.blocks(caller)) },
  block: { access: 'read', handle: async (memory, { caller, call }) => ofRecord(await memory.block(caller, read(BlockLabel, call.params['label']))) },
  setBlock: {
    access: 'write',
    handle: async (memory, { caller, call }) => {
      const block = read(SetBlock, sourced(call));
      // Whether an agent may change a block is not for an agent to say.
      if (block.readOnly) throw new Problem('request.invalid', { detail: 'A room cannot make a block read-only.' });
      return ofRecord(await memory.setBlock(caller, read(BlockLabel, call.params['label']), block, versionOf(call)));
    },
  },
  get: { access: 'read', handle: async (memory, { caller, call }) => ofRecord(await memory.get(caller, read(MemoryId, call.params['id']))) },
  remove: {
    access: 'write',
    handle: async (memory, { caller, call }) => {
      const { mode } = read(RemoveMemory, { mode: 'retire', ...call.query });
      return json(200, await forget(memory, caller, read(MemoryId, call.params['id']), mode, versionOf(call)));
    },
  },
};

/**
 * Retired, a record is found by no search and can still be seen and erased by its user. A room may erase only what came out of a room: whoever misleads an agent is not to
 * be able to destroy what the user or the application have said. Problem `memory.untrusted`.
 */
export async function forget(memory: RoomMemory, caller: MemoryCaller, id: string, mode: RemoveMemory['mode'], version?: number): Promise<Awaited<ReturnType<RoomMemory['remove']>>> {
  if (mode === 'erase') {
    const { source } = await memory.get(caller, id);
    if (rank(source.trust) > rank(roomTrust)) throw new Problem('memory.untrusted', { detail: 'A room can retire what its user or the application has said, not erase it.' });
  }
  return memory.remove(caller, id, mode, version);
}

/** Answers one request; what goes wrong is a Problem. */
export async function answerMemory(memory: RoomMemory, asked: Asked): Promise<DoorAnswer> {
  const route = Object.hasOwn(memoryRoutes, asked.call.route) ? memoryRoutes[asked.call.route as keyof typeof memoryRoutes] : undefined;
  if (!route) throw new Problem('request.unknown_route');
  await asked.enter(route.access);
  return route.handle(memory, asked);
}

export function json(status: number, value: unknown, headers: DoorAnswer['headers'] = {}): DoorAnswer {
  return { status, headers: { 'content-type': 'application/json', ...headers }, body: JSON.stringify(value) };
}

/** Throws `request.invalid`, naming what is wrong. */
export function read<S extends z.ZodType>(schema: S, value: unknown): z.output<S> {
  const parsed = schema.safeParse(value);
  if (!parsed.success) throw new Problem('request.invalid', { cause: parsed.error, errors: parsed.error.issues.slice(0, 20).map(({ path, message }) => ({ path: path.join('.'), message })) });
  return parsed.data;
}

function ofRecord(record: Memory, status = 200): DoorAnswer {
  return json(status, record, { etag: `"${record.version}"` });
}

function bodyOf(call: DoorCall): unknown {
  try {
    return JSON.parse(call.body ?? '') as unknown;
  } catch {
    // What the parser says quotes the body: no cause.
    throw new Problem('request.invalid', { detail: 'The body is not JSON.' });
  }
}

/** The body with a source that says no more than a room may. */
function sourced(call: DoorCall): unknown {
  const body = bodyOf(call);
  if (typeof body !== 'object' || body === null || Array.isArray(body)) return body;
  return { ...body, source: sourceOf(read(said, body).source) };
}

function keyed(call: DoorCall): { idempotencyKey?: string } {
  const key = call.headers['idempotency-key'];
  return key === undefined ? {} : { idempotencyKey: read(idempotencyKey, key) };
}

function versionOf(call: DoorCall): number | undefined {
  const tag = call.headers['if-match'];
  if (tag === undefined) return undefined;
  const [, version] = entityTag.exec(tag) ?? [];
  if (version === undefined) throw new Problem('request.invalid', { detail: 'If-Match must be a version.' });
  return Number(version);
}

function rank(label: TrustLabel): number {
  return trustLabels.indexOf(label);
}
