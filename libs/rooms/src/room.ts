import type { ImageRef, Isolation, ResumedFrom, Room, RoomState, Wanted } from '@alcove/contracts';

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
}

/** What a new room needs to be known. */
export type NewRoom = Pick<RoomRecord, 'id' | 'tenantId' | 'userId' | 'template' | 'templateId' | 'size' | 'metadata' | 'envNames' | 'envSealed'>;

/** The row of a room that does not exist yet: the first `wake` makes it. */
export function absentRoom(room: NewRoom, now: number): RoomRecord {
  return {
    ...room,
    state: 'absent',
    stateSince: now,
    move: 0,
    deadlineAt: null,
    wanted: 'available',
    wakePending: false,
    failures: 0,
    failure: null,
    generation: 0,
    eventCount: 0,
    incarnation: 0,
    hostId: null,
    hasDisk: false,
    storeGroup: null,
    engine: null,
    image: null,
    imageSpent: false,
    sealedAt: null,
    previous: null,
    resumedFrom: null,
    isolation: null,
    createdAt: now,
  };
}

/** The room as its tenant sees it. */
export function toRoom(record: RoomRecord): Room {
  const iso = (ms: number): string => new Date(ms).toISOString();
  const { image, failure } = record;
  return {
    id: record.id,
    userId: record.userId,
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
    failure: failure && { code: failure.code, detail: failure.detail, at: iso(failure.at) },
    createdAt: iso(record.createdAt),
    stateSince: iso(record.stateSince),
  };
}
