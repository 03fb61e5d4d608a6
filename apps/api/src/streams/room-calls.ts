import type { Duplex, Readable } from 'node:stream';
import { Inject, Injectable } from '@nestjs/common';
import type { Log } from '@alcove/base';
import { isProblem, Problem, type Principal, type ProblemCode } from '@alcove/contracts';
import { HostClient, type StreamAnswer, type StreamRequest } from '@alcove/fleet';
import { RoomsService, type RoomRoute } from '@alcove/rooms';
import { Metrics } from '../door/metrics';
import { LOG } from '../tokens';

/** A call into a room on behalf of somebody. `path` is below the incarnation on its host. */
export interface RoomCall extends Pick<StreamRequest, 'method' | 'path' | 'headers'> {
  readonly principal: Principal;
  readonly roomId: string;
  /** False: a room that does not run is not woken. */
  readonly wake: boolean;
  readonly signal: AbortSignal;
  readonly body?: Buffer | string | Readable;
}

export interface RoomAnswer extends StreamAnswer {
  readonly route: RoomRoute;
}

/** Failures of the way to the room: what the control plane believed of it may not be so. */
const lostCodes: ReadonlySet<ProblemCode> = new Set(['guest.closed', 'incarnation.stale', 'agent.unreachable']);

/** Takes calls into rooms: finds the host, wakes the room where it must, and opens the stream. */
@Injectable()
export class RoomCalls {
  constructor(
    private readonly rooms: RoomsService,
    private readonly hosts: HostClient,
    private readonly metrics: Metrics,
    @Inject(LOG) private readonly log: Log,
  ) {}

  /**
   * Resolves when the answer begins; its body is streamed with back-pressure. When the room is lost before that, the call is made once more, in the room as it
   * then is; so is one that the host refused because it does not run that incarnation. Any other call is made once only: one that the room's sleep cut off, one
   * that the living room did not answer, and one whose body is a stream, because a part of the body is gone. Throws the host's or the room's Problem;
   * `room.busy` when the room was lost once more.
   */
  async open(call: RoomCall): Promise<RoomAnswer> {
    const first = await this.#route(call);
    try {
      return await this.#send(call, first);
    } catch (error) {
      if (!isProblem(error) || !lostCodes.has(error.code) || call.signal.aborted) throw error;
      const lost = await this.rooms.reportLost(first, error.code);
      // The host refused it before it read the body: the room has not seen it.
      const untaken = error.code === 'incarnation.stale';
      if (!lost && !untaken) throw error;
      this.log.warn({ roomId: call.roomId, incarnation: first.incarnation, code: error.code }, 'a room was lost before it answered');
      this.metrics.roomLost(error.code);
      if (isStream(call.body)) throw toldOutside(error);
    }
    return this.#send(call, await this.#route(call)).catch((error: unknown) => {
      throw toldOutside(error);
    });
  }

  /** A connection to a port in the room, once it runs. Made once more when the room was lost: nothing was sent yet. Throws as open does. */
  async tunnel(call: Pick<RoomCall, 'principal' | 'roomId' | 'wake' | 'signal'> & { readonly port: number }): Promise<{ socket: Duplex; route: RoomRoute }> {
    const connect = async (route: RoomRoute) => ({ socket: await this.hosts.tunnel({ host: route.host, roomId: call.roomId, incarnation: route.incarnation, port: call.port, signal: call.signal }), route });
    const first = await this.#route(call);
    try {
      return await connect(first);
    } catch (error) {
      if (!isProblem(error) || !lostCodes.has(error.code) || call.signal.aborted) throw error;
      if (!(await this.rooms.reportLost(first, error.code)) && error.code !== 'incarnation.stale') throw error;
      this.metrics.roomLost(error.code);
    }
    return connect(await this.#route(call)).catch((error: unknown) => {
      throw toldOutside(error);
    });
  }

  async #route(call: Pick<RoomCall, 'principal' | 'roomId' | 'wake' | 'signal'>): Promise<RoomRoute> {
    const route = await this.rooms.route(call.principal, call.roomId, { wake: call.wake, signal: call.signal });
    if (route.wokenMs > 0) this.metrics.woke(route.resumedFrom ?? 'unknown', route.wokenMs);
    return route;
  }

  async #send(call: RoomCall, route: RoomRoute): Promise<RoomAnswer> {
    const { method, path, headers, body, signal, roomId } = call;
    const answer = await this.hosts.stream({
      host: route.host,
      incarnation: route.incarnation,
      roomId,
      method,
      path,
      signal,
      ...(headers ? { headers } : {}),
      ...(body === undefined ? {} : { body }),
    });
    return { ...answer, route };
  }
}

/** Callers know nothing of incarnations: for them the room is being brought back. */
function toldOutside(error: unknown): unknown {
  return isProblem(error, 'incarnation.stale') ? new Problem('room.busy', { detail: 'the room is being brought back', cause: error }) : error;
}

function isStream(body: RoomCall['body']): body is Readable {
  return body !== undefined && typeof body !== 'string' && !Buffer.isBuffer(body);
}
