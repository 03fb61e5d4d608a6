import { limits, type Log } from '@alcove/base';
import { type DoorAnswer, DoorCall, Problem, problemAnswer } from '@alcove/contracts';
import type { MemoryCaller } from '@alcove/memory';
import type { HostedRoom, RoomOwner } from '@alcove/rooms';
import { toProblem } from '../door/problems';
import { answerMcp } from './mcp';
import { callTool } from './mcp-tools';
import { answerMemory, type RoomMemory } from './memory-door';
import { type Access, RoomQuotas } from './quotas';

/** What the doors of rooms need of libs/rooms and libs/memory. */
export interface RoomDoorsParts {
  readonly rooms: { ownerOf(room: HostedRoom): Promise<RoomOwner> };
  readonly memory: RoomMemory;
  readonly log: Log;
  /** Hears of every answer, for the figures. */
  readonly told: (route: string, status: number) => void;
  readonly quotas?: RoomQuotas;
}

/**
 * The services behind the doors of rooms. Who asks is found out, never taken from the request: the host by its certificate, the room by what that host was told to run,
 * the user by the room's row.
 */
export class RoomDoors {
  readonly #quotas: RoomQuotas;

  constructor(private readonly parts: RoomDoorsParts) {
    this.#quotas = parts.quotas ?? new RoomQuotas();
  }

  /** `body` is what the host sent. Problems: `request.invalid` (no call), `incarnation.stale`: the host may not hear more. What a service refuses is an answer. */
  async answer(room: HostedRoom, body: unknown): Promise<DoorAnswer> {
    const parsed = DoorCall.safeParse(body);
    if (!parsed.success) throw new Problem('request.invalid', { cause: parsed.error });
    const owner = await this.parts.rooms.ownerOf(room);
    const caller: MemoryCaller = { ...owner, actor: `room:${room.roomId}`, channel: 'room', purpose: 'room' };
    try {
      const answer = await this.#serve(parsed.data, caller, room);
      if (Buffer.byteLength(answer.body ?? '') > limits.doors.answerBytes) throw new Problem('request.invalid', { detail: 'The answer is too long for a door: ask for less at once.' });
      this.parts.told(parsed.data.route, answer.status);
      return answer;
    } catch (error) {
      const problem = toProblem(error);
      if (problem.status >= 500) this.parts.log.error({ err: problem, ...room, route: parsed.data.route }, 'a call through a room’s door failed');
      this.parts.told(parsed.data.route, problem.status);
      return problemAnswer(problem);
    }
  }

  async #serve(call: DoorCall, caller: MemoryCaller, { roomId }: HostedRoom): Promise<DoorAnswer> {
    const { memory } = this.parts;
    const enter = (access: Access) => this.#quotas.enter(roomId, access);
    if (call.route === 'mcp') return answerMcp(call, (name, given) => callTool(name, given, { memory, caller, enter }));
    return answerMemory(memory, { caller, call, enter });
  }
}
