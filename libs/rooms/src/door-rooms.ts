import { Problem } from '@alcove/contracts';
import type { HostRecord } from '@alcove/fleet';
import { mayLive } from './lifecycle/lifecycle';
import type { RoomsStore } from './rooms.store';

/** What a host says of where a program's call came from. Only the host's name is proven: by its certificate. */
export interface HostedRoom {
  readonly hostId: string;
  readonly roomId: string;
  readonly incarnation: number;
}

/** Whose a room is. */
export interface RoomOwner {
  readonly tenantId: string;
  readonly userId: string;
}

export interface DoorRoomsParts<Scope> {
  readonly store: Pick<RoomsStore<Scope>, 'locate'>;
  readonly fleet: { host(hostId: string): Promise<HostRecord> };
}

/**
 * Whose word a call through a room's door is: the host speaks for the room only while the room's newest incarnation is open, may be alive and was given to it. Everything else, a room
 * that there is none of included, is `incarnation.stale`, so that a host learns of no room but its own.
 */
export class DoorRooms<Scope> {
  constructor(private readonly parts: DoorRoomsParts<Scope>) {}

  async ownerOf({ hostId, roomId, incarnation }: HostedRoom): Promise<RoomOwner> {
    const found = await this.parts.store.locate(roomId, 'door');
    const room = found?.room;
    const newest = found?.newest;
    if (!room || !newest || room.incarnation !== incarnation || room.hostId !== hostId) throw new Problem('incarnation.stale');
    if (!mayLive(room.state) || room.wanted === 'gone' || room.kind === 'snapshot') throw new Problem('incarnation.stale');
    if (newest.incarnation !== incarnation || newest.hostId !== hostId || newest.closedAt !== null || newest.phase === 'sealed') throw new Problem('incarnation.stale');
    // A host that was silent for longer than its lease has ended what it ran; what still comes of it is late.
    if ((await this.parts.fleet.host(hostId)).lost) throw new Problem('incarnation.stale');
    return { tenantId: room.tenantId, userId: room.userId };
  }
}
