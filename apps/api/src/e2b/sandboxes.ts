import { Inject, Injectable } from '@nestjs/common';
import { isProblem, Problem, RoomFiguresList, roomIdOf, type Principal, type Room, type RoomAccess, type RoomEvent, type RoomFigures } from '@alcove/contracts';
import { RoomsService } from '@alcove/rooms';
import { readAnswer } from '../streams/answers';
import { RoomCalls } from '../streams/room-calls';
import { egressOf, stateOf, toDetail, toSandbox } from './mapping';
import { E2B_SETTINGS, type E2bSettings } from './settings';
import type { NetworkUpdate, Sandbox } from './shapes';

/** What E2B gives whoever connects and names no time, milliseconds. */
const connectMs = 300_000;
/** Nothing opens the room for a key that may not act in it. */
const noAccess: RoomAccess = { surface: '', traffic: null };

/** What E2B's clients ask of one sandbox, as questions to the rooms' service. A room that is gone is not found, and the refusal says why it is gone. */
@Injectable()
export class E2bSandboxes {
  constructor(
    private readonly rooms: RoomsService,
    private readonly roomCalls: RoomCalls,
    @Inject(E2B_SETTINGS) private readonly settings: E2bSettings,
  ) {}

  /** The room of that name, unless it is gone or going. */
  async room(principal: Principal, sandboxId: string): Promise<Room> {
    const roomId = roomOf(sandboxId);
    const room = await this.#explained(principal, sandboxId, () => this.rooms.get(principal, roomId));
    if (room.wanted === 'gone') throw await this.#gone(principal, sandboxId);
    return room;
  }

