import type { Readable } from 'node:stream';
import { Controller, Inject } from '@nestjs/common';
import type { Clock } from '@alcove/base';
import { invocationHeaders, RoomFiguresList, sessionHeader } from '@alcove/contracts';
import { OpenCalls } from '../door/open-calls';
import { Asked, Route, type Call } from '../door/route';
import { passOn, pathWith, pick, readAnswer, tellRoute } from '../streams/answers';
import { execEvents } from '../streams/exec-events';
import { logEvents } from '../streams/log-events';
import { RoomCalls } from '../streams/room-calls';
import { eventStream, eventStreamHeaders } from '../streams/sse';
import { CLOCK } from '../tokens';

@Controller()
export class InRoomController {
  constructor(
    private readonly roomCalls: RoomCalls,
    private readonly openCalls: OpenCalls,
    @Inject(CLOCK) private readonly clock: Clock,
  ) {}

  @Route('invoke')
  async invoke(@Asked() { principal, params, body, signal, request, reply }: Call<'invoke'>): Promise<Readable> {
    const headers = { 'content-type': 'application/json', [sessionHeader]: params.roomId, ...pick(request.headers, invocationHeaders.toAgent) };
    const answer = await this.roomCalls.open({ principal, roomId: params.roomId, wake: true, signal, method: 'POST', path: 'invocations', headers, body: body ?? Buffer.alloc(0) });
    return passOn(reply, answer, invocationHeaders.fromAgent);
  }

  @Route('exec')
  async exec(@Asked() { principal, params, query, body, signal, reply }: Call<'exec'>): Promise<Readable> {
    const headers = { 'content-type': 'application/json' };
    const answer = await this.roomCalls.open({ principal, roomId: params.roomId, wake: query.wake, signal, method: 'POST', path: 'exec', headers, body: JSON.stringify(body) });
    tellRoute(reply, answer);
    void reply.headers(eventStreamHeaders);
    return eventStream(execEvents(answer.body, signal), this.clock, signal);
  }

  @Route('figures')
  async figures(@Asked() { principal, params, signal, reply }: Call<'figures'>): Promise<RoomFiguresList> {
    const answer = await this.roomCalls.open({ principal, roomId: params.roomId, wake: false, signal, method: 'GET', path: 'figures' });
    tellRoute(reply, answer);
    return readAnswer(answer, RoomFiguresList);
  }

  @Route('logs')
  async logs(@Asked() { principal, params, query, signal, request, reply }: Call<'logs'>): Promise<Readable> {
    const { wake, follow, tailBytes } = query;
    const answer = await this.roomCalls.open({ principal, roomId: params.roomId, wake, signal, method: 'GET', path: pathWith('logs', { follow, tailBytes }) });
    if (follow) this.openCalls.follows(signal);
    tellRoute(reply, answer);
    if (request.headers.accept?.includes('text/event-stream')) {
      void reply.headers(eventStreamHeaders);
      return eventStream(logEvents(answer.body), this.clock, signal);
    }
    void reply.type('text/plain; charset=utf-8');
    return answer.body;
  }
}
