import { limits } from '@alcove/base';
import { z } from 'zod';

export const roomStates = ['absent', 'provisioning', 'running', 'hibernating', 'hibernated', 'resuming', 'failed', 'destroying', 'destroyed'] as const;
export type RoomState = (typeof roomStates)[number];

/** What the tenant wants of a room. `available`: may sleep, wakes on demand. */
export const wantedStates = ['available', 'asleep', 'gone'] as const;
export type Wanted = (typeof wantedStates)[number];

/** Where a room's memory came from at its last start. `new` first start from the template · `memory` the sealed image · `disk` a boot: what was only in RAM is lost · `checkpoint` the image before the last. */
export const resumeLevels = ['new', 'memory', 'disk', 'checkpoint'] as const;
export type ResumedFrom = (typeof resumeLevels)[number];

/** What separates the room from the host: `emulated` isolates by an emulator process, `hardware` by KVM, `software` by a user-space kernel or nothing (fake). */
export const Isolation = z.enum(['hardware', 'emulated', 'software']);
export type Isolation = z.infer<typeof Isolation>;

const roomId = z.string().regex(/^room_[0-9a-f]{20}$/);
export const RoomIdSchema = roomId;
export const UserId = z.string().min(1).max(limits.room.userIdChars).regex(/^[A-Za-z0-9._@:+-]+$/, 'letters, digits and . _ @ : + - only').meta({ id: 'UserId', description: "The tenant's own name for its user" });
export const TemplateName = z.string().min(1).max(64).regex(/^[a-z0-9][a-z0-9._-]*$/);

/** Bytes of names and values as UTF-8. */
function byteLength(pairs: Readonly<Record<string, string>>): number {
  return Object.entries(pairs).reduce((sum, [name, value]) => sum + Buffer.byteLength(name) + Buffer.byteLength(value), 0);
}

export const Metadata = z
  .record(z.string().min(1).max(limits.room.metadataKeyChars), z.string().max(limits.room.metadataValueChars))
  .refine((m) => Object.keys(m).length <= limits.room.metadataKeys, `at most ${limits.room.metadataKeys} keys`)
  .refine((m) => byteLength(m) <= limits.room.metadataBytes, `at most ${limits.room.metadataBytes} bytes in all`)
  .meta({ id: 'Metadata' });

export const EnvName = z.string().max(limits.room.envNameChars).regex(/^[A-Za-z_][A-Za-z0-9_]*$/);
export const EnvVars = z
  .record(EnvName, z.string().max(limits.room.envValueBytes).refine((v) => !v.includes('\0') && !v.includes('\n'), 'no NUL, no line feed'))
  .refine((e) => Object.keys(e).length <= limits.room.envVars, `at most ${limits.room.envVars} variables`)
  .meta({ id: 'EnvVars' });

const timeoutMs = z.int().min(1).max(limits.room.timeoutMsMax);
const networkTarget = z.string().min(1).max(limits.room.networkTargetChars);

/** How a room ends by itself. */
export const RoomLifecycle = z
  .strictObject({
    timeoutMs: timeoutMs.nullable().meta({ description: 'How long it runs after a start before it ends by itself; null: for ever. Holds for every start, not only the first' }),
    onTimeout: z.enum(['pause', 'kill']),
    keepMemory: z.boolean().meta({ description: 'false: when it is put to sleep by its timeout, the next start is a boot from the disk; the sealed memory is kept until then, in case that boot fails. Not together with autoResume' }),
    autoResume: z.boolean().meta({ description: 'Any request to one of its ports that shows its token wakes it' }),
  })
  .meta({ id: 'RoomLifecycle' });
export type RoomLifecycle = z.infer<typeof RoomLifecycle>;

const NetworkRule = z.strictObject({ transform: z.strictObject({ headers: z.record(z.string().min(1).max(256), z.string().max(4096)).refine((h) => Object.keys(h).length <= limits.room.networkHeaders, `at most ${limits.room.networkHeaders} headers`) }) });

