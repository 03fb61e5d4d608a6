import { assert } from '@alcove/base';
import { Problem, type Principal, type ResumedFrom } from '@alcove/contracts';
import type { FleetService, HostAddress } from '@alcove/fleet';
import { tenantOf } from '@alcove/identity';
import type { KeysAhead } from './keys-ahead';
import type { LifecycleEvent } from './lifecycle/lifecycle';
import type { RoomRecord } from './room';
import type { Applied, ApplyOptions, RoomMover } from './room-mover';
import { judgeAwake, type RoomWaiter } from './room-waiter';
import type { RoomKey, RoomsStore, RoomWithIncarnations } from './rooms.store';

/** Where a running room is: what a call into it needs. */
export interface RoomRoute {
  readonly host: HostAddress;
  readonly roomId: string;
  readonly tenantId: string;
  readonly incarnation: number;
  readonly resumedFrom: ResumedFrom | null;
  /** How long the caller waited for the room to wake, milliseconds; 0 when it ran. */
  readonly wokenMs: number;
}

/** `memory: false`: from the disk, as after a power cut. `timeoutMs`: it lives at least this long from now on; also for a room that runs. */
export interface WakeHow {
  readonly memory?: boolean;
  readonly timeoutMs?: number;
}

export interface ActParts<Scope> {
  readonly store: RoomsStore<Scope>;
  readonly mover: RoomMover<Scope>;
  readonly fleet: FleetService;
  readonly secrets: KeysAhead;
  readonly waiter: RoomWaiter<Scope>;
}

/** What every part of RoomsService does with a room: find it for its tenant, bring an event to it, wake it, say where it is. Scopes are checked before. */
export class RoomActs<Scope> {
  constructor(private readonly parts: ActParts<Scope>) {}

  /** Problems: `room.not_found`, also for a snapshot; `room.gone`. */
  async find(principal: Principal, roomId: string): Promise<RoomWithIncarnations> {
    const found = await this.parts.store.find(tenantOf(principal), roomId);
    if (!found || found.room.kind === 'snapshot') throw new Problem('room.not_found');
    if (found.room.state === 'destroyed') throw new Problem('room.gone');
    return found;
  }

  /** Throws what the lifecycle denies with. */
  async apply(key: RoomKey, event: LifecycleEvent, options: ApplyOptions): Promise<Applied & { room: RoomRecord }> {
    const { room, verdict } = await this.parts.mover.apply(key, event, options);
    if (!room) throw new Problem('room.not_found');
    if (verdict.kind === 'deny') throw new Problem(verdict.code);
    if (room.state === 'destroyed') throw new Problem('room.gone');
    return { room, verdict };
  }

  /** Resolves when the room runs. */
  async awake(key: RoomKey, options: ApplyOptions & { known: RoomWithIncarnations }, reason: string, signal: AbortSignal | undefined, how: WakeHow = {}): Promise<RoomRecord> {
    const before = options.known.room;
    if (before.state === 'hibernated' || before.state === 'failed') this.parts.secrets.fetch(key.tenantId, before.userId, key.roomId);
    const event: LifecycleEvent = { kind: 'wake', reason, ...(how.memory === false && { boot: true }), ...(how.timeoutMs !== undefined && { liveMs: how.timeoutMs }) };
    const { room, verdict } = await this.apply(key, event, options);
    return this.parts.waiter.until(key, room, { judge: judgeAwake, joins: verdict.kind !== 'move' && room.state !== 'running', onTimeout: 'room.wake_timeout', signal });
  }

  async routeOf(room: RoomRecord, wokenMs: number): Promise<RoomRoute> {
    assert(room.hostId !== null, 'a running room has a host');
    const host = await this.parts.fleet.host(room.hostId);
    return { host: { id: host.id, url: host.description.url }, roomId: room.id, tenantId: room.tenantId, incarnation: room.incarnation, resumedFrom: room.resumedFrom, wokenMs };
  }
}

/** Problem `room.gone` or `room.not_found` unless the room may still be changed. For edits. */
export function requireThere({ kind, state, wanted }: RoomRecord): void {
  if (kind === 'snapshot') throw new Problem('room.not_found');
  if (state === 'destroyed' || wanted === 'gone') throw new Problem('room.gone');
}
