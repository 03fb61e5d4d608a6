import { type Clock, limits, type Random } from '@alcove/base';
import {
  type CreateRoom, isProblem, ListRooms, Problem, type CreateSnapshot, type EdgeRoute, type ForkRoom, type ListSnapshots, type Principal, type ProblemCode, type Room, type RoomAccess,
  type DestroyedUser, type Erasure, type RoomEnding, type RoomEvent, type RoomLifecycle, type RoomNetwork, type RoomPage, type Snapshot, type SnapshotPage, type WakeAnswer,
} from '@alcove/contracts';
import type { SqlTx } from '@alcove/db';
import type { FleetService, HostClient } from '@alcove/fleet';
import { actorOf, requireScope, tenantOf } from '@alcove/identity';
import type { z } from 'zod';
import { DoorRooms, type HostedRoom, type RoomOwner } from './door-rooms';
import { EdgeRoutes } from './edge-routes';
import type { KeysAhead } from './keys-ahead';
import { askedReason, freshImageOf } from './lifecycle/change';
import type { LifecycleEvent } from './lifecycle/lifecycle';
import type { RoomOwners } from './ports';
import { toRoom, type RoomRecord } from './room';
import { requireThere, RoomActs, type RoomRoute, type WakeHow } from './room-acts';
import { checkEnv, type Env, RoomBirths } from './room-births';
import { judgeForked, RoomCopies, type ForkOutcome } from './room-copies';
import { decodeRoomCursor, encodeRoomCursor } from './room-cursor';
import type { RoomMover } from './room-mover';
import { checkTimeout, RoomPolicies } from './room-policies';
import type { RoomUsers } from './room-users';
import { judgeAsleep, judgeAwake, type RoomWaiter } from './room-waiter';
import type { RoomWatchers } from './room-watchers';
import type { RoomQuery, RoomsStore } from './rooms.store';

export interface RoomsServiceParts<Scope = SqlTx> {
  readonly store: RoomsStore<Scope>;
  readonly mover: RoomMover<Scope>;
  readonly fleet: FleetService;
  readonly hosts: HostClient;
  readonly secrets: KeysAhead;
  readonly owners: RoomOwners<Scope>;
  readonly users: RoomUsers<Scope>;
  readonly waiter: RoomWaiter<Scope>;
  readonly watchers: RoomWatchers;
  readonly clock: Clock;
  readonly random?: Random;
  /** The template of a room whose creator names none. */
  readonly defaultTemplate: string;
}

/** Pauses before a host is asked whether a room still runs there, milliseconds. */
const askAgainMs = [0, 150, 500];

/**
 * What can be asked of rooms. Every call checks the scope and the tenant of its principal; another tenant's room is `room.not_found`, a destroyed one
 * `room.gone`. A call that waits stops waiting when its signal is aborted; the move it began goes on.
 */
export class RoomsService<Scope = SqlTx> {
  readonly #parts: RoomsServiceParts<Scope>;
  readonly #acts: RoomActs<Scope>;
  readonly #births: RoomBirths<Scope>;
  readonly #policies: RoomPolicies<Scope>;
  readonly #copies: RoomCopies<Scope>;
  readonly #edges: EdgeRoutes<Scope>;
  readonly #doors: DoorRooms<Scope>;

  constructor(parts: RoomsServiceParts<Scope>) {
    this.#parts = parts;
    this.#acts = new RoomActs(parts);
    this.#births = new RoomBirths(parts);
    this.#policies = new RoomPolicies(parts);
    this.#copies = new RoomCopies({ ...parts, acts: this.#acts, births: this.#births });
    this.#edges = new EdgeRoutes({ ...parts, acts: this.#acts });
    this.#doors = new DoorRooms(parts);
  }