/** There is no way out of a room yet: what concerns the way out is stored and shown, and changes nothing. The edge keeps to `allowPublicTraffic` and `maskRequestHost`. */
export const RoomNetwork = z
  .strictObject({
    allowPublicTraffic: z.boolean().meta({ description: 'false: requests to its ports must show the traffic token. Unless told: false for a room, true for a sandbox' }),
    maskRequestHost: z.string().min(1).max(limits.room.networkTargetChars).regex(/^[\w.:${}-]+$/).nullable().meta({ description: 'Replaces the Host header; `${PORT}` stands for the port' }),
    allowInternetAccess: z.boolean().nullable(),
    allowOut: z.array(networkTarget).max(limits.room.networkTargets),
    denyOut: z.array(networkTarget).max(limits.room.networkTargets),
    rules: z.record(networkTarget, z.array(NetworkRule).max(limits.room.networkRules)).refine((r) => Object.keys(r).length <= limits.room.networkRules, `at most ${limits.room.networkRules} hosts`),
    egressProxy: z.null(),
  })
  .meta({ id: 'RoomNetwork' });
export type RoomNetwork = z.infer<typeof RoomNetwork>;

export const RoomSize = z
  .strictObject({
    memoryMiB: z.int().min(limits.room.memoryMiBMin).max(limits.room.memoryMiBMax).optional(),
    vcpus: z.int().min(1).max(limits.room.vcpusMax).optional(),
    diskMiB: z.int().min(64).max(limits.room.diskMiBMax).optional(),
  })
  .meta({ id: 'RoomSize', description: 'Memory and processors are those of the template (a template is captured at one size); asking for others is refused' });

/** `room`: a user's own, which stays. `sandbox`: one of many, made for a while. Each kind has a limit of its own. */
export const roomKinds = ['room', 'sandbox'] as const;
export type RoomKind = (typeof roomKinds)[number];

export const SnapshotId = z.string().regex(/^snap_[0-9a-f]{20}$/);

export const CreateRoom = z
  .strictObject({
    userId: UserId,
    kind: z.enum(roomKinds).optional().meta({ description: 'Default: `sandbox` when `lifecycle.timeoutMs` is given, else `room`' }),
    template: TemplateName.optional(),
    size: RoomSize.optional(),
    metadata: Metadata.optional(),
    env: EnvVars.optional(),
    lifecycle: RoomLifecycle.partial().optional(),
    network: RoomNetwork.partial().optional(),
    snapshot: SnapshotId.optional().meta({ description: 'Starts from this snapshot of the same user instead of from a template' }),
  })
  .meta({ id: 'CreateRoom' });
export type CreateRoom = z.infer<typeof CreateRoom>;

/** `key_unavailable`: the tenant's key provider refuses its key. */
export const RoomHold = z.enum(['key_unavailable']);
export type RoomHold = z.infer<typeof RoomHold>;

export const Room = z
  .strictObject({
    id: roomId,
    userId: UserId,
    kind: z.enum(roomKinds),
    state: z.enum(roomStates),
    wanted: z.enum(wantedStates),
    template: z.string(),
    templateId: z.string(),
    size: z.strictObject({ memoryMiB: z.int(), vcpus: z.int(), diskMiB: z.int() }),
    metadata: Metadata,
    env: z.array(z.string()).meta({ description: 'Names only: values are write-only' }),
    incarnation: z.int(),
    generation: z.int(),
    resumedFrom: z.enum(resumeLevels).nullable(),
    isolation: Isolation.nullable(),
    image: z.strictObject({ bytes: z.int(), pages: z.int(), sealedAt: z.iso.datetime() }).nullable(),
    hold: RoomHold.nullable().meta({ description: 'Why it may not run: it sleeps, and wakes are refused until the reason is gone' }),
    failure: z.strictObject({ code: z.string(), detail: z.string().nullable(), at: z.iso.datetime() }).nullable(),
    lifecycle: RoomLifecycle,
    endsAt: z.iso.datetime().nullable().meta({ description: 'When the room ends by itself, as `lifecycle.onTimeout` says; null: never, or not while it sleeps' }),
    network: RoomNetwork,
    createdAt: z.iso.datetime(),
    stateSince: z.iso.datetime(),
  })
  .meta({ id: 'Room' });
export type Room = z.infer<typeof Room>;

