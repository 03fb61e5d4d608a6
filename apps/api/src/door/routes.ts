import { limits } from '@alcove/base';
import {
  ApiKey, CreateApiKey, CreateRoom, CreateTenant, EnvVars, ExecEvent, ExecRequest, FileEntry, FileList, FileListQuery, FileMakeFolder, FileMove, FileReadQuery, FileRemoveQuery, FileWriteQuery,
  ListRooms, ListUsers, LogsQuery, NewApiKey, Room, RoomEvent, RoomPage, RotateApiKey, Tenant, TenantPage, User, UserPage, WakeAnswer, type ProblemCode,
} from '@alcove/contracts';
import { z } from 'zod';
import type { RouteSpec } from './route';

/**
 * Every public route, and the only place where its access is written: a handler without a row here does not compile, and a row without a handler fails the
 * start. To add a route: a row here, a method with `@Route('…')` in a controller, a case in test/security/api.spec.ts.
 */

const EventsQuery = z.strictObject({ after: z.string().regex(/^\d{1,19}$/).optional().meta({ description: 'The number of the last event that you have; the header Last-Event-ID counts more' }) });
const wake = z.stringbool().default(true).meta({ description: 'false: a room that sleeps is not woken but answered 409 room.not_running' });
const Wake = z.strictObject({ wake });
/** What was written, in bytes. */
export const FileWritten = z.strictObject({ size: z.int() }).meta({ id: 'FileWritten' });
const KeyPage = z.strictObject({ keys: z.array(ApiKey) }).meta({ id: 'KeyPage' });
const Health = z.strictObject({ ok: z.literal(true) }).meta({ id: 'Health' });
const Readiness = z.strictObject({ ready: z.boolean(), notReady: z.array(z.string()) }).meta({ id: 'Readiness' });

const aRoom: ProblemCode[] = ['room.not_found', 'room.gone'];
/** Changes of a room's row: others may change it at the same time. */
const aChange: ProblemCode[] = [...aRoom, 'room.busy'];
const aPlace: ProblemCode[] = ['host.unavailable', 'host.capacity', 'vault.key_unavailable'];
const aStart: ProblemCode[] = [...aChange, ...aPlace, 'room.failed', 'room.wake_timeout', 'host.disk_full', 'host.fenced', 'engine.missing', 'engine.failed'];
const inRoom: ProblemCode[] = [...aStart, 'room.not_running', 'guest.closed', 'guest.protocol', 'guest.limit', 'guest.io'];
const aFile: ProblemCode[] = [...inRoom, 'file.not_found', 'file.denied', 'file.kind'];