  /** As whoever made it, forked it or connects to it is told. A key that may not act in rooms is not given what would let it. */
  async answer(principal: Principal, room: Room): Promise<Partial<Sandbox>> {
    const { envdAccessToken, trafficAccessToken, ...rest } = toSandbox(room, await this.#access(principal, room), this.settings.domain);
    return envdAccessToken === '' ? rest : { ...rest, envdAccessToken, trafficAccessToken };
  }

  async detail(principal: Principal, sandboxId: string): Promise<Record<string, unknown>> {
    const room = await this.room(principal, sandboxId);
    const { envdAccessToken, ...rest } = toDetail(room, await this.#access(principal, room), this.settings.domain);
    return envdAccessToken === '' ? rest : { ...rest, envdAccessToken };
  }

  async kill(principal: Principal, sandboxId: string): Promise<void> {
    const room = await this.room(principal, sandboxId);
    await this.#explained(principal, sandboxId, () => this.rooms.destroy(principal, room.id));
  }

  /** Resolves when it runs. Its time is only ever made longer by this, and a time that nobody named is its own where it is started. */
  async connect(principal: Principal, sandboxId: string, asked: { timeoutMs?: number; memory?: boolean }, signal: AbortSignal): Promise<{ room: Room; resumed: boolean }> {
    const before = await this.room(principal, sandboxId);
    const runs = stateOf(before) === 'running';
    const timeoutMs = asked.timeoutMs ?? (runs ? connectMs : undefined);
    const how = { ...(timeoutMs === undefined ? {} : { timeoutMs }), ...(asked.memory === false && !runs ? { memory: false } : {}) };
    const { room } = await this.#explained(principal, sandboxId, () => this.rooms.wake(principal, before.id, signal, how));
    return { room, resumed: !runs };
  }

  /** Throws room.not_running for one that is paused already, and room.busy where it could not be paused: it goes on then. */
  async pause(principal: Principal, sandboxId: string, keepMemory: boolean, signal: AbortSignal): Promise<void> {
    const room = await this.room(principal, sandboxId);
    if (room.state === 'hibernated' || room.state === 'failed') throw new Problem('room.not_running', { detail: `The sandbox ${sandboxId} is paused already.` });
    try {
      await this.#explained(principal, sandboxId, () => this.rooms.hibernate(principal, room.id, signal, { keepMemory }));
    } catch (error) {
      if (!isProblem(error) || error.status < 500 || error.status === 501) throw error;
      const { state } = await this.room(principal, sandboxId);
      throw state === 'running' ? new Problem('unavailable', { detail: `The sandbox ${sandboxId} could not be paused, and goes on.`, cause: error }) : error;
    }
  }

  /** From now on. May shorten. */
  async setTimeout(principal: Principal, sandboxId: string, timeoutMs: number): Promise<void> {
    const room = await this.room(principal, sandboxId);
    await this.#explained(principal, sandboxId, () => this.rooms.setTimeout(principal, room.id, Math.max(1, timeoutMs)));
  }

  /** From now on, and never less than it has. */
  async refresh(principal: Principal, sandboxId: string, timeoutMs: number, signal: AbortSignal): Promise<void> {
    const room = await this.room(principal, sandboxId);
    if (stateOf(room) !== 'running') throw new Problem('room.not_running', { detail: `The sandbox ${sandboxId} is paused.` });
    await this.#explained(principal, sandboxId, () => this.rooms.wake(principal, room.id, signal, { timeoutMs: Math.max(1, timeoutMs) }));
  }

  /** Replaces the way out; the way in stays as it is. */
  async setEgress(principal: Principal, sandboxId: string, asked: NetworkUpdate): Promise<void> {
    const room = await this.room(principal, sandboxId);
    await this.#explained(principal, sandboxId, () => this.rooms.setEgress(principal, room.id, egressOf(asked)));
  }

  /** What was measured while it ran, the oldest first; nothing of one that sleeps. */
  async figures(principal: Principal, sandboxId: string, signal: AbortSignal): Promise<RoomFigures[]> {
    const room = await this.room(principal, sandboxId);
    try {
      const answer = await this.roomCalls.open({ principal, roomId: room.id, wake: false, signal, method: 'GET', path: 'figures' });
      return (await readAnswer(answer, RoomFiguresList)).figures;
    } catch (error) {
      if (isProblem(error, 'room.not_running')) return [];
      throw error;
    }
  }

  /** What happened to it since then (milliseconds since 1970), the oldest first: also of one that is gone. */
  async events(principal: Principal, sandboxId: string, query: { from: number; limit: number }): Promise<RoomEvent[]> {
    const roomId = roomOf(sandboxId);
    return this.#explained(principal, sandboxId, () => this.rooms.events(principal, roomId, query));
  }

  async #access(principal: Principal, room: Room): Promise<RoomAccess> {
    return principal.scopes.includes('rooms:exec') ? this.rooms.accessTokens(principal, room.id) : noAccess;
  }

  async #explained<T>(principal: Principal, sandboxId: string, ask: () => Promise<T>): Promise<T> {
    try {
      return await ask();
    } catch (error) {
      if (isProblem(error, 'room.gone')) throw await this.#gone(principal, sandboxId, error);
      if (isProblem(error, 'room.not_found')) throw notFound(sandboxId, error);
      throw error;
    }
  }

  async #gone(principal: Principal, sandboxId: string, cause?: unknown): Promise<Problem> {
    const ending = await this.rooms.ending(principal, roomOf(sandboxId)).catch((error: unknown) => {
      if (isProblem(error)) return null;
      throw error;
    });
    if (!ending) return notFound(sandboxId, cause);
    return new Problem('room.gone', { detail: `The sandbox ${sandboxId} is gone since ${ending.at}: ${ending.reason}.`, cause });
  }
}

function roomOf(sandboxId: string): string {
  const roomId = roomIdOf(sandboxId);
  if (roomId === null) throw notFound(sandboxId);
  return roomId;
}

function notFound(sandboxId: string, cause?: unknown): Problem {
  return new Problem('room.not_found', { detail: `The sandbox ${sandboxId} was not found.`, ...(cause === undefined ? {} : { cause }) });
}