export const ListRooms = z
  .strictObject({
    userId: UserId.optional(),
    state: z.enum(roomStates).optional(),
    states: z.array(z.enum(roomStates)).max(roomStates.length).optional().meta({ description: 'Rooms in any of these states' }),
    kind: z.enum(roomKinds).optional(),
    template: z.string().max(64).optional().meta({ description: "A template's name or id" }),
    createdAfter: z.iso.datetime().optional().meta({ description: 'Rooms made at this time or later' }),
    order: z.enum(['oldest', 'newest']).default('oldest'),
    metadata: z.record(z.string(), z.string()).optional(),
    cursor: z.string().max(256).optional(),
    limit: z.coerce.number().int().min(1).max(limits.page.max).default(limits.page.default),
  })
  .meta({ id: 'ListRooms' });
export type ListRooms = z.infer<typeof ListRooms>;

export const RoomPage = z.strictObject({ rooms: z.array(Room), nextCursor: z.string().nullable() }).meta({ id: 'RoomPage' });
export type RoomPage = z.infer<typeof RoomPage>;

export const WakeAnswer = z.strictObject({ room: Room, resumedFrom: z.enum(resumeLevels), durationMs: z.number() }).meta({ id: 'WakeAnswer' });
export type WakeAnswer = z.infer<typeof WakeAnswer>;

/** A copy of a room as it slept at one moment. Never a room itself: rooms are made from it. */
export const Snapshot = z
  .strictObject({
    id: SnapshotId,
    userId: UserId,
    roomId: roomId.meta({ description: 'The room that was copied; it may be gone' }),
    name: z.string().nullable(),
    template: z.string(),
    templateId: z.string(),
    size: z.strictObject({ memoryMiB: z.int(), vcpus: z.int(), diskMiB: z.int() }),
    metadata: Metadata,
    createdAt: z.iso.datetime(),
    bytes: z.int().meta({ description: 'What its sealed memory takes' }),
    warnings: z.array(z.string()),
  })
  .meta({ id: 'Snapshot' });
export type Snapshot = z.infer<typeof Snapshot>;

export const CreateSnapshot = z.strictObject({ name: z.string().min(1).max(limits.room.snapshotNameChars).optional() }).meta({ id: 'CreateSnapshot' });
export type CreateSnapshot = z.infer<typeof CreateSnapshot>;

export const ListSnapshots = z
  .strictObject({
    roomId: roomId.optional(),
    userId: UserId.optional(),
    name: z.string().max(limits.room.snapshotNameChars).optional(),
    cursor: z.string().max(256).optional(),
    limit: z.coerce.number().int().min(1).max(limits.page.max).default(limits.page.default),
  })
  .meta({ id: 'ListSnapshots' });
export type ListSnapshots = z.infer<typeof ListSnapshots>;

export const SnapshotPage = z.strictObject({ snapshots: z.array(Snapshot), nextCursor: z.string().nullable() }).meta({ id: 'SnapshotPage' });
export type SnapshotPage = z.infer<typeof SnapshotPage>;

export const ForkRoom = z
  .strictObject({ count: z.int().min(1).max(limits.room.forks).default(1), timeoutMs: timeoutMs.optional().meta({ description: "Of the forks; default: the room's own" }) })
  .meta({ id: 'ForkRoom' });
export type ForkRoom = z.input<typeof ForkRoom>;

/** Why a room is gone or going: `asked`, `timeout`, `user_destroyed`, or the code of the failure. */
export interface RoomEnding {
  readonly reason: string;
  readonly at: string;
}

/** What is shown as X-Access-Token on a room's surface, and as traffic token on its other ports (null: these are public). They stay the same while the room lives. */
export interface RoomAccess {
  readonly surface: string;
  readonly traffic: string | null;
}

/** One state change, as `GET /rooms/:id/events` sends it; its number is the SSE id. */
export const RoomEvent = z
  .strictObject({
    id: z.string(),
    roomId,
    at: z.iso.datetime(),
    type: z.enum(['state', 'fallback', 'image']),
    from: z.enum(roomStates),
    to: z.enum(roomStates),
    reason: z.string(),
    incarnation: z.int(),
    generation: z.int(),
    durationMs: z.number().nullable().meta({ description: 'How long the state that just ended lasted' }),
    resumedFrom: z.enum(resumeLevels).nullable(),
    detail: z.record(z.string(), z.unknown()).optional(),
  })
  .meta({ id: 'RoomEvent' });
export type RoomEvent = z.infer<typeof RoomEvent>;
