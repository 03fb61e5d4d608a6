import type { ImageRef, IncarnationPhase, Isolation, ResumedFrom, RoomHold, RoomLifecycle, RoomNetwork, RoomState, Wanted } from '@alcove/contracts';
import type { RecordKind, RoomEnd, RoomFailure, RoomOrigin, RoomRecord, RoomSizeMiB } from './room';
import type { IncarnationRecord } from './rooms.store';

/** The table room as `to_jsonb` writes a row and `jsonb_populate_record` reads it. Times are ISO 8601. */
export interface RoomRow {
  id: string;
  tenant_id: string;
  user_id: string;
  state: string;
  state_since: string;
  move: number;
  deadline_at: string | null;
  wanted: string;
  wake_pending: boolean;
  failures: number;
  failure: RoomFailure | null;
  generation: number;
  event_count: number;
  incarnation: number;
  host_id: string | null;
  template: string;
  template_id: string;
  size: RoomSizeMiB;
  metadata: Readonly<Record<string, string>>;
  env_names: readonly string[];
  env_sealed: string | null;
  has_disk: boolean;
  store_group: string | null;
  engine: string | null;
  image: ImageRef | null;
  image_spent: boolean;
  sealed_at: string | null;
  previous: ImageRef | null;
  resumed_from: string | null;
  isolation: string | null;
  created_at: string;
  kind: string;
  lifecycle: RoomLifecycle;
  ends_at: string | null;
  network: RoomNetwork;
  boot_next: boolean;
  holders: readonly string[];
  hold: string | null;
  origin: RoomOrigin | null;
  ending: RoomEnd | null;
  snapshot_name: string | null;
}

export interface IncarnationRow {
  room_id: string;
  incarnation: number;
  tenant_id: string;
  host_id: string;
  phase: string;
  sequence: number;
  opened_at: string;
  closed_at: string | null;
  reason: string | null;
}

const iso = (ms: number): string => new Date(ms).toISOString();
const isoOrNull = (ms: number | null): string | null => (ms === null ? null : iso(ms));
const msOrNull = (text: string | null): number | null => (text === null ? null : Date.parse(text));

export function toRoomRow(room: RoomRecord): RoomRow {
  return {
    id: room.id,
    tenant_id: room.tenantId,
    user_id: room.userId,
    state: room.state,
    state_since: iso(room.stateSince),
    move: room.move,
    deadline_at: isoOrNull(room.deadlineAt),
    wanted: room.wanted,
    wake_pending: room.wakePending,
    failures: room.failures,
    failure: room.failure,
    generation: room.generation,
    event_count: room.eventCount,
    incarnation: room.incarnation,
    host_id: room.hostId,
    template: room.template,
    template_id: room.templateId,
    size: room.size,
    metadata: room.metadata,
    env_names: room.envNames,
    env_sealed: room.envSealed,
    has_disk: room.hasDisk,
    store_group: room.storeGroup,
    engine: room.engine,
    image: room.image,
    image_spent: room.imageSpent,
    sealed_at: isoOrNull(room.sealedAt),
    previous: room.previous,
    resumed_from: room.resumedFrom,
    isolation: room.isolation,
    created_at: iso(room.createdAt),
    kind: room.kind,
    lifecycle: room.lifecycle,
    ends_at: isoOrNull(room.endsAt),
    network: room.network,
    boot_next: room.bootNext,
    holders: room.holders,
    hold: room.hold,
    origin: room.origin,
    ending: room.ending,
    snapshot_name: room.snapshotName,
  };
}

export function fromRoomRow(row: RoomRow): RoomRecord {
  return {
    id: row.id,
    tenantId: row.tenant_id,
    userId: row.user_id,
    state: row.state as RoomState,
    stateSince: Date.parse(row.state_since),
    move: row.move,
    deadlineAt: msOrNull(row.deadline_at),
    wanted: row.wanted as Wanted,
    wakePending: row.wake_pending,
    failures: row.failures,
    failure: row.failure,
    generation: row.generation,
    eventCount: row.event_count,
    incarnation: row.incarnation,
    hostId: row.host_id,
    template: row.template,
    templateId: row.template_id,
    size: row.size,
    metadata: row.metadata,
    envNames: row.env_names,
    envSealed: row.env_sealed,
    hasDisk: row.has_disk,
    storeGroup: row.store_group,
    engine: row.engine,
    image: row.image,
    imageSpent: row.image_spent,
    sealedAt: msOrNull(row.sealed_at),
    previous: row.previous,
    resumedFrom: row.resumed_from as ResumedFrom | null,
    isolation: row.isolation as Isolation | null,
    createdAt: Date.parse(row.created_at),
    kind: row.kind as RecordKind,
    lifecycle: row.lifecycle,
    endsAt: msOrNull(row.ends_at),
    network: row.network,
    bootNext: row.boot_next,
    holders: row.holders,
    hold: row.hold as RoomHold | null,
    origin: row.origin,
    ending: row.ending,
    snapshotName: row.snapshot_name,
  };
}

export function fromIncarnationRow(row: IncarnationRow): IncarnationRecord {
  return {
    tenantId: row.tenant_id,
    roomId: row.room_id,
    incarnation: row.incarnation,
    hostId: row.host_id,
    phase: row.phase as IncarnationPhase,
    sequence: row.sequence,
    openedAt: Date.parse(row.opened_at),
    closedAt: msOrNull(row.closed_at),
    reason: row.reason,
  };
}
