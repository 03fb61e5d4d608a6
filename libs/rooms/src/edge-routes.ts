import { limits } from '@alcove/base';
import { isProblem, Problem, type EdgeRoute, type Principal, type RoomAccess } from '@alcove/contracts';
import type { RoomTokens } from '@alcove/keys';
import { requireScope, tenantOf } from '@alcove/identity';
import type { RoomSecrets } from './ports';
import type { RoomRecord } from './room';
import type { RoomActs } from './room-acts';
import type { RoomsStore, RoomWithIncarnations } from './rooms.store';

export interface EdgeParts<Scope> {
  readonly store: RoomsStore<Scope>;
  readonly secrets: Pick<RoomSecrets, 'roomTokens'>;
  readonly acts: RoomActs<Scope>;
}

const nothingThere: EdgeRoute = { state: 'unknown', reason: null, target: null, surfaceToken: null, trafficToken: null, maskRequestHost: null, autoResume: false };

/** What the edge asks: it knows a room's name only, and no tenant. */
export class EdgeRoutes<Scope> {
  constructor(private readonly parts: EdgeParts<Scope>) {}

  async route(roomId: string): Promise<EdgeRoute> {
    const found = await this.#find(roomId);
    return found ? this.#routeOf(found.room) : nothingThere;
  }

  async wake(roomId: string, signal: AbortSignal | undefined): Promise<EdgeRoute> {
    const found = await this.#find(roomId);
    if (!found) throw new Problem('room.not_found');
    const { room } = found;
    if (room.state === 'running') return this.#routeOf(room);
    // A boot in answer to a request would lose the memory behind its sender's back.
    if (!room.lifecycle.autoResume || room.bootNext) throw new Problem('room.not_running');
    const timeoutMs = Math.max(limits.room.autoResumeMs, room.lifecycle.timeoutMs ?? 0);
    return this.#routeOf(await this.parts.acts.awake({ tenantId: room.tenantId, roomId }, { actor: 'edge', known: found }, 'edge', signal, { timeoutMs }));
  }

  async access(principal: Principal, roomId: string): Promise<RoomAccess> {
    requireScope(principal, 'rooms:exec');
    const { room } = await this.parts.acts.find(principal, roomId);
    const { surface, traffic } = await this.parts.secrets.roomTokens(tenantOf(principal), room.userId, roomId);
    return { surface, traffic: room.network.allowPublicTraffic ? null : traffic };
  }

  async #find(roomId: string): Promise<RoomWithIncarnations | null> {
    const found = await this.parts.store.locate(roomId, 'edge');
    return found && found.room.kind !== 'snapshot' ? found : null;
  }

  async #routeOf(room: RoomRecord): Promise<EdgeRoute> {
    const tokens = await this.#tokens(room);
    const running = tokens && room.state === 'running' ? await this.parts.acts.routeOf(room, 0) : null;
    return {
      state: room.state,
      reason: room.wanted === 'gone' ? (room.ending?.reason ?? null) : room.state === 'failed' ? (room.failure?.code ?? null) : null,
      target: running && { hostId: running.host.id, hostUrl: running.host.url, incarnation: running.incarnation },
      surfaceToken: tokens?.surface ?? null,
      trafficToken: !tokens || room.network.allowPublicTraffic ? null : tokens.traffic,
      maskRequestHost: room.network.maskRequestHost,
      autoResume: room.lifecycle.autoResume && !room.bootNext,
    };
  }

  /** Null where there is nothing left to come into. A key that cannot be had is a problem: without its token a room would be open. */
  async #tokens({ tenantId, userId, id, state, wanted }: RoomRecord): Promise<RoomTokens | null> {
    if (state === 'destroyed' || wanted === 'gone') return null;
    return this.parts.secrets.roomTokens(tenantId, userId, id).catch((error: unknown) => {
      throw isProblem(error) ? error : new Problem('vault.key_unavailable', { cause: error });
    });
  }
}
