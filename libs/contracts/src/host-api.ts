import { limits } from '@alcove/base';
import { z } from 'zod';
import { EnvVars, Isolation, resumeLevels, RoomIdSchema } from './rooms';

/**
 * Control plane ⇄ host, over mutual TLS. Verbs are ensure-verbs: idempotent by (room, incarnation, operationId), so a retry after a lost answer is
 * safe. Paths on the host: PUT /rooms/:roomId/incarnations/:n/{running|sealed|copied|gone}, GET /state, and below /rooms/:roomId/incarnations/:n the streams
 * POST invocations · POST exec · GET|PUT|DELETE files · GET files/list · GET files/stat · POST files/move · POST files/folder · GET logs, with the query and
 * body schemas of in-room.ts. Path on the control plane: POST /internal/hosts/:hostId/heartbeat. Errors are ProblemBody both ways.
 */
const operationId = z.string().min(1).max(128);
export const Incarnation = z.int().min(1);

/** Names one sealed image. `diskState` is the state of the disk it was taken with; restoring against another is refused. */
export const ImageRef = z.strictObject({
  id: z.string().regex(/^img_[0-9a-f]{20}$/),
  roomId: RoomIdSchema,
  incarnation: Incarnation,
  generation: z.int().min(1).meta({ description: "The room's count of images, never reused" }),
  templateId: z.string().max(64),
  compatibility: z.string().max(64).meta({ description: 'SHA-256 over everything a memory image depends on' }),
  diskState: z.string().max(64),
  bytes: z.int().nonnegative(),
  pages: z.int().nonnegative(),
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
});
export type ImageRef = z.infer<typeof ImageRef>;

/** 32-byte subkeys as base64: they hang on the user's key, are for one room, and live in the host's memory until the incarnation ends. */
export const RoomKeys = z.strictObject({ image: z.base64(), disk: z.base64() });
export type RoomKeys = z.infer<typeof RoomKeys>;

export const EnsureRunning = z.strictObject({
  operationId,
  templateId: z.string(),
  size: z.strictObject({ memoryMiB: z.int(), vcpus: z.int(), diskMiB: z.int() }),
  /** Tried in the order memory (image) → disk → checkpoint (previous). A first start has none: hasDisk false. */
  image: ImageRef.nullable(),
  previous: ImageRef.nullable(),
  hasDisk: z.boolean(),
  keys: RoomKeys,
  env: EnvVars,
  /** The image is a copy of another room's and has not run yet: the guest gets an identity of its own, and the template's `onFork` command runs before anything is served. */
  newIdentity: z.boolean().default(false),
});
export type EnsureRunning = z.input<typeof EnsureRunning>;

export const Fallback = z.strictObject({ level: z.enum(resumeLevels), code: z.string(), detail: z.string().optional() });
export type Fallback = z.infer<typeof Fallback>;

export const RunningReport = z.strictObject({
  roomId: RoomIdSchema,
  incarnation: Incarnation,
  sequence: z.int(),
  resumedFrom: z.enum(resumeLevels),
  fallbacks: z.array(Fallback),
  isolation: Isolation,
  accelerator: z.string(),
  bootAttempts: z.int(),
  durationMs: z.number(),
  steps: z.record(z.string(), z.number()),
});
export type RunningReport = z.infer<typeof RunningReport>;

/** Carries the keys again: a host agent that was restarted adopted the room without them. */
export const EnsureSealed = z.strictObject({ operationId, generation: z.int().min(1), reason: z.string().max(64), keys: RoomKeys });
export type EnsureSealed = z.infer<typeof EnsureSealed>;

export const SealedReport = z.strictObject({
  roomId: RoomIdSchema,
  incarnation: Incarnation,
  sequence: z.int(),
  image: ImageRef,
  /** The guest did not run for this long; after it, it never ran again in this incarnation. */
  stallMs: z.number(),
  /** From the request to the image being durable, read back and verified. */
  durableMs: z.number(),
  steps: z.record(z.string(), z.number()),
});
export type SealedReport = z.infer<typeof SealedReport>;

/**
 * PUT /rooms/:roomId/incarnations/:n/copied: makes a sleeping room out of another one's image and the disk that belongs to it, sealed anew under this room's keys. The
 * source must not run; it stays as it is. Both are of one user: whoever asks has seen to that.
 */
