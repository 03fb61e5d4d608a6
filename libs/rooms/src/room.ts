import { limits } from '@alcove/base';
import type { ImageRef, Isolation, ResumedFrom, Room, RoomHold, RoomKind, RoomLifecycle, RoomNetwork, RoomState, Wanted } from '@alcove/contracts';

export interface RoomSizeMiB {
  readonly memoryMiB: number;
  readonly vcpus: number;
  readonly diskMiB: number;
}

/** Why a move ended badly, until the next one ends well. `detail` may be shown to the tenant. */
export interface RoomFailure {
  readonly code: string;
  readonly detail: string | null;
  /** Milliseconds since 1970. */
  readonly at: number;
}

/** `snapshot`: a frozen room, which takes no wake and is shown as a snapshot only. */
export type RecordKind = RoomKind | 'snapshot';

/** What a room is a copy of. `fresh`: it has not run since, and gets an identity of its own when it does. */
export interface RoomOrigin {
  readonly roomId: string;
  readonly fresh: boolean;
}

/** Why a room is gone or going. */
export interface RoomEnd {
  readonly reason: string;
  /** Milliseconds since 1970. */
  readonly at: number;
}

/**
 * A room as its row says it. Who writes what: the API writes `wanted`, `wakePending`, `metadata` and `env`; only an event that went through
 * `lifecycle/` writes the rest. Every save raises `generation` by one, and is refused when another save came first.
 */
export interface RoomRecord {
  readonly id: string;
  readonly tenantId: string;
  readonly userId: string;
  readonly state: RoomState;
  /** Milliseconds since 1970 at which the state was entered. */
  readonly stateSince: number;
  /** The generation at which the state was entered: names the move, so that late news of an earlier one is told apart. */
  readonly move: number;
  /** When a moving state has taken too long (milliseconds since 1970); null while the room rests. */
  readonly deadlineAt: number | null;
  readonly wanted: Wanted;
  /** A wake was asked for while it could not start: kept, and honoured at the next rest. */
  readonly wakePending: boolean;
  /** Moves that failed in a row; sets the pause before the next try. */
  readonly failures: number;
  readonly failure: RoomFailure | null;
  readonly generation: number;
  /** Events told so far: the number of the last one. */
  readonly eventCount: number;
  /** The highest incarnation ever opened; 0 before the first. */
  readonly incarnation: number;
  /** The host of that incarnation while it may live. */
  readonly hostId: string | null;
  readonly template: string;
  readonly templateId: string;
  readonly size: RoomSizeMiB;
  readonly metadata: Readonly<Record<string, string>>;
  readonly envNames: readonly string[];
  /** The sealed values; null when there are none. */
  readonly envSealed: string | null;
  /** True once the room has run: there is a disk worth keeping. */
  readonly hasDisk: boolean;
  /** The hosts that can see the room's disk and images: those that share a store with the first one that was told to start it. Null before that. */
  readonly storeGroup: string | null;
  /** The engine that made the newest image (`driver/accelerator/build`): placement prefers a host with the same. */
  readonly engine: string | null;
  readonly image: ImageRef | null;
  /** The room has run since `image` was sealed: its disk has moved on, the image is a checkpoint now. */
  readonly imageSpent: boolean;
  readonly sealedAt: number | null;
  /** The image before, kept until `image` has been restored once. */
  readonly previous: ImageRef | null;
  readonly resumedFrom: ResumedFrom | null;
  readonly isolation: Isolation | null;
  readonly createdAt: number;
  readonly kind: RecordKind;
  readonly lifecycle: RoomLifecycle;
  /** When it ends by itself as `lifecycle.onTimeout` says, milliseconds since 1970; null: never, or not while it sleeps. */
  readonly endsAt: number | null;
  readonly network: RoomNetwork;
  /** The next start goes from the disk, though there is an image. */
  readonly bootNext: boolean;
  /** Rooms that are being made as copies of this one: while there are any it sleeps, and image and disk stay as they are. */
  readonly holders: readonly string[];
  /** Why it may not run, whatever is wanted of it. */
  readonly hold: RoomHold | null;
  readonly origin: RoomOrigin | null;
  readonly ending: RoomEnd | null;
  /** A snapshot's, as its maker named it. */
  readonly snapshotName: string | null;
}

