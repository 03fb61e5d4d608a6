import { createHash } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import { assert, type Clock, limits, newId, type Random, systemRandom } from '@alcove/base';
import {
  CreateRoom, isProblem, ListRooms, Problem, type CreateSnapshot, type EdgeRoute, type EnvVars, type ForkRoom, type ListSnapshots, type Principal, type ProblemCode, type ResumedFrom, type Room,
  type RoomAccess, type RoomEnding, type RoomEvent, type RoomLifecycle, type RoomNetwork, type RoomPage, type Snapshot, type SnapshotPage, type User, type WakeAnswer,
} from '@alcove/contracts';
import type { SqlTx } from '@alcove/db';
import { type FleetService, type HostAddress, type HostClient } from '@alcove/fleet';
import { actorOf, requireScope, tenantOf } from '@alcove/identity';
import type { z } from 'zod';
import { askedReason, freshImageOf } from './lifecycle/change';
import type { LifecycleEvent } from './lifecycle/lifecycle';
import type { KeysAhead } from './keys-ahead';
import type { RoomOwners } from './ports';
import { absentRoom, toRoom, type RoomRecord } from './room';
import { decodeRoomCursor, encodeRoomCursor } from './room-cursor';
import type { Applied, ApplyOptions, RoomMover } from './room-mover';
import type { RoomUsers } from './room-users';
import { judgeAsleep, judgeAwake, type RoomWaiter } from './room-waiter';
import type { RoomWatchers } from './room-watchers';
import type { RoomKey, RoomsStore, RoomWithIncarnations } from './rooms.store';

type Env = z.infer<typeof EnvVars>;

