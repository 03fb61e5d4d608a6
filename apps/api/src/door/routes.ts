import { limits } from '@alcove/base';
import {
  ApiKey, ChangeTenant, CreateApiKey, CreateRoom, CreateSnapshot, CreateTenant, DestroyedUser, EnvVars, Erasure, ExecEvent, ExecRequest, FileChange, FileEntry, FileList, FileListQuery, FileMakeFolder, FileMove, FileReadQuery,
  FileRemoveQuery, FileWriteQuery, ForkRoom, ListRooms, ListSnapshots, ListUsers, LogsQuery, Metadata, NewApiKey, ProcessList, ProcessStart, Room, RoomEvent, RoomFiguresList, RoomLifecycle, RoomNetwork,
  RoomPage, RotateApiKey, SignedReceipt, Snapshot, SnapshotPage, Tenant, TenantPage, TerminalSize, User, UserPage, WakeAnswer, type ProblemCode, KeyRotation, SetKeyProvider, TenantKeyProvider, UserKeyRotation,
} from '@alcove/contracts';
import { z } from 'zod';
import { memoryRoutes } from './memory-routes';
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
/** When the room ends by itself from now on, milliseconds. */
const SetTimeout = z.strictObject({ timeoutMs: z.int().min(1).max(limits.room.timeoutMsMax) }).meta({ id: 'SetTimeout' });
const HibernateHow = z.strictObject({ keepMemory: z.boolean().optional().meta({ description: 'false: the next start is a boot from the disk. The sealed memory is kept until then, in case that boot fails' }) }).meta({ id: 'HibernateHow' }).optional();
const WakeHow = z
  .strictObject({
    memory: z.boolean().optional().meta({ description: 'false: a boot from its disk, whatever memory it has' }),
    timeoutMs: SetTimeout.shape.timeoutMs.optional().meta({ description: 'It lives at least this long from now on' }),
  })
  .meta({ id: 'WakeHow' })
  .optional();
const ForkProblem = z.strictObject({ code: z.string(), title: z.string(), status: z.int(), detail: z.string().optional() }).meta({ id: 'ForkProblem' });
/** One entry per fork that was asked for: the room, or why there is none. */
export const Forks = z.strictObject({ forks: z.array(z.union([z.strictObject({ room: Room, warnings: z.array(z.string()) }), z.strictObject({ problem: ForkProblem })])) }).meta({ id: 'Forks' });
export const ProcessStarted = z.strictObject({ pid: z.int() }).meta({ id: 'ProcessStarted' });
const ProcessInput = z.strictObject({ close: z.stringbool().default(false).meta({ description: 'true: this is the end of its input' }), wake });
const ProcessSignal = z.strictObject({ signal: z.union([z.int().min(1).max(64), z.string().regex(/^SIG[A-Z0-9]{1,16}$/)]) }).meta({ id: 'ProcessSignal' });
const WatchQuery = z.strictObject({ path: FileReadQuery.shape.path, recursive: z.stringbool().default(false), wake });
const PtyQuery = z.strictObject({
  cols: z.coerce.number().pipe(TerminalSize.shape.cols).default(80),
  rows: z.coerce.number().pipe(TerminalSize.shape.rows).default(24),
  cwd: ProcessStart.shape.cwd,
  user: ProcessStart.shape.user,
  command: z.string().min(1).max(limits.exec.argBytes).optional().meta({ description: 'Run by `bash -lc`; without it, a login shell' }),
  pid: z.coerce.number().int().min(1).max(2 ** 31).optional().meta({ description: 'Attaches to this process instead of starting one' }),
  end: z.stringbool().default(false).meta({ description: 'true: the process ends with the connection; else it lives on' }),
  wake,
});
const Health = z.strictObject({ ok: z.literal(true) }).meta({ id: 'Health' });
const Readiness = z.strictObject({ ready: z.boolean(), notReady: z.array(z.string()) }).meta({ id: 'Readiness' });