/** A user's own room stays, and sleeps with its memory. */
export const personalLifecycle: RoomLifecycle = { timeoutMs: null, onTimeout: 'pause', keepMemory: true, autoResume: true };
export const sandboxLifecycle: RoomLifecycle = { timeoutMs: limits.room.sandboxTimeoutMs, onTimeout: 'kill', keepMemory: true, autoResume: false };
/** Of a sandbox: whoever knows its name reaches its ports, as E2B's clients expect. */
export const openNetwork: RoomNetwork = { allowPublicTraffic: true, maskRequestHost: null, allowInternetAccess: null, allowOut: [], denyOut: [], rules: {}, egressProxy: null };
/** Of a user's own room: its agent asks nobody who he is, so its ports are not for strangers. */
export const closedNetwork: RoomNetwork = { ...openNetwork, allowPublicTraffic: false };

/** What holds of a room's network where nothing is said. */
export function networkOf(kind: RecordKind): RoomNetwork {
  return kind === 'sandbox' ? openNetwork : closedNetwork;
}

/** What a new room needs to be known. */
export type NewRoom = Pick<RoomRecord, 'id' | 'tenantId' | 'userId' | 'template' | 'templateId' | 'size' | 'metadata' | 'envNames' | 'envSealed'> & Partial<Pick<RoomRecord, 'kind' | 'lifecycle' | 'network' | 'origin' | 'storeGroup' | 'wakePending' | 'snapshotName'>>;

/** The row of a room that does not exist yet: the first `wake` makes it. */
export function absentRoom(room: NewRoom, now: number): RoomRecord {
  return {
    kind: 'room',
    lifecycle: personalLifecycle,
    network: networkOf(room.kind ?? 'room'),
    origin: null,
    storeGroup: null,
    wakePending: false,
    snapshotName: null,
    ...room,
    state: 'absent',
    stateSince: now,
    move: 0,
    deadlineAt: null,
    wanted: 'available',
    failures: 0,
    failure: null,
    generation: 0,
    eventCount: 0,
    incarnation: 0,
    hostId: null,
    hasDisk: false,
    engine: null,
    image: null,
    imageSpent: false,
    sealedAt: null,
    previous: null,
    resumedFrom: null,
    isolation: null,
    createdAt: now,
    endsAt: null,
    bootNext: false,
    holders: [],
    hold: null,
    ending: null,
  };
}

/** The room as its tenant sees it. */
export function toRoom(record: RoomRecord): Room {
  const iso = (ms: number): string => new Date(ms).toISOString();
  const { image, failure } = record;
  return {
    id: record.id,
    userId: record.userId,
    kind: record.kind === 'snapshot' ? 'sandbox' : record.kind,
    state: record.state,
    wanted: record.wanted,
    template: record.template,
    templateId: record.templateId,
    size: { ...record.size },
    metadata: { ...record.metadata },
    env: [...record.envNames],
    incarnation: record.incarnation,
    generation: record.generation,
    resumedFrom: record.resumedFrom,
    isolation: record.isolation,
    image: image && record.sealedAt !== null ? { bytes: image.bytes, pages: image.pages, sealedAt: iso(record.sealedAt) } : null,
    hold: record.hold,
    failure: failure && { code: failure.code, detail: failure.detail, at: iso(failure.at) },
    lifecycle: { ...record.lifecycle },
    endsAt: record.endsAt === null ? null : iso(record.endsAt),
    network: { ...record.network },
    createdAt: iso(record.createdAt),
    stateSince: iso(record.stateSince),
  };
}