/** `memory: false`: from the disk, as after a power cut. `timeoutMs`: it lives at least this long from now on; also for a room that runs. */
export interface WakeHow {
  readonly memory?: boolean;
  readonly timeoutMs?: number;
}

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

  constructor(parts: RoomsServiceParts<Scope>) {
    this.#parts = parts;
  }

  /**
   * Makes a room and starts it; resolves at once, in state `provisioning`, or with `wait` when it runs. Problems: `template.not_found`, `room.limit`,
   * `user.gone`, `request.invalid` (a size that the template has not), `host.capacity`, `host.unavailable`; `vault.key_unavailable`,
   * `request.idempotency_reused`; with `wait` those of wake. The room of an
   * `idempotencyKey` is named by it for a day: a repeat finds the room also when the process died before it could keep its answer.
   */
  async create(principal: Principal, input: z.input<typeof CreateRoom>, options: { wait?: boolean; signal?: AbortSignal; idempotencyKey?: string } = {}): Promise<Room> {
    requireScope(principal, 'rooms:write');
    if (input.snapshot !== undefined || input.lifecycle || input.network || input.kind) throw new Problem('unsupported');
    const tenantId = tenantOf(principal);
    const { fleet, secrets, owners, mover, clock, waiter, store } = this.#parts;
    const named = options.idempotencyKey === undefined ? null : idOfRepeats(principal, options.idempotencyKey);
    const before = named && (await store.find(tenantId, named));
    const { userId, template: name = this.#parts.defaultTemplate, size: asked = {}, metadata = {}, env = {} } = input;
    if (before && before.room.createdAt > clock.now() - limits.http.idempotencyTtlMs) {
      // The answer to the first request, and with it what was asked for, was lost: the room tells.
      if (!isSameRequest(before.room, { userId, template: name, metadata })) throw new Problem('request.idempotency_reused');
      return toRoom(before.room);
    }
    const template = await fleet.template(name);
    checkSize(asked, template.size);
    checkEnv(env);
    const id = before || !named ? newId('room', this.#parts.random ?? systemRandom) : named;
    const envNames = Object.keys(env).sort();
    const envSealed = envNames.length === 0 ? null : await secrets.sealEnv(tenantId, userId, id, env);
    const absent = absentRoom({ id, tenantId, userId, template: name, templateId: template.id, size: template.size, metadata, envNames, envSealed }, clock.now());
    const room = await mover.create(absent, actorOf(principal), (scope) => owners.admit(scope, tenantId, userId));
    if (!options.wait) return toRoom(room);
    return toRoom(await waiter.until({ tenantId, roomId: id }, room, { judge: judgeAwake, joins: false, onTimeout: 'room.wake_timeout', signal: options.signal }));
  }

  async get(principal: Principal, roomId: string): Promise<Room> {
    requireScope(principal, 'rooms:read');
    return toRoom((await this.#find(principal, roomId)).room);
  }

  /** Oldest first. Problem `request.invalid` for a cursor that is not ours. */
  async list(principal: Principal, input: z.input<typeof ListRooms>): Promise<RoomPage> {
    requireScope(principal, 'rooms:read');
    const { cursor, limit, userId, state, metadata } = ListRooms.parse(input);
    const query = { ...(userId !== undefined && { userId }), ...(state && { state }), ...(metadata && { metadata }), ...(cursor !== undefined && { after: decodeRoomCursor(cursor) }) };
    const rows = await this.#parts.store.list(tenantOf(principal), { ...query, limit: limit + 1 });
    const shown = rows.slice(0, limit);
    const last = shown.at(-1);
    return { rooms: shown.map(toRoom), nextCursor: rows.length > limit && last ? encodeRoomCursor(last) : null };
  }

  /** Resolves when the room runs; joins a wake that is under way. Problems: `room.gone`, `room.failed`, `room.wake_timeout`, `room.busy`, `host.*`, `engine.*`, `vault.key_unavailable`. */
  async wake(principal: Principal, roomId: string, signal?: AbortSignal, how: WakeHow = {}): Promise<WakeAnswer> {
    requireScope(principal, 'rooms:write');
    if (how.memory === false || how.timeoutMs !== undefined) throw new Problem('unsupported');
    const { clock } = this.#parts;
    const startedAt = clock.monotonic();
    const known = await this.#find(principal, roomId);
    const room = await this.#awake({ tenantId: tenantOf(principal), roomId }, { actor: actorOf(principal), known }, 'asked', signal);
    return { room: toRoom(room), resumedFrom: room.resumedFrom ?? 'new', durationMs: clock.monotonic() - startedAt };
  }

  /**
   * Resolves when the room's image is durable and in its row. The room then stays asleep until somebody wakes it. A room that failed is answered as it is.
   * Problems: `room.gone`, `room.busy` (woken meanwhile, or it could not be sealed and goes on), `room.failed` (the VM died while it was sealed).
   */
  async hibernate(principal: Principal, roomId: string, signal?: AbortSignal, how: { keepMemory?: boolean } = {}): Promise<Room> {
    requireScope(principal, 'rooms:write');
    if (how.keepMemory === false) throw new Problem('unsupported');
    const key = { tenantId: tenantOf(principal), roomId };
    const { room, verdict } = await this.#apply(key, { kind: 'sleep', reason: askedReason }, { actor: actorOf(principal) });
    const before = room.state === 'hibernating' || room.state === 'running' ? { ...room, move: room.move - 1 } : room;
    return toRoom(await this.#parts.waiter.until(key, room, { judge: judgeAsleep(before), joins: verdict.kind !== 'move', onTimeout: 'room.busy', signal }));
  }

  /** Resolves at once; the room is removed as soon as the move it is in has ended. */
  async destroy(principal: Principal, roomId: string, reason: string = askedReason): Promise<Room> {
    requireScope(principal, 'rooms:write');
    const { room } = await this.#apply({ tenantId: tenantOf(principal), roomId }, { kind: 'destroy', reason }, { actor: actorOf(principal) });
    return toRoom(room);
  }

  /** From now on it lives this long, then it ends as its lifecycle says. May shorten. Problem `room.not_running` while it sleeps. Milliseconds. */
  async setTimeout(_principal: Principal, _roomId: string, _timeoutMs: number): Promise<Room> {
    throw new Problem('unsupported');
  }

  /** What is left out stays as it is. Problem `request.invalid` for `autoResume` without `keepMemory`. */
  async setLifecycle(_principal: Principal, _roomId: string, _lifecycle: Partial<RoomLifecycle>): Promise<Room> {
    throw new Problem('unsupported');
  }

  /** Replaces all of it: what is left out is as in a new room. */
  async setNetwork(_principal: Principal, _roomId: string, _network: Partial<RoomNetwork>): Promise<Room> {
    throw new Problem('unsupported');
  }

  /** Replaces all of it. */
  async setMetadata(_principal: Principal, _roomId: string, _metadata: Readonly<Record<string, string>>): Promise<Room> {
    throw new Problem('unsupported');
  }

  /** Why the room is gone or going, also long after; null while it is not. Problem `room.not_found`. */
  async ending(_principal: Principal, _roomId: string): Promise<RoomEnding | null> {
    throw new Problem('unsupported');
  }

  /**
   * Copies the room as it is now; resolves when the copy is durable. A room that runs sleeps for it and wakes again by itself. Problems: `room.limit` (of
   * snapshots), `room.busy`, `room.failed` (it has no memory that could be copied), `room.gone`, those of a start.
   */
  async snapshot(_principal: Principal, _roomId: string, _asked: CreateSnapshot = {}, _signal?: AbortSignal): Promise<Snapshot> {
    throw new Problem('unsupported');
  }

  /** Newest first. Problem `request.invalid` for a cursor that is not ours. */
  async snapshots(_principal: Principal, _query: z.input<typeof ListSnapshots> = {}): Promise<SnapshotPage> {
    throw new Problem('unsupported');
  }

  /** Problem `snapshot.not_found`. */
  async getSnapshot(_principal: Principal, _snapshotId: string): Promise<Snapshot> {
    throw new Problem('unsupported');
  }

  /** Resolves at once. Rooms made from it stay. Problem `snapshot.not_found`. */
  async removeSnapshot(_principal: Principal, _snapshotId: string): Promise<void> {
    throw new Problem('unsupported');
  }

  /** Makes rooms of the same user that go on from where this one is; resolves when each runs or has failed. Problems of the whole: as snapshot; of one fork: in its place. */
  async fork(_principal: Principal, _roomId: string, _asked: ForkRoom = {}, _signal?: AbortSignal): Promise<({ room: Room } | { problem: Problem })[]> {
    throw new Problem('unsupported');
  }

  /** What must be shown at the edge to come into the room. The same for as long as the room lives. Problem `vault.key_unavailable`. */
  async accessTokens(_principal: Principal, _roomId: string): Promise<RoomAccess> {
    throw new Problem('unsupported');
  }

  /** For the edge, whoever's the room is: where it is and what opens it. Never wakes anything. */
  async edgeRoute(_roomId: string): Promise<EdgeRoute> {
    throw new Problem('unsupported');
  }

  /** For the edge: as edgeRoute, once the room runs. Problems: `room.not_running` when the room does not wake by itself, those of wake. */
  async edgeWake(_roomId: string, _signal?: AbortSignal): Promise<EdgeRoute> {
    throw new Problem('unsupported');
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
    const found = await this.#find(principal, roomId);
    if (found.room.state === 'running') return this.#routeOf(found.room, 0);
    if (!options.wake) throw new Problem('room.not_running');
    const room = await this.#awake({ tenantId, roomId }, { actor: actorOf(principal), known: found }, 'invocation', options.signal);
    return this.#routeOf(room, clock.monotonic() - startedAt);
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

  /** The room's events with numbers above `after` (all of them without it; none of them beyond the last), in order. A destroyed room's can still be read. */
  async events(principal: Principal, roomId: string, query: { after?: string; limit?: number } = {}): Promise<RoomEvent[]> {
    requireScope(principal, 'rooms:read');
    const tenantId = tenantOf(principal);
    const after = query.after === undefined ? 0 : Number(query.after);
    const events = await this.#parts.store.events(tenantId, roomId, Number.isNaN(after) ? 0 : after, query.limit ?? limits.page.max);
    if (events.length === 0 && !(await this.#parts.store.find(tenantId, roomId))) throw new Problem('room.not_found');
    return events;
  }

  /** Calls back whenever the room may have a new event, until the result is called. */
  subscribe(roomId: string, onNews: () => void): () => void {
    return this.#parts.watchers.subscribe(roomId, () => onNews());
  }

  /** The user gets no more rooms, those it has are destroyed, and then its keys. Problem `user.not_found`. */
  async destroyUser(principal: Principal, userId: string): Promise<User> {
    requireScope(principal, 'users:write');
    return this.#parts.users.destroy(tenantOf(principal), userId, actorOf(principal));
  }

  async #find(principal: Principal, roomId: string): Promise<RoomWithIncarnations> {
    const found = await this.#parts.store.find(tenantOf(principal), roomId);
    if (!found) throw new Problem('room.not_found');
    if (found.room.state === 'destroyed') throw new Problem('room.gone');
    return found;
  }

  async #apply(key: RoomKey, event: LifecycleEvent, options: ApplyOptions): Promise<Applied & { room: RoomRecord }> {
    const { room, verdict } = await this.#parts.mover.apply(key, event, options);
    if (!room) throw new Problem('room.not_found');
    if (verdict.kind === 'deny') throw new Problem(verdict.code);
    if (room.state === 'destroyed') throw new Problem('room.gone');
    return { room, verdict };
  }

  async #awake(key: RoomKey, options: ApplyOptions & { known: RoomWithIncarnations }, reason: string, signal: AbortSignal | undefined): Promise<RoomRecord> {
    const before = options.known.room;
    if (before.state === 'hibernated' || before.state === 'failed') this.#parts.secrets.fetch(key.tenantId, before.userId, key.roomId);
    const { room, verdict } = await this.#apply(key, { kind: 'wake', reason }, options);
    return this.#parts.waiter.until(key, room, { judge: judgeAwake, joins: verdict.kind !== 'move' && room.state !== 'running', onTimeout: 'room.wake_timeout', signal });
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

  async #routeOf(room: RoomRecord, wokenMs: number): Promise<RoomRoute> {
    assert(room.hostId !== null, 'a running room has a host');
    const host = await this.#parts.fleet.host(room.hostId);
    return { host: { id: host.id, url: host.description.url }, roomId: room.id, tenantId: room.tenantId, incarnation: room.incarnation, resumedFrom: room.resumedFrom, wokenMs };
  }

  async #editEnv(principal: Principal, roomId: string, edit: (env: Env) => Env): Promise<Room> {
    requireScope(principal, 'rooms:write');
    const { mover, secrets } = this.#parts;
    const key = { tenantId: tenantOf(principal), roomId };
    const room = await mover.edit(key, actorOf(principal), 'room.set_env', async ({ userId, envSealed, state, wanted }) => {
      if (state === 'destroyed' || wanted === 'gone') throw new Problem('room.gone');
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

/** The same for every repeat of a request, and no other's: keys of one API key only meet each other. */
function idOfRepeats({ tenantId, keyId }: Principal, idempotencyKey: string): string {
  return `room_${createHash('sha256').update(JSON.stringify([tenantId, keyId, idempotencyKey])).digest('hex').slice(0, 20)}`;
}

function isSameRequest(room: RoomRecord, asked: Pick<RoomRecord, 'userId' | 'template' | 'metadata'>): boolean {
  return isDeepStrictEqual([room.userId, room.template, { ...room.metadata }], [asked.userId, asked.template, { ...asked.metadata }]);
}

/** A room has its template's size, because the template's memory was captured with it: processors, RAM and a mounted disk. A recipe names another one. */
function checkSize(asked: NonNullable<z.input<typeof CreateRoom>['size']>, template: RoomRecord['size']): void {
  const errors = (['memoryMiB', 'vcpus', 'diskMiB'] as const)
    .filter((name) => asked[name] !== undefined && asked[name] !== template[name])
    .map((name) => ({ path: `size.${name}`, message: `this template has ${template[name]}` }));
  if (errors.length > 0) throw new Problem('request.invalid', { errors });
}

function checkEnv(env: Env): void {
  const bytes = Object.entries(env).reduce((sum, [name, value]) => sum + Buffer.byteLength(name) + Buffer.byteLength(value), 0);
  if (Object.keys(env).length > limits.room.envVars) throw new Problem('request.invalid', { errors: [{ path: 'env', message: `at most ${limits.room.envVars} variables` }] });
  if (bytes > limits.room.envBytes) throw new Problem('request.invalid', { errors: [{ path: 'env', message: `at most ${limits.room.envBytes} bytes in all` }] });
}
