import { limits } from '@alcove/base';
import { Problem, type IncarnationPhase, type RoomEvent, type RoomState } from '@alcove/contracts';
import type { SqlTx, SystemReason } from '@alcove/db';
import type { RecordKind, RoomRecord } from './room';

/** One VM of a room on one host, from the moment it may come to be until it is known to be gone. Its phase is the host's word; the rest is ours. */
export interface IncarnationRecord {
  readonly tenantId: string;
  readonly roomId: string;
  readonly incarnation: number;
  readonly hostId: string;
  readonly phase: IncarnationPhase;
  /** The highest sequence of a report that was taken. */
  readonly sequence: number;
  readonly openedAt: number;
  /** Null while it may live. */
  readonly closedAt: number | null;
  readonly reason: string | null;
}

/** What is written together, or not at all. */
export interface RoomSave {
  /** The row; its generation is one above that of the row it was made from, and the save is refused when that is no more the one stored. */
  readonly next: RoomRecord;
  readonly news: readonly RoomEvent[];
  /** Opened with this save: the row must exist before a host hears of it. */
  readonly opens: { readonly incarnation: number; readonly hostId: string } | null;
  /** Reports about incarnations of this room, which may also close them. */
  readonly reports: readonly IncarnationReport[];
}

export interface IncarnationReport {
  readonly incarnation: number;
  readonly phase: IncarnationPhase;
  /** Null when it is not a host that says so. */
  readonly sequence: number | null;
  readonly reason: string | null;
}

export interface RoomQuery {
  readonly userId?: string;
  /** Rooms in any of these; without it all that are not destroyed. */
  readonly states?: readonly RoomState[];
  /** Without it rooms and sandboxes: no snapshots. */
  readonly kinds?: readonly RecordKind[];
  /** A template's name or id. */
  readonly template?: string;
  /** Made at this time or later, milliseconds since 1970. */
  readonly createdFrom?: number;
  /** Copies of this room. */
  readonly originId?: string;
  readonly snapshotName?: string;
  /** Every pair must be there. */
  readonly metadata?: Readonly<Record<string, string>>;
  /** Only rooms after this one, in the order of the list. */
  readonly after?: { readonly createdAt: number; readonly id: string };
  /** Default: the oldest. */
  readonly newestFirst?: boolean;
  readonly limit: number;
}

export interface RoomWithIncarnations {
  readonly room: RoomRecord;
  /** Those that may live, the newest last. */
  readonly open: readonly IncarnationRecord[];
}

/** What a host's word on a room is held against. */
export interface LocatedRoom extends RoomWithIncarnations {
  /** The row of the room's newest incarnation, open or closed; null before the first. */
  readonly newest: IncarnationRecord | null;
}

/** A room of any tenant, for the reconcilers. */
export interface RoomKey {
  readonly tenantId: string;
  readonly roomId: string;
}

/** What the user of a new room may have of each kind. */
export interface RoomLimit {
  readonly roomsPerUser: number;
  readonly sandboxesPerUser?: number;
  readonly snapshotsPerUser?: number;
}

/** The kinds that a list shows. */
export const shownKinds: readonly RecordKind[] = ['room', 'sandbox'];

/** How many of this kind a user may have. */
export function limitOf(kind: RecordKind, { roomsPerUser, sandboxesPerUser = limits.room.sandboxesPerUser, snapshotsPerUser = limits.room.snapshotsPerUser }: RoomLimit): number {
  return { room: roomsPerUser, sandbox: sandboxesPerUser, snapshot: snapshotsPerUser }[kind];
}

/** The Problem `room.limit`, with what can be done about it. */
export function limitReached(kind: RecordKind, allowed: number): Problem {
  const raise = kind === 'snapshot' ? '' : `, or let the operator raise ${kind === 'room' ? 'roomsPerUser' : 'sandboxesPerUser'} of the tenant`;
  return new Problem('room.limit', { detail: `this user has ${allowed} of ${allowed} ${kind === 'room' ? 'rooms' : kind === 'sandbox' ? 'sandboxes' : 'snapshots'}: destroy one${raise}` });
}

/**
 * Where rooms are. Also the injection token. Implementations: Postgres and memory, under one contract suite. `Scope` is an open transaction: what
 * `also` writes in it is kept or lost with the save. Times are wall-clock milliseconds.
 */
export abstract class RoomsStore<Scope = SqlTx> {
  /** Null when this tenant has no such room. */
  abstract find(tenantId: string, roomId: string): Promise<RoomWithIncarnations | null>;
  /** By age; destroyed rooms only when asked for by state, snapshots by kind. */
  abstract list(tenantId: string, query: RoomQuery): Promise<RoomRecord[]>;
  /** Inserts a room's first row. `admit` runs first and must keep others of this user out until the end; throws the Problem `room.limit` when the user has as many of the room's kind (not counting those wanted gone) as it allows. */
  abstract create(save: RoomSave, admit: (scope: Scope) => Promise<RoomLimit>, also: (scope: Scope) => Promise<unknown>): Promise<void>;
  /** False, and nothing written, when the stored generation is not the one before `next`. `also` may run more than once. */
  abstract save(save: RoomSave, also: (scope: Scope) => Promise<unknown>): Promise<boolean>;
  /** A room of any tenant, with its open incarnations and its newest one; null when there is no such room. For what a host says of it (the default reason), and for the edge. */
  abstract locate(roomId: string, reason?: SystemReason): Promise<LocatedRoom | null>;
  /** Takes a host's word on one incarnation, without touching the room. Older sequences are ignored; `gone` closes it. */
  abstract report(key: RoomKey, report: IncarnationReport, now: number): Promise<void>;
  /** Events of one room with a number above `after`, in order. */
  abstract events(tenantId: string, roomId: string, after: number, limit: number, from?: number): Promise<RoomEvent[]>;
  /** Open incarnations on a host, of every tenant, with the row of each one's room. */
  abstract openOn(hostId: string): Promise<{ room: RoomRecord; incarnation: IncarnationRecord }[]>;
  /** Open incarnations of every tenant that the row of their room does not count on any more: not the newest one, or the room rests without a VM. */
  abstract orphans(limit: number): Promise<{ room: RoomRecord; incarnation: IncarnationRecord }[]>;
  /** Rooms of every tenant whose wish and rest are in conflict. */
  abstract wishing(limit: number): Promise<RoomRecord[]>;
  /** Rooms of every tenant whose move is past its deadline. */
  abstract overdue(now: number, limit: number): Promise<RoomRecord[]>;
  /** Rooms of every tenant whose time is over and that are not on their way to that end: those that run, and failed ones that are killed in the end. The longest over first. */
  abstract expired(now: number, limit: number): Promise<RoomRecord[]>;
  /** Rooms of every tenant that are held by copies being made of them. */
  abstract held(limit: number): Promise<RoomRecord[]>;
  /** Rooms of every tenant that are on hold. */
  abstract onHold(limit: number): Promise<RoomRecord[]>;
  /** Rooms of these tenants that are not, and not destroyed. */
  abstract offHold(tenantIds: readonly string[], limit: number): Promise<RoomRecord[]>;
}