const aRoom: ProblemCode[] = ['room.not_found', 'room.gone'];
/** Changes of a room's row: others may change it at the same time. */
const aChange: ProblemCode[] = [...aRoom, 'room.busy'];
const aCopy: ProblemCode[] = ['room.limit', 'room.not_copied'];
const aPlace: ProblemCode[] = ['host.unavailable', 'host.capacity', 'vault.key_unavailable'];
const aStart: ProblemCode[] = [...aChange, ...aPlace, 'room.failed', 'room.wake_timeout', 'host.disk_full', 'host.fenced', 'engine.missing', 'engine.failed'];
const inRoom: ProblemCode[] = [...aStart, 'room.not_running', 'guest.closed', 'guest.protocol', 'guest.limit', 'guest.io'];
const aFile: ProblemCode[] = [...inRoom, 'file.not_found', 'file.denied', 'file.kind'];
const aProcess: ProblemCode[] = [...inRoom, 'exec.not_found', 'guest.unsupported'];

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
  changeTenant: {
    method: 'PUT', path: '/v1/tenants/:tenantId', tag: 'Tenants', summary: "Change a tenant's plan", description: 'How many rooms its users may have, and how its rooms end where their maker says nothing. What is left out stays as it is; rooms that exist keep what they have.', access: 'platform',
    body: { json: ChangeTenant }, answer: { status: 200, description: 'The tenant', schema: Tenant }, problems: ['tenant.not_found'],
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

  getKeyProvider: {
    method: 'GET', path: '/v1/tenants/:tenantId/key-provider', tag: 'Tenants', summary: "Who holds the key above a tenant's, and whether it answers", access: 'platform',
    answer: { status: 200, description: 'The provider, without its credentials', schema: TenantKeyProvider }, problems: ['tenant.not_found', 'vault.key_unavailable'],
  },
  setKeyProvider: {
    method: 'PUT', path: '/v1/tenants/:tenantId/key-provider', tag: 'Tenants', summary: "Put a key of the tenant's own above its keys",
    description: 'It is tried first. Users\' keys follow by a rotation; data is not touched. When the provider later refuses its key, the tenant\'s rooms and memory are closed within `closesWithinMs`, and open again when it answers.', access: 'platform',
    body: { json: SetKeyProvider }, answer: { status: 202, description: 'The provider and the rotation', schema: TenantKeyProvider }, problems: ['tenant.not_found', 'key.provider_refused', 'key.provider_in_use', 'vault.key_unavailable'],
  },
  removeKeyProvider: {
    method: 'DELETE', path: '/v1/tenants/:tenantId/key-provider', tag: 'Tenants', summary: "Back to the platform's root key", description: 'The provider must still answer: it is asked until the last key has moved.', access: 'platform',
    answer: { status: 202, description: 'The rotation', schema: TenantKeyProvider }, problems: ['tenant.not_found', 'vault.key_unavailable'],
  },
  rotateTenantKey: {
    method: 'POST', path: '/v1/tenants/:tenantId/key-rotations', tag: 'Tenants', summary: "Replace a tenant's key", description: "Users' keys are wrapped again; data is not touched. While one runs, that one is the answer.", access: 'platform',
    answer: { status: 202, description: 'The rotation', schema: KeyRotation }, problems: ['tenant.not_found', 'vault.key_unavailable'],
  },
  getKeyRotation: {
    method: 'GET', path: '/v1/tenants/:tenantId/key-rotations/:rotationId', tag: 'Tenants', summary: 'How far a rotation is', access: 'platform',
    answer: { status: 200, description: 'The rotation', schema: KeyRotation }, problems: ['key.rotation_not_found'],
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
    method: 'DELETE', path: '/v1/users/:userId', tag: 'Users', summary: 'Destroy a user: its keys at once, then everything it has', access: 'users:write',
    answer: { status: 202, description: 'The user, which is being destroyed, and the id of its erasure', schema: DestroyedUser }, problems: ['user.not_found'],
  },
  rotateUserKey: {
    method: 'POST', path: '/v1/users/:userId/key-rotations', tag: 'Users', summary: "Replace a user's key, and seal its memory again under the new one", description: 'For when the key may be known to somebody. While one runs, that one is the answer. What rooms have stays under the first version.', access: 'users:write',
    answer: { status: 202, description: 'The rotation', schema: UserKeyRotation }, problems: ['user.not_found', 'user.gone', 'vault.key_unavailable'],
  },
  getUserKeyRotation: {
    method: 'GET', path: '/v1/users/:userId/key-rotations/:rotationId', tag: 'Users', summary: 'How far the rotation of a user\'s key is', access: 'users:write',
    answer: { status: 200, description: 'The rotation', schema: UserKeyRotation }, problems: ['user.not_found', 'key.rotation_not_found'],
  },
  getErasure: {
    method: 'GET', path: '/v1/users/:userId/erasure', tag: 'Users', summary: 'How far the erasure of a user is', description: 'When it is done: its signed receipt.', access: 'users:write',
    answer: { status: 200, description: 'The erasure', schema: Erasure }, problems: ['user.not_found', 'erasure.not_found'],
  },

  getReceipt: {
    method: 'GET', path: '/v1/users/:userId/erasure/receipt', tag: 'Users', summary: 'The receipt of an erasure as a file', description: 'To be kept byte by byte: `alcove receipt verify` takes it as it is.', access: 'users:write',
    answer: { status: 200, description: 'The signed receipt', schema: SignedReceipt }, problems: ['user.not_found', 'erasure.not_found'],
  },

  createRoom: {
    method: 'POST', path: '/v1/rooms', tag: 'Rooms', summary: 'Create a room', description: 'The room starts at once; the answer does not wait for it.', access: 'rooms:write', idempotent: true,
    body: { json: CreateRoom }, answer: { status: 201, description: 'The room', schema: Room }, problems: [...aCopy, 'template.not_found', 'snapshot.not_found', 'user.gone', ...aPlace],
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
    body: { json: WakeHow }, answer: { status: 200, description: 'The running room, and where its memory came from', schema: WakeAnswer }, problems: aStart,
  },
  hibernateRoom: {
    method: 'POST', path: '/v1/rooms/:roomId/hibernate', tag: 'Rooms', summary: 'Put a room to sleep and wait until its image is durable', access: 'rooms:write',
    body: { json: HibernateHow }, answer: { status: 200, description: 'The sleeping room', schema: Room }, problems: [...aChange, 'room.failed'],
  },
  setTimeout: {
    method: 'PUT', path: '/v1/rooms/:roomId/timeout', tag: 'Rooms', summary: 'Say when a room ends by itself', description: 'From now on; sooner or later than before. Then it is put to sleep or destroyed, as its lifecycle says.', access: 'rooms:write',
    body: { json: SetTimeout }, answer: { status: 200, description: 'The room', schema: Room }, problems: [...aChange, 'room.not_running'],
  },
  setLifecycle: {
    method: 'PUT', path: '/v1/rooms/:roomId/lifecycle', tag: 'Rooms', summary: 'Say how a room ends by itself', description: 'What is left out stays as it is. It holds for every start from now on.', access: 'rooms:write',
    body: { json: RoomLifecycle.partial() }, answer: { status: 200, description: 'The room', schema: Room }, problems: aChange,
  },
  setNetwork: {
    method: 'PUT', path: '/v1/rooms/:roomId/network', tag: 'Rooms', summary: "Replace what a room's network is to be", description: 'What is left out is as in a new room, but for allowPublicTraffic, which then stays as it is.', access: 'rooms:write',
    body: { json: RoomNetwork.partial() }, answer: { status: 200, description: 'The room', schema: Room }, problems: aChange,
  },
  setMetadata: {
    method: 'PUT', path: '/v1/rooms/:roomId/metadata', tag: 'Rooms', summary: "Replace a room's metadata", access: 'rooms:write',
    body: { json: Metadata }, answer: { status: 200, description: 'The room', schema: Room }, problems: aChange,
  },
  forkRoom: {
    method: 'POST', path: '/v1/rooms/:roomId/forks', tag: 'Rooms', summary: 'Make rooms that go on from where this one is', description: 'Of the same user, each with an identity of its own. Each runs or fails by itself.', access: 'rooms:write',
    body: { json: ForkRoom }, answer: { status: 201, description: 'One entry per fork', schema: Forks }, problems: [...aStart, ...aCopy],
  },
  takeSnapshot: {
    method: 'POST', path: '/v1/rooms/:roomId/snapshots', tag: 'Rooms', summary: 'Copy a room as it is now', description: 'Memory and disk, to make rooms of the same user from. A room that runs sleeps for it, and wakes again.', access: 'rooms:write',
    body: { json: CreateSnapshot }, answer: { status: 201, description: 'The snapshot', schema: Snapshot }, problems: [...aStart, ...aCopy],
  },
  listSnapshots: {
    method: 'GET', path: '/v1/snapshots', tag: 'Rooms', summary: 'List snapshots', description: 'The newest first.', access: 'rooms:read',
    query: ListSnapshots, answer: { status: 200, description: 'A page of snapshots', schema: SnapshotPage }, problems: [],
  },
  getSnapshot: {
    method: 'GET', path: '/v1/snapshots/:snapshotId', tag: 'Rooms', summary: 'Get a snapshot', access: 'rooms:read',
    answer: { status: 200, description: 'The snapshot', schema: Snapshot }, problems: ['snapshot.not_found'],
  },
  removeSnapshot: {
    method: 'DELETE', path: '/v1/snapshots/:snapshotId', tag: 'Rooms', summary: 'Remove a snapshot', description: 'Rooms that were made from it stay.', access: 'rooms:write',
    answer: { status: 204, description: 'It is gone' }, problems: ['snapshot.not_found'],
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
  startProcess: {
    method: 'POST', path: '/v1/rooms/:roomId/processes', tag: 'In the room', summary: 'Start a process in the background', description: 'It lives on when nobody listens, also over a sleep. Its output is told to who listens, and kept nowhere.', access: 'rooms:exec',
    query: Wake, body: { json: ProcessStart }, answer: { status: 201, description: 'Its number', schema: ProcessStarted }, problems: [...aProcess, 'file.not_found', 'file.denied', 'file.kind'],
  },
  listProcesses: {
    method: 'GET', path: '/v1/rooms/:roomId/processes', tag: 'In the room', summary: 'List the processes that run', description: 'Those that were started in the background.', access: 'rooms:exec',
    query: Wake, answer: { status: 200, description: 'The processes', schema: ProcessList }, problems: aProcess,
  },
  attachProcess: {
    method: 'GET', path: '/v1/rooms/:roomId/processes/:pid/output', tag: 'In the room', summary: 'Listen to a process', description: 'Server-sent events, from now on. Going away leaves the process alone.', access: 'rooms:exec',
    query: Wake, answer: { status: 200, description: 'Events named by their kind', schema: ExecEvent, type: 'text/event-stream' }, problems: aProcess,
  },
  writeProcess: {
    method: 'POST', path: '/v1/rooms/:roomId/processes/:pid/input', tag: 'In the room', summary: 'Give a process input', access: 'rooms:exec',
    query: ProcessInput, body: { bytes: limits.exec.stdinBytes }, answer: { status: 204, description: 'It has it' }, problems: aProcess,
  },
  signalProcess: {
    method: 'POST', path: '/v1/rooms/:roomId/processes/:pid/signal', tag: 'In the room', summary: 'Send a process a signal', access: 'rooms:exec',
    query: Wake, body: { json: ProcessSignal }, answer: { status: 204, description: 'It was sent' }, problems: aProcess,
  },
  resizeProcess: {
    method: 'POST', path: '/v1/rooms/:roomId/processes/:pid/size', tag: 'In the room', summary: "Change the size of a process's terminal", access: 'rooms:exec',
    query: Wake, body: { json: TerminalSize }, answer: { status: 204, description: 'It was changed' }, problems: aProcess,
  },
  pty: {
    method: 'GET', path: '/v1/rooms/:roomId/pty', tag: 'In the room', summary: 'A terminal, as a WebSocket', access: 'rooms:exec',
    description: 'Binary messages are what the terminal shows and what is typed. Text messages are JSON: first `{"pid": …}` from here, `{"resize": {"cols", "rows"}}` to here, and `{"exit": …}` or `{"error": {"code"}}` from here at the end. '
      + 'Closing only detaches, unless `end=true`. A browser, which cannot send Authorization, offers the subprotocols `alcove.pty` and `alcove.key.<key>`.',
    query: PtyQuery, answer: { status: 101, description: 'The connection is a WebSocket' }, problems: [...aProcess, 'file.not_found'],
  },
  figures: {
    method: 'GET', path: '/v1/rooms/:roomId/figures', tag: 'In the room', summary: 'What a room uses', description: 'The newest sample last. A room that sleeps is not woken for it.', access: 'rooms:exec',
    answer: { status: 200, description: 'Samples', schema: RoomFiguresList }, problems: inRoom,
  },
  forwardPort: {
    method: 'ALL', path: '/v1/rooms/:roomId/ports/:port/*', tag: 'In the room', summary: 'Ask a server in the room', access: 'rooms:exec',
    description: 'Any method. The rest of the path, the query, the body and most headers go to 127.0.0.1:port in the room, and its answer comes back. A room that sleeps wakes first. '
      + 'Neither the key nor cookies go in; cookies and what would bind a browser to the room stay inside.',
    query: 'any', body: { stream: limits.http.fileBytes }, answer: { status: 200, description: "The server's answer", type: '*/*' }, problems: [...inRoom, 'agent.unreachable'],
  },
  watchFiles: {
    method: 'GET', path: '/v1/rooms/:roomId/files/watch', tag: 'In the room', summary: 'Follow what changes in a folder', access: 'rooms:exec',
    description: 'Server-sent events: `watching` once the watch stands, then one for each change; `error` when the watch ends before its listener.',
    query: WatchQuery, answer: { status: 200, description: 'Events named by the kind of change', schema: FileChange, type: 'text/event-stream' }, problems: aFile,
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

  ...memoryRoutes,

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
