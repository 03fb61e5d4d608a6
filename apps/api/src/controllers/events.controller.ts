import type { Readable } from 'node:stream';
import { Controller, Inject } from '@nestjs/common';
import type { Clock } from '@alcove/base';
import { RoomsService } from '@alcove/rooms';
import { OpenCalls } from '../door/open-calls';
import { Asked, Route, type Call } from '../door/route';
import { followRoom } from '../streams/follow-room';
import { eventStream, type SseEvent } from '../streams/sse';
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
    // An unknown room is a 404 and not a stream that breaks off.
    await this.rooms.get(principal, params.roomId);
    this.calls.follows(signal);
    const last = request.headers['last-event-id'];
    // What is no number of ours cannot be resumed from: the whole history follows.
    const after = typeof last === 'string' && eventNumber.test(last) ? last : query.after;
    void reply.type('text/event-stream');
    return eventStream(this.#events(followRoom(this.rooms, principal, params.roomId, after, signal)), this.clock, signal);
  }

  async *#events(events: ReturnType<typeof followRoom>): AsyncGenerator<SseEvent> {
    for await (const event of events) yield { event: event.type, id: event.id, data: event };
  }
}
