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

export const RoomSize = z
  .strictObject({
    memoryMiB: z.int().min(limits.room.memoryMiBMin).max(limits.room.memoryMiBMax).optional(),
    vcpus: z.int().min(1).max(limits.room.vcpusMax).optional(),
    diskMiB: z.int().min(64).max(limits.room.diskMiBMax).optional(),
  })
  .meta({ id: 'RoomSize', description: 'Memory and processors are those of the template (a template is captured at one size); asking for others is refused' });

export const CreateRoom = z
  .strictObject({ userId: UserId, template: TemplateName.optional(), size: RoomSize.optional(), metadata: Metadata.optional(), env: EnvVars.optional() })
  .meta({ id: 'CreateRoom' });
export type CreateRoom = z.infer<typeof CreateRoom>;

export const Room = z
  .strictObject({
    id: roomId,
    userId: UserId,
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
    failure: z.strictObject({ code: z.string(), detail: z.string().nullable(), at: z.iso.datetime() }).nullable(),
    createdAt: z.iso.datetime(),
    stateSince: z.iso.datetime(),
  })
  .meta({ id: 'Room' });
export type Room = z.infer<typeof Room>;

export const ListRooms = z
  .strictObject({
    userId: UserId.optional(),
    state: z.enum(roomStates).optional(),
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
