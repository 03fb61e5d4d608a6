import type { Readable } from 'node:stream';
import { Controller, Inject } from '@nestjs/common';
import type { Clock } from '@alcove/base';
import { ProcessList } from '@alcove/contracts';
import type { z } from 'zod';
import { OpenCalls } from '../door/open-calls';
import { Asked, Route, type Call } from '../door/route';
import type { ProcessStarted } from '../door/routes';
import { dropBody, pathWith, readAnswer, tellRoute } from '../streams/answers';
import { execEvents } from '../streams/exec-events';
import { processEvents, startedPid } from '../streams/process-events';
import { RoomCalls, type RoomAnswer, type RoomCall } from '../streams/room-calls';
import { eventStream, eventStreamHeaders } from '../streams/sse';
import { CLOCK } from '../tokens';

type ProcessCall = Call<'startProcess' | 'listProcesses' | 'attachProcess' | 'writeProcess' | 'signalProcess' | 'resizeProcess'>;

@Controller()
export class ProcessesController {
  constructor(
    private readonly roomCalls: RoomCalls,
    private readonly openCalls: OpenCalls,
    @Inject(CLOCK) private readonly clock: Clock,
  ) {}

  /** The host tells what the process writes from its start on; nobody here listens, so only its number is waited for. */
  @Route('startProcess')
  async start(@Asked() call: Call<'startProcess'>): Promise<z.infer<typeof ProcessStarted>> {
    const listening = new AbortController();
    try {
      const answer = await this.#open(call, 'POST', 'processes', { ...json(call.body), signal: AbortSignal.any([call.signal, listening.signal]) });
      return { pid: await startedPid(processEvents(answer.body)) };
    } finally {
      listening.abort();
    }
  }

  @Route('listProcesses')
  async list(@Asked() call: Call<'listProcesses'>): Promise<ProcessList> {
    return readAnswer(await this.#open(call, 'GET', 'processes'), ProcessList);
  }

  @Route('attachProcess')
  async attach(@Asked() call: Call<'attachProcess'>): Promise<Readable> {
    const answer = await this.#open(call, 'GET', `processes/${call.params.pid}/output`);
    this.openCalls.follows(call.signal);
    void call.reply.headers(eventStreamHeaders);
    return eventStream(execEvents(answer.body, call.signal), this.clock, call.signal);
  }

  @Route('writeProcess')
  async write(@Asked() call: Call<'writeProcess'>): Promise<void> {
    const headers = { 'content-type': 'application/octet-stream' };
    dropBody(await this.#open(call, 'POST', pathWith(`processes/${call.params.pid}/input`, { close: call.query.close }), { headers, body: call.body ?? Buffer.alloc(0) }));
  }

  @Route('signalProcess')
  async signal(@Asked() call: Call<'signalProcess'>): Promise<void> {
    dropBody(await this.#open(call, 'POST', `processes/${call.params.pid}/signal`, json(call.body)));
  }

  @Route('resizeProcess')
  async resize(@Asked() call: Call<'resizeProcess'>): Promise<void> {
    dropBody(await this.#open(call, 'POST', `processes/${call.params.pid}/size`, json(call.body)));
  }

  async #open(call: ProcessCall, method: RoomCall['method'], path: string, sent: Partial<Pick<RoomCall, 'headers' | 'body' | 'signal'>> = {}): Promise<RoomAnswer> {
    const answer = await this.roomCalls.open({ principal: call.principal, roomId: call.params.roomId, wake: call.query.wake, signal: call.signal, method, path, ...sent });
    tellRoute(call.reply, answer);
    return answer;
  }
}

function json(body: unknown): Pick<RoomCall, 'headers' | 'body'> {
  return { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) };
}