export const EnsureCopied = z.strictObject({
  operationId,
  templateId: z.string(),
  /** Of the new image; its incarnation is this room's. */
  generation: z.int().min(1),
  source: z.strictObject({ image: ImageRef, keys: RoomKeys }),
  keys: RoomKeys,
});
export type EnsureCopied = z.infer<typeof EnsureCopied>;

export const CopiedReport = z.strictObject({ roomId: RoomIdSchema, incarnation: Incarnation, sequence: z.int(), image: ImageRef, durationMs: z.number() });
export type CopiedReport = z.infer<typeof CopiedReport>;

/** `discard`: also remove the room's disk and images from this host and the store it shares (destroy). */
export const EnsureGone = z.strictObject({ operationId, reason: z.string().max(64), discard: z.boolean() });
export type EnsureGone = z.infer<typeof EnsureGone>;

export const GoneReport = z.strictObject({ roomId: RoomIdSchema, incarnation: Incarnation, sequence: z.int(), wasRunning: z.boolean() });
export type GoneReport = z.infer<typeof GoneReport>;

export const phases = ['starting', 'running', 'sealing', 'sealed', 'ending', 'gone'] as const;
export const IncarnationPhase = z.enum(phases);
export type IncarnationPhase = z.infer<typeof IncarnationPhase>;

/** One line of a host's full set. Level-triggered: what is absent from the set is not on the host. */
export const IncarnationState = z.strictObject({
  roomId: RoomIdSchema,
  incarnation: Incarnation,
  phase: IncarnationPhase,
  sequence: z.int(),
  reason: z.string().max(128).optional(),
  image: ImageRef.optional(),
  guestPrivateBytes: z.int().optional(),
  vmmOverheadBytes: z.int().optional(),
});
export type IncarnationState = z.infer<typeof IncarnationState>;

export const Capacity = z.strictObject({ roomsMax: z.int(), roomsUsed: z.int(), memoryMiBTotal: z.int(), memoryMiBFree: z.int(), diskMiBFree: z.int() });
export type Capacity = z.infer<typeof Capacity>;

export const HostDescription = z.strictObject({
  url: z.url(),
  /** Hosts that name the same group see the same images and disks, so a room can wake on any of them. Absent: a group of its own. */
  storeGroup: z.string().min(1).max(64).optional(),
  driver: z.string(),
  isolation: Isolation,
  accelerator: z.string(),
  engineBuild: z.string(),
  templates: z.array(z.strictObject({ id: z.string(), name: z.string(), builtAt: z.iso.datetime(), cloneSafe: z.boolean(), size: z.strictObject({ memoryMiB: z.int(), vcpus: z.int(), diskMiB: z.int() }) })).max(256),
});
export type HostDescription = z.infer<typeof HostDescription>;

export const Heartbeat = z.strictObject({
  bootId: z.string().max(64),
  sequence: z.int().min(0),
  description: HostDescription,
  capacity: Capacity,
  /** Everything that runs here, always complete. */
  incarnations: z.array(IncarnationState).max(limits.host.incarnations),
  /** What ended since the last acknowledged beat, with the reason (`vmm_exited`, `guest_dead`, `fenced` …). */
  ended: z.array(IncarnationState).max(limits.host.ended),
});
export type Heartbeat = z.infer<typeof Heartbeat>;

/** `leaseMs` counts on the host's monotonic clock from the moment it *sent* the beat. `end`: incarnations that are not the live ones any more. */
export const HeartbeatAnswer = z.strictObject({
  leaseMs: z.int().default(limits.host.leaseMs),
  acknowledged: z.int(),
  end: z.array(z.strictObject({ roomId: RoomIdSchema, incarnation: Incarnation, reason: z.string() })),
});
export type HeartbeatAnswer = z.infer<typeof HeartbeatAnswer>;

export const HostState = z.strictObject({ hostId: z.string(), bootId: z.string(), fenced: z.boolean(), description: HostDescription, capacity: Capacity, incarnations: z.array(IncarnationState).max(limits.host.incarnations) });
export type HostState = z.infer<typeof HostState>;