  /**
   * Makes a room and starts it; resolves at once, in state `provisioning`, or with `wait` when it runs. Problems: `template.not_found`, `snapshot.not_found`,
   * `auth.scope` (the snapshot is of another user), `room.limit`, `user.gone`, `request.invalid` (a size that the template has not), `host.capacity`, `host.unavailable`; `vault.key_unavailable`,
   * `request.idempotency_reused`; with `wait` those of wake. The room of an
   * `idempotencyKey` is named by it for a day: a repeat finds the room also when the process died before it could keep its answer.
   */
  async create(principal: Principal, input: z.input<typeof CreateRoom>, options: { wait?: boolean; signal?: AbortSignal; idempotencyKey?: string } = {}): Promise<Room> {
    requireScope(principal, 'rooms:write');
    const room = await this.#births.create(principal, input, options.idempotencyKey);
    if (!options.wait) return toRoom(room);
    const key = { tenantId: room.tenantId, roomId: room.id };
    return toRoom(await this.#parts.waiter.until(key, room, { judge: room.origin ? judgeForked : judgeAwake, joins: false, onTimeout: 'room.wake_timeout', signal: options.signal }));
  }

  async get(principal: Principal, roomId: string): Promise<Room> {
    requireScope(principal, 'rooms:read');
    return toRoom((await this.#acts.find(principal, roomId)).room);
  }

  /** Oldest first, unless asked for the newest; snapshots are not among them. Problem `request.invalid` for a cursor that is not ours. */
  async list(principal: Principal, input: z.input<typeof ListRooms>): Promise<RoomPage> {
    requireScope(principal, 'rooms:read');
    const { limit, ...asked } = ListRooms.parse(input);
    const rows = await this.#parts.store.list(tenantOf(principal), { ...queryOf(asked), limit: limit + 1 });
    const shown = rows.slice(0, limit);
    const last = shown.at(-1);
    return { rooms: shown.map(toRoom), nextCursor: rows.length > limit && last ? encodeRoomCursor(last) : null };
  }

  /** Resolves when the room runs; joins a wake that is under way. Problems: `room.gone`, `room.failed`, `room.wake_timeout`, `room.busy`, `host.*`, `engine.*`, `vault.key_unavailable`. */
  async wake(principal: Principal, roomId: string, signal?: AbortSignal, how: WakeHow = {}): Promise<WakeAnswer> {
    requireScope(principal, 'rooms:write');
    if (how.timeoutMs !== undefined) checkTimeout(how.timeoutMs);
    const { clock } = this.#parts;
    const startedAt = clock.monotonic();
    const known = await this.#acts.find(principal, roomId);
    const room = await this.#acts.awake({ tenantId: tenantOf(principal), roomId }, { actor: actorOf(principal), known }, 'asked', signal, how);
    return { room: toRoom(room), resumedFrom: room.resumedFrom ?? 'new', durationMs: clock.monotonic() - startedAt };
  }

  /**
   * Resolves when the room's image is durable and in its row. The room then stays asleep until somebody wakes it. A room that failed is answered as it is.
   * Problems: `room.gone`, `room.busy` (woken meanwhile, or it could not be sealed and goes on), `room.failed` (the VM died while it was sealed).
   */
  async hibernate(principal: Principal, roomId: string, signal?: AbortSignal, how: { keepMemory?: boolean } = {}): Promise<Room> {
    requireScope(principal, 'rooms:write');
    const key = { tenantId: tenantOf(principal), roomId };
    const known = await this.#acts.find(principal, roomId);
    const event: LifecycleEvent = { kind: 'sleep', reason: askedReason, ...(how.keepMemory === false && { keepMemory: false }) };
    const { room, verdict } = await this.#acts.apply(key, event, { actor: actorOf(principal), known });
    const before = room.state === 'hibernating' || room.state === 'running' ? { ...room, move: room.move - 1 } : room;
    return toRoom(await this.#parts.waiter.until(key, room, { judge: judgeAsleep(before), joins: verdict.kind !== 'move', onTimeout: 'room.busy', signal }));
  }

  /** Resolves at once; the room is removed as soon as the move it is in has ended. */
  async destroy(principal: Principal, roomId: string, reason: string = askedReason): Promise<Room> {
    requireScope(principal, 'rooms:write');
    const known = await this.#acts.find(principal, roomId);
    const { room } = await this.#acts.apply({ tenantId: tenantOf(principal), roomId }, { kind: 'destroy', reason }, { actor: actorOf(principal), known });
    return toRoom(room);
  }

  /** From now on it lives this long, then it ends as its lifecycle says. May shorten. Problem `room.not_running` while it sleeps. Milliseconds. */
  async setTimeout(principal: Principal, roomId: string, timeoutMs: number): Promise<Room> {
    return this.#policies.setTimeout(principal, roomId, timeoutMs);
  }

  /** What is left out stays as it is. Problem `request.invalid` for `autoResume` without `keepMemory`. */
  async setLifecycle(principal: Principal, roomId: string, lifecycle: Partial<RoomLifecycle>): Promise<Room> {
    return this.#policies.setLifecycle(principal, roomId, lifecycle);
  }

  /** Replaces all of it: what is left out is as in a new room. */
  async setNetwork(principal: Principal, roomId: string, network: Partial<RoomNetwork>): Promise<Room> {
    return this.#policies.setNetwork(principal, roomId, network);
  }

  async setEgress(principal: Principal, roomId: string, egress: Omit<RoomNetwork, 'allowPublicTraffic' | 'maskRequestHost'>): Promise<Room> {
    return this.#policies.setEgress(principal, roomId, egress);
  }

  /** Replaces all of it. */
  async setMetadata(principal: Principal, roomId: string, metadata: Readonly<Record<string, string>>): Promise<Room> {
    return this.#policies.setMetadata(principal, roomId, metadata);
  }

  /** Why the room is gone or going, also long after; null while it is not. Problem `room.not_found`. */
  async ending(principal: Principal, roomId: string): Promise<RoomEnding | null> {
    requireScope(principal, 'rooms:read');
    const room = (await this.#parts.store.find(tenantOf(principal), roomId))?.room;
    if (!room || room.kind === 'snapshot') throw new Problem('room.not_found');
    return room.ending && { reason: room.ending.reason, at: new Date(room.ending.at).toISOString() };
  }

  /**
   * Copies the room as it is now; resolves when the copy is durable. A room that runs sleeps for it and wakes again by itself. Problems: `room.limit` (of
   * snapshots), `room.busy`, `room.failed` (it has no memory that could be copied), `room.gone`, those of a start.
   */
  async snapshot(principal: Principal, roomId: string, asked: CreateSnapshot = {}, signal?: AbortSignal): Promise<Snapshot> {
    return this.#copies.snapshot(principal, roomId, asked, signal);
  }

  /** Newest first. Problem `request.invalid` for a cursor that is not ours. */
  async snapshots(principal: Principal, query: z.input<typeof ListSnapshots> = {}): Promise<SnapshotPage> {
    return this.#copies.snapshots(principal, query);
  }

  /** Problem `snapshot.not_found`. */
  async getSnapshot(principal: Principal, snapshotId: string): Promise<Snapshot> {
    return this.#copies.get(principal, snapshotId);
  }

  /** Resolves at once. Rooms made from it stay. Problem `snapshot.not_found`. */
  async removeSnapshot(principal: Principal, snapshotId: string): Promise<void> {
    return this.#copies.remove(principal, snapshotId);
  }

  /** Makes rooms of the same user that go on from where this one is; resolves when each runs or has failed. Problems of the whole: as snapshot; of one fork: in its place. */
  async fork(principal: Principal, roomId: string, asked: ForkRoom = {}, signal?: AbortSignal): Promise<ForkOutcome[]> {
    return this.#copies.fork(principal, roomId, asked, signal);
  }

  /** What must be shown at the edge to come into the room. The same for as long as the room lives. Problem `vault.key_unavailable`. */
  async accessTokens(principal: Principal, roomId: string): Promise<RoomAccess> {
    return this.#edges.access(principal, roomId);
  }

  /** For the edge, whoever's the room is: where it is and what opens it. Never wakes anything. */
  async edgeRoute(roomId: string): Promise<EdgeRoute> {
    return this.#edges.route(roomId);
  }

  /** For the edge: as edgeRoute, once the room runs. Problems: `room.not_running` when the room does not wake by itself, those of wake. */
  async edgeWake(roomId: string, signal?: AbortSignal): Promise<EdgeRoute> {
    return this.#edges.wake(roomId, signal);
  }

  /** For a room's door: whose the room is that this host runs in this incarnation. Problem `incarnation.stale` unless it is the live one, and there. */
  async ownerOf(room: HostedRoom): Promise<RoomOwner> {
    return this.#doors.ownerOf(room);
  }

  /** Adds or replaces variables; they count from the next start of the agent. Problem `request.invalid` beyond `limits.room.envVars` or `envBytes`. */
  async setEnv(principal: Principal, roomId: string, vars: Env): Promise<Room> {
    return this.#editEnv(principal, roomId, (env) => ({ ...env, ...vars }));
  }

  /** Removes a variable; one that is not there is removed already. */
  async removeEnv(principal: Principal, roomId: string, name: string): Promise<Room> {
    return this.#editEnv(principal, roomId, (env) => Object.fromEntries(Object.entries(env).filter(([other]) => other !== name)));
  }

  /** Where to send a call into the room, which is woken first if it sleeps. Problems: `room.not_running` without `wake`, else those of wake. */
  async route(principal: Principal, roomId: string, options: { wake: boolean; signal?: AbortSignal }): Promise<RoomRoute> {
    requireScope(principal, 'rooms:exec');
    const { clock } = this.#parts;
    const startedAt = clock.monotonic();
    const tenantId = tenantOf(principal);
    const found = await this.#acts.find(principal, roomId);
    if (found.room.state === 'running') return this.#acts.routeOf(found.room, 0);
    if (!options.wake) throw new Problem('room.not_running');
    const room = await this.#acts.awake({ tenantId, roomId }, { actor: actorOf(principal), known: found }, 'invocation', options.signal);
    return this.#acts.routeOf(room, clock.monotonic() - startedAt);
  }

  /**
   * A call found the room not to be where its route said. The host is asked: an incarnation that it does not run is gone, and the next route() starts another.
   * Resolves with true when what ran in that incarnation is lost. False when it runs after all, when it sleeps or is on the move (its memory is kept, and the
   * call in it), and when the host cannot be asked: then its lease decides.
   */
  async reportLost(route: RoomRoute, code: ProblemCode): Promise<boolean> {
    const { mover, store } = this.#parts;
    const { roomId, tenantId, incarnation } = route;
    const room = (await store.find(tenantId, roomId))?.room;
    if (room?.state !== 'running' || room.incarnation !== incarnation) return isLost(room, incarnation);
    try {
      if (await this.#livesOn(route, code)) return false;
    } catch (error) {
      if (!isProblem(error)) throw error;
      return false;
    }
    // Of this stay in `running` only: a host that has sealed the room meanwhile does not run it either.
    const applied = await mover.apply({ tenantId, roomId }, { kind: 'gone', incarnation, move: room.move, reason: code === 'guest.closed' ? 'vmm_exited' : code }, { actor: 'system' });
    return isLost(applied.room ?? undefined, incarnation);
  }

  /** The room's events with numbers above `after` (all of them without it; none of them beyond the last) and not before `from` (milliseconds since 1970), in order. A destroyed room's can still be read. */
  async events(principal: Principal, roomId: string, query: { after?: string; from?: number; limit?: number } = {}): Promise<RoomEvent[]> {
    requireScope(principal, 'rooms:read');
    const tenantId = tenantOf(principal);
    const after = query.after === undefined ? 0 : Number(query.after);
    const events = await this.#parts.store.events(tenantId, roomId, Number.isNaN(after) ? 0 : after, query.limit ?? limits.page.max, query.from);
    if (events.length === 0 && !(await this.#parts.store.find(tenantId, roomId))) throw new Problem('room.not_found');
    return events;
  }

  /** Calls back whenever the room may have a new event, until the result is called. */
  subscribe(roomId: string, onNews: () => void): () => void {
    return this.#parts.watchers.subscribe(roomId, () => onNews());
  }

  /** The user gets no more rooms, its keys are destroyed, and then the rooms it has. Problem `user.not_found`. */
  async destroyUser(principal: Principal, userId: string): Promise<DestroyedUser> {
    requireScope(principal, 'users:write');
    return this.#parts.users.destroy(tenantOf(principal), userId, actorOf(principal));
  }

  /** How far the erasure of a user is. Problem `erasure.not_found`. */
  async erasure(principal: Principal, userId: string): Promise<Erasure> {
    requireScope(principal, 'users:write');
    return this.#parts.owners.erasure(tenantOf(principal), userId);
  }

  /** A connection breaks before the host has heard of it: where it broke, a host that still counts the room as running is asked again. */
  async #livesOn(route: RoomRoute, code: ProblemCode): Promise<boolean> {
    const { hosts, clock } = this.#parts;
    for (const pauseMs of code === 'agent.unreachable' ? [0] : askAgainMs) {
      if (pauseMs > 0) await clock.sleep(pauseMs);
      const { incarnations } = await hosts.state(route.host);
      if (!incarnations.some((one) => one.roomId === route.roomId && one.incarnation === route.incarnation && one.phase !== 'ending')) return false;
    }
    return true;
  }

  async #editEnv(principal: Principal, roomId: string, edit: (env: Env) => Env): Promise<Room> {
    requireScope(principal, 'rooms:write');
    const { mover, secrets } = this.#parts;
    const key = { tenantId: tenantOf(principal), roomId };
    const room = await mover.edit(key, actorOf(principal), 'room.set_env', async (before) => {
      requireThere(before);
      const { userId, envSealed } = before;
      const env = edit(envSealed === null ? {} : await secrets.openEnv(key.tenantId, userId, roomId, envSealed));
      checkEnv(env);
      const envNames = Object.keys(env).sort();
      return { envNames, envSealed: envNames.length === 0 ? null : await secrets.sealEnv(key.tenantId, userId, roomId, env) };
    });
    if (!room) throw new Problem('room.not_found');
    return toRoom(room);
  }
}

/** What ran in the incarnation is lost: the room failed since or is removed, or another one runs that did not begin with the memory of the one before. */
function isLost(room: RoomRecord | undefined, incarnation: number): boolean {
  if (!room || room.state === 'destroying' || room.state === 'destroyed') return true;
  if (room.incarnation === incarnation) return room.state === 'failed';
  return room.state === 'resuming' ? freshImageOf(room) === null : room.resumedFrom !== 'memory';
}

/** What a list asks of the store. */
function queryOf({ cursor, state, states, kind, createdAfter, order, template, userId, metadata }: Omit<ListRooms, 'limit'>): Omit<RoomQuery, 'limit'> {
  const wished = states ?? (state && [state]);
  return {
    newestFirst: order === 'newest',
    ...(userId !== undefined && { userId }),
    ...(wished && { states: wished }),
    ...(kind && { kinds: [kind] }),
    ...(template !== undefined && { template }),
    ...(createdAfter !== undefined && { createdFrom: Date.parse(createdAfter) }),
    ...(metadata && { metadata }),
    ...(cursor !== undefined && { after: decodeRoomCursor(cursor) }),
  };
}
