import { type Clock, limits } from '@alcove/base';
import { Metadata, Problem, type Principal, type Room, RoomLifecycle, RoomNetwork } from '@alcove/contracts';
import { actorOf, requireScope, tenantOf } from '@alcove/identity';
import { networkOf, toRoom, type RoomRecord } from './room';
import { requireThere } from './room-acts';
import type { RoomEdit, RoomMover } from './room-mover';

export interface PolicyParts<Scope> {
  readonly mover: Pick<RoomMover<Scope>, 'edit'>;
  readonly clock: Clock;
}

/** What a room is to do by itself, and what is known of it: changed without touching its life. */
export class RoomPolicies<Scope> {
  constructor(private readonly parts: PolicyParts<Scope>) {}

  async setTimeout(principal: Principal, roomId: string, timeoutMs: number): Promise<Room> {
    checkTimeout(timeoutMs);
    return this.#edit(principal, roomId, 'room.set_timeout', (room) => {
      const comes = room.state === 'running' || room.state === 'provisioning' || room.state === 'resuming' || room.wakePending;
      if (!comes) throw new Problem('room.not_running');
      return { endsAt: this.parts.clock.now() + timeoutMs };
    });
  }

  setLifecycle(principal: Principal, roomId: string, asked: Partial<RoomLifecycle>): Promise<Room> {
    return this.#edit(principal, roomId, 'room.set_lifecycle', (room) => {
      const lifecycle = checkedLifecycle({ ...room.lifecycle, ...asked });
      const first = room.endsAt === null && room.state === 'running' && lifecycle.timeoutMs !== null ? this.parts.clock.now() + lifecycle.timeoutMs : room.endsAt;
      return { lifecycle, endsAt: lifecycle.timeoutMs === null ? null : first };
    });
  }

  /** Replaces the whole, but for who may come in: that changes only when it is said. */
  setNetwork(principal: Principal, roomId: string, asked: Partial<RoomNetwork>): Promise<Room> {
    return this.#edit(principal, roomId, 'room.set_network', ({ kind, network: { allowPublicTraffic } }) => ({ network: RoomNetwork.parse({ ...networkOf(kind), allowPublicTraffic, ...asked }) }));
  }

  /** Replaces the way out; the way in stays as it is at that moment. */
  setEgress(principal: Principal, roomId: string, egress: Omit<RoomNetwork, 'allowPublicTraffic' | 'maskRequestHost'>): Promise<Room> {
    return this.#edit(principal, roomId, 'room.set_network', ({ network }) => ({ network: RoomNetwork.parse({ ...network, ...egress }) }));
  }

  setMetadata(principal: Principal, roomId: string, metadata: Readonly<Record<string, string>>): Promise<Room> {
    return this.#edit(principal, roomId, 'room.set_metadata', () => ({ metadata: Metadata.parse(metadata) }));
  }

  async #edit(principal: Principal, roomId: string, action: string, edit: (room: RoomRecord) => RoomEdit): Promise<Room> {
    requireScope(principal, 'rooms:write');
    const room = await this.parts.mover.edit({ tenantId: tenantOf(principal), roomId }, actorOf(principal), action, async (before) => {
      requireThere(before);
      return edit(before);
    });
    if (!room) throw new Problem('room.not_found');
    return toRoom(room);
  }
}

/** Problem `request.invalid` for a time that is none, or longer than a room may be given. Milliseconds; 0: at once. */
export function checkTimeout(timeoutMs: number): void {
  if (Number.isInteger(timeoutMs) && timeoutMs >= 0 && timeoutMs <= limits.room.timeoutMsMax) return;
  throw new Problem('request.invalid', { errors: [{ path: 'timeoutMs', message: `a whole number from 0 to ${limits.room.timeoutMsMax}` }] });
}

/** What is said, over what holds where nothing is said. A default that contradicts it gives way: a room that is to lose its memory does not wake by itself, and one that does keeps it. */
export function lifecycleOver(base: RoomLifecycle, said: Partial<RoomLifecycle>): RoomLifecycle {
  const follows = said.keepMemory === false ? { autoResume: false } : said.autoResume ? { keepMemory: true } : {};
  return { ...base, ...follows, ...said };
}

/** Problem `request.invalid` for a room that would wake by itself without its memory: nobody would notice that it was lost. */
export function checkedLifecycle(lifecycle: RoomLifecycle): RoomLifecycle {
  if (lifecycle.autoResume && !lifecycle.keepMemory) {
    throw new Problem('request.invalid', { detail: 'autoResume needs keepMemory', errors: [{ path: 'lifecycle.autoResume', message: 'not together with keepMemory: false' }] });
  }
  return RoomLifecycle.parse(lifecycle);
}
