import type { Readable } from 'node:stream';
import { Controller, Inject } from '@nestjs/common';
import type { Clock } from '@alcove/base';
import { FileEntry, FileList } from '@alcove/contracts';
import type { z } from 'zod';
import { OpenCalls } from '../door/open-calls';
import { Asked, Route, type Call } from '../door/route';
import { FileWritten } from '../door/routes';
import { dropBody, passOn, pathWith, readAnswer, tellRoute } from '../streams/answers';
import { RoomCalls, type RoomAnswer, type RoomCall } from '../streams/room-calls';
import { eventStream, eventStreamHeaders } from '../streams/sse';
import { watchEvents } from '../streams/watch-events';
import { CLOCK } from '../tokens';

type FileCall = Call<'readFile' | 'writeFile' | 'removeFile' | 'listFiles' | 'statFile' | 'moveFile' | 'makeFolder' | 'watchFiles'>;

@Controller()
export class FilesController {
  constructor(
    private readonly roomCalls: RoomCalls,
    private readonly openCalls: OpenCalls,
    @Inject(CLOCK) private readonly clock: Clock,
  ) {}

  @Route('watchFiles')
  async watch(@Asked() call: Call<'watchFiles'>): Promise<Readable> {
    const answer = await this.#open(call, 'GET', 'files/watch');
    this.openCalls.follows(call.signal);
    void call.reply.headers(eventStreamHeaders);
    return eventStream(watchEvents(answer.body, call.signal), this.clock, call.signal);
  }

  @Route('readFile')
  async read(@Asked() call: Call<'readFile'>): Promise<Readable> {
    const answer = await this.#open(call, 'GET', 'files');
    void call.reply.type('application/octet-stream').header('content-disposition', 'attachment');
    return passOn(call.reply, answer, /^(content-length|alcove-file-[a-z-]+)$/);
  }

  @Route('writeFile')
  async write(@Asked() call: Call<'writeFile'>): Promise<z.infer<typeof FileWritten>> {
    const length = call.request.headers['content-length'];
    const headers = { 'content-type': 'application/octet-stream', ...(length === undefined ? {} : { 'content-length': length }) };
    const answer = await this.#open(call, 'PUT', 'files', { headers, body: call.body as Readable });
    return readAnswer(answer, FileWritten);
  }

  @Route('removeFile')
  async remove(@Asked() call: Call<'removeFile'>): Promise<void> {
    dropBody(await this.#open(call, 'DELETE', 'files'));
  }

  @Route('listFiles')
  async list(@Asked() call: Call<'listFiles'>): Promise<FileList> {
    return readAnswer(await this.#open(call, 'GET', 'files/list'), FileList);
  }

  @Route('statFile')
  async stat(@Asked() call: Call<'statFile'>): Promise<FileEntry> {
    return readAnswer(await this.#open(call, 'GET', 'files/stat'), FileEntry);
  }

  @Route('moveFile')
  async move(@Asked() call: Call<'moveFile'>): Promise<void> {
    dropBody(await this.#open(call, 'POST', 'files/move', json(call.body)));
  }

  @Route('makeFolder')
  async makeFolder(@Asked() call: Call<'makeFolder'>): Promise<void> {
    dropBody(await this.#open(call, 'POST', 'files/folder', json(call.body)));
  }

  async #open(call: FileCall, method: RoomCall['method'], path: string, sent: Partial<Pick<RoomCall, 'headers' | 'body'>> = {}): Promise<RoomAnswer> {
    const { wake, ...parameters } = call.query;
    const answer = await this.roomCalls.open({ principal: call.principal, roomId: call.params.roomId, wake, signal: call.signal, method, path: pathWith(path, parameters), ...sent });
    tellRoute(call.reply, answer);
    return answer;
  }
}

function json(body: unknown): Pick<RoomCall, 'headers' | 'body'> {
  return { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) };
}
