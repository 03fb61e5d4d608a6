import type { Readable } from 'node:stream';
import { Controller, Inject } from '@nestjs/common';
import type { Clock } from '@alcove/base';
import { RoomsService } from '@alcove/rooms';
import { OpenCalls } from '../door/open-calls';
import { Asked, Route, type Call } from '../door/route';
import { followRoom } from '../streams/follow-room';
import { eventStream, eventStreamHeaders, type SseEvent } from '../streams/sse';
import { CLOCK } from '../tokens';

const eventNumber = /^\d{1,19}$/;

@Controller()
export class EventsController {
  constructor(
    private readonly rooms: RoomsService,
    private readonly calls: OpenCalls,
    @Inject(CLOCK) private readonly clock: Clock,
  ) {}

  @Route('roomEvents')
  async follow(@Asked() { principal, params, query, signal, request, reply }: Call<'roomEvents'>): Promise<Readable> {
    const last = request.headers['last-event-id'];
    // What is no number of ours cannot be resumed from: the whole history follows.
    const after = typeof last === 'string' && eventNumber.test(last) ? last : query.after;
    // An unknown room is a 404, and one that was destroyed and has nothing left to tell a 410: neither is a stream without an end.
    const [next] = await this.rooms.events(principal, params.roomId, { limit: 1, ...(after === undefined ? {} : { after }) });
    if (!next) await this.rooms.get(principal, params.roomId);
    this.calls.follows(signal);
    void reply.headers(eventStreamHeaders);
    return eventStream(this.#events(followRoom(this.rooms, principal, params.roomId, after, signal)), this.clock, signal);
  }

  async *#events(events: ReturnType<typeof followRoom>): AsyncGenerator<SseEvent> {
    for await (const event of events) yield { event: event.type, id: event.id, data: event };
  }
}