export const routes = {
  createTenant: {
    method: 'POST', path: '/v1/tenants', tag: 'Tenants', summary: 'Create a tenant', access: 'platform', idempotent: true,
    body: { json: CreateTenant }, answer: { status: 201, description: 'The tenant', schema: Tenant }, problems: ['tenant.exists'],
  },
  listTenants: {
    method: 'GET', path: '/v1/tenants', tag: 'Tenants', summary: 'List the tenants', access: 'platform',
    query: ListUsers, answer: { status: 200, description: 'A page of tenants', schema: TenantPage }, problems: [],
  },
  getTenant: {
    method: 'GET', path: '/v1/tenants/:tenantId', tag: 'Tenants', summary: 'Get a tenant', access: 'platform',
    answer: { status: 200, description: 'The tenant', schema: Tenant }, problems: ['tenant.not_found'],
  },
  createKey: {
    method: 'POST', path: '/v1/tenants/:tenantId/keys', tag: 'Keys', summary: 'Create an API key', description: 'The key itself is in this answer only.', access: 'platform',
    body: { json: CreateApiKey }, answer: { status: 201, description: 'The key, shown once', schema: NewApiKey }, problems: ['tenant.not_found'],
  },
  listKeys: {
    method: 'GET', path: '/v1/tenants/:tenantId/keys', tag: 'Keys', summary: "List a tenant's API keys", access: 'platform',
    answer: { status: 200, description: 'The keys, without their secrets', schema: KeyPage }, problems: ['tenant.not_found'],
  },
  rotateKey: {
    method: 'POST', path: '/v1/tenants/:tenantId/keys/:keyId/rotate', tag: 'Keys', summary: 'Replace the secret of an API key', access: 'platform',
    body: { json: RotateApiKey }, answer: { status: 201, description: 'The key, shown once', schema: NewApiKey }, problems: ['tenant.not_found', 'key.not_found'],
  },
  revokeKey: {
    method: 'DELETE', path: '/v1/tenants/:tenantId/keys/:keyId', tag: 'Keys', summary: 'Revoke an API key', access: 'platform',
    answer: { status: 204, description: 'The key works no more' }, problems: ['tenant.not_found', 'key.not_found'],
  },

  listUsers: {
    method: 'GET', path: '/v1/users', tag: 'Users', summary: 'List the users', access: 'rooms:read',
    query: ListUsers, answer: { status: 200, description: 'A page of users', schema: UserPage }, problems: [],
  },
  getUser: {
    method: 'GET', path: '/v1/users/:userId', tag: 'Users', summary: 'Get a user', access: 'rooms:read',
    answer: { status: 200, description: 'The user', schema: User }, problems: ['user.not_found'],
  },
  destroyUser: {
    method: 'DELETE', path: '/v1/users/:userId', tag: 'Users', summary: 'Destroy a user and all its rooms', access: 'users:write',
    answer: { status: 202, description: 'The user, which is being destroyed', schema: User }, problems: ['user.not_found'],
  },

  createRoom: {
    method: 'POST', path: '/v1/rooms', tag: 'Rooms', summary: 'Create a room', description: 'The room starts at once; the answer does not wait for it.', access: 'rooms:write', idempotent: true,
    body: { json: CreateRoom }, answer: { status: 201, description: 'The room', schema: Room }, problems: ['room.limit', 'template.not_found', 'user.gone', ...aPlace],
  },
  listRooms: {
    method: 'GET', path: '/v1/rooms', tag: 'Rooms', summary: 'List rooms', description: 'By user, state or metadata (`metadata[team]=a`).', access: 'rooms:read',
    query: ListRooms, answer: { status: 200, description: 'A page of rooms', schema: RoomPage }, problems: [],
  },
  getRoom: {
    method: 'GET', path: '/v1/rooms/:roomId', tag: 'Rooms', summary: 'Get a room', access: 'rooms:read',
    answer: { status: 200, description: 'The room', schema: Room }, problems: aRoom,
  },
  destroyRoom: {
    method: 'DELETE', path: '/v1/rooms/:roomId', tag: 'Rooms', summary: 'Destroy a room', description: 'Its disk and its images go; nothing brings them back. Keys are the user\'s and go with the user.', access: 'rooms:write',
    answer: { status: 202, description: 'The room, which is being destroyed', schema: Room }, problems: aChange,
  },
  wakeRoom: {
    method: 'POST', path: '/v1/rooms/:roomId/wake', tag: 'Rooms', summary: 'Wake a room and wait until it runs', access: 'rooms:write',
    answer: { status: 200, description: 'The running room, and where its memory came from', schema: WakeAnswer }, problems: aStart,
  },
  hibernateRoom: {
    method: 'POST', path: '/v1/rooms/:roomId/hibernate', tag: 'Rooms', summary: 'Put a room to sleep and wait until its image is durable', access: 'rooms:write',
    answer: { status: 200, description: 'The sleeping room', schema: Room }, problems: [...aChange, 'room.failed'],
  },
  roomEvents: {
    method: 'GET', path: '/v1/rooms/:roomId/events', tag: 'Rooms', summary: 'Follow what happens to a room', access: 'rooms:read',
    description: 'Server-sent events: first those after `Last-Event-ID` (or `after`; all of them without it), then each as it happens, none twice, none left out.',
    query: EventsQuery, answer: { status: 200, description: 'Events named by their type', schema: RoomEvent, type: 'text/event-stream' }, problems: aRoom,
  },
  setEnv: {
    method: 'PUT', path: '/v1/rooms/:roomId/env', tag: 'Rooms', summary: 'Set environment variables', description: 'Adds or replaces the given names. Values are sealed and never shown again; they count from the next start of the agent.', access: 'rooms:write',
    body: { json: EnvVars }, answer: { status: 200, description: 'The room', schema: Room }, problems: [...aChange, 'vault.key_unavailable'],
  },
  removeEnv: {
    method: 'DELETE', path: '/v1/rooms/:roomId/env/:name', tag: 'Rooms', summary: 'Remove an environment variable', access: 'rooms:write',
    answer: { status: 200, description: 'The room', schema: Room }, problems: [...aChange, 'vault.key_unavailable'],
  },

  invoke: {
    method: 'POST', path: '/v1/rooms/:roomId/invocations', tag: 'In the room', summary: 'Talk to the agent', access: 'rooms:exec',
    description: "The body goes to the agent's `POST /invocations` as it is; the agent's status, type and bytes come back as they come. A room that sleeps wakes first. Going away cancels. "
      + "Should the room's VM have ended without its memory before the agent answered a byte, the call is made once more in the room that starts from its disk: an agent may see it twice. "
      + "A call that is under way when the room is put to sleep ends with `guest.closed`; it is not made again and does not wake the room.",
    body: { bytes: limits.http.invocationBodyBytes }, answer: { status: 200, description: "The agent's answer, JSON or server-sent events, after headers alcove-room-state, alcove-resumed-from, alcove-woken-ms", type: '*/*' },
    problems: [...inRoom, 'agent.unreachable', 'agent.timeout'],
  },
  exec: {
    method: 'POST', path: '/v1/rooms/:roomId/exec', tag: 'In the room', summary: 'Run a command', description: 'Server-sent events: start, stdout, stderr, exit. Going away ends the command.', access: 'rooms:exec',
    query: Wake, body: { json: ExecRequest }, answer: { status: 200, description: 'Events named by their kind', schema: ExecEvent, type: 'text/event-stream' }, problems: [...inRoom, 'exec.not_found', 'file.not_found', 'file.denied', 'file.kind'],
  },
  readFile: {
    method: 'GET', path: '/v1/rooms/:roomId/files', tag: 'In the room', summary: 'Read a file', access: 'rooms:exec',
    query: FileReadQuery.extend({ wake }), answer: { status: 200, description: 'Its bytes', type: 'application/octet-stream' }, problems: aFile,
  },
  writeFile: {
    method: 'PUT', path: '/v1/rooms/:roomId/files', tag: 'In the room', summary: 'Write a file', description: 'It appears whole or not at all.', access: 'rooms:exec',
    query: FileWriteQuery.extend({ wake }), body: { stream: limits.http.fileBytes }, answer: { status: 200, description: 'How long the file is', schema: FileWritten }, problems: [...aFile, 'file.no_space'],
  },
  removeFile: {
    method: 'DELETE', path: '/v1/rooms/:roomId/files', tag: 'In the room', summary: 'Remove a file or a folder', access: 'rooms:exec',
    query: FileRemoveQuery.extend({ wake }), answer: { status: 204, description: 'It is gone' }, problems: [...aFile, 'file.not_empty'],
  },
  listFiles: {
    method: 'GET', path: '/v1/rooms/:roomId/files/list', tag: 'In the room', summary: 'List a folder', access: 'rooms:exec',
    query: FileListQuery.extend({ wake }), answer: { status: 200, description: 'Its entries', schema: FileList }, problems: aFile,
  },
  statFile: {
    method: 'GET', path: '/v1/rooms/:roomId/files/stat', tag: 'In the room', summary: 'What a path is', access: 'rooms:exec',
    query: z.strictObject({ path: FileReadQuery.shape.path, wake }), answer: { status: 200, description: 'The entry', schema: FileEntry }, problems: aFile,
  },
  moveFile: {
    method: 'POST', path: '/v1/rooms/:roomId/files/move', tag: 'In the room', summary: 'Move a file or a folder', access: 'rooms:exec',
    query: Wake, body: { json: FileMove }, answer: { status: 204, description: 'It has moved' }, problems: [...aFile, 'file.exists', 'file.not_empty'],
  },
  makeFolder: {
    method: 'POST', path: '/v1/rooms/:roomId/files/folder', tag: 'In the room', summary: 'Make a folder', access: 'rooms:exec',
    query: Wake, body: { json: FileMakeFolder }, answer: { status: 204, description: 'It exists' }, problems: [...aFile, 'file.exists', 'file.no_space'],
  },
  logs: {
    method: 'GET', path: '/v1/rooms/:roomId/logs', tag: 'In the room', summary: "Read or follow the agent's own output", access: 'rooms:exec',
    description: 'Plain text, or with `Accept: text/event-stream` server-sent events whose data is `{"text": …}`.',
    query: LogsQuery.extend({ wake }), answer: { status: 200, description: 'The output', type: 'text/plain' }, problems: inRoom,
  },

  healthz: {
    method: 'GET', path: '/healthz', tag: 'Platform', summary: 'Is this process alive', access: 'open',
    answer: { status: 200, description: 'It is', schema: Health }, problems: [],
  },
  readyz: {
    method: 'GET', path: '/readyz', tag: 'Platform', summary: 'Can this process serve', description: '503 with the same body when it cannot.', access: 'open',
    answer: { status: 200, description: 'It can', schema: Readiness }, problems: [],
  },
  metrics: {
    method: 'GET', path: '/metrics', tag: 'Platform', summary: 'Figures for Prometheus', access: 'platform',
    answer: { status: 200, description: 'Prometheus text', type: 'text/plain' }, problems: [],
  },
  openapi: {
    method: 'GET', path: '/openapi.json', tag: 'Platform', summary: 'This description', access: 'docs',
    answer: { status: 200, description: 'OpenAPI 3.1', schema: z.record(z.string(), z.unknown()) }, problems: [],
  },
  docs: {
    method: 'GET', path: '/docs', tag: 'Platform', summary: 'A page to read it', access: 'docs',
    answer: { status: 200, description: 'HTML', type: 'text/html' }, problems: [],
  },
  docsAsset: {
    method: 'GET', path: '/docs/:asset', tag: 'Platform', summary: 'What that page is made of', access: 'docs',
    answer: { status: 200, description: 'A script or a style sheet', type: '*/*' }, problems: [],
  },
} as const satisfies Record<string, RouteSpec>;
