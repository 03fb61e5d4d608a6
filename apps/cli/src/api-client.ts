import type { Room, RoomPage, WakeAnswer } from '@alcove/contracts';
import { CliFailure } from './failure';

/** The platform answered with a problem (RFC 9457). */
export class ApiProblem extends CliFailure {
  constructor(
    readonly status: number,
    readonly code: string,
    what: string,
    detail: string,
  ) {
    super(`${what} was answered with ${status} ${code}${detail ? `: ${detail}` : ''}`);
  }
}

export interface ServerSentEvent {
  event: string;
  data: string;
  id: string;
}

interface CallOptions {
  json?: unknown;
  bytes?: Uint8Array;
  headers?: Record<string, string>;
  signal?: AbortSignal;
}

/** The agent's answer to one message, and what the platform says about the room beside it. */
export interface Invocation {
  body: unknown;
  resumedFrom: string | null;
  wokenMs: number | null;
  status: number;
}

const rooms = '/v1/rooms';

/** The public HTTP API as any tenant sees it: nothing here knows more than /openapi.json says. */
export class ApiClient {
  constructor(
    readonly url: string,
    readonly key: string,
  ) {}

  /** One call. Throws ApiProblem for a status of 400 and above, CliFailure when nobody answers. */
  async call(method: string, path: string, options: CallOptions = {}): Promise<Response> {
    const body = options.json === undefined ? options.bytes : JSON.stringify(options.json);
    const type = options.json === undefined ? 'application/octet-stream' : 'application/json';
    const headers = { authorization: `Bearer ${this.key}`, ...(body === undefined ? {} : { 'content-type': type }), ...options.headers };
    let answer: Response;
    try {
      answer = await fetch(`${this.url}${path}`, { method, headers, ...(body === undefined ? {} : { body: body as NonNullable<RequestInit['body']> }), ...(options.signal && { signal: options.signal }) });
    } catch (cause) {
      throw new CliFailure(`${method} ${path}: nobody answers at ${this.url}`, { cause });
    }
    if (answer.status < 400) return answer;
    const text = await answer.text();
    throw problemOf(answer.status, `${method} ${path}`, text);
  }

  async json<T>(method: string, path: string, json?: unknown): Promise<T> {
    const answer = await this.call(method, path, { json });
    return (await answer.json()) as T;
  }

  createRoom(body: { userId: string; kind?: 'room' | 'sandbox'; template?: string; metadata?: Record<string, string>; env?: Record<string, string> }): Promise<Room> {
    return this.json('POST', rooms, body);
  }

  room(id: string): Promise<Room> {
    return this.json('GET', `${rooms}/${id}`);
  }

  hibernate(id: string): Promise<Room> {
    return this.json('POST', `${rooms}/${id}/hibernate`);
  }

  wake(id: string): Promise<WakeAnswer> {
    return this.json('POST', `${rooms}/${id}/wake`);
  }

  async destroyRoom(id: string): Promise<void> {
    await (await this.call('DELETE', `${rooms}/${id}`)).arrayBuffer();
  }

  /** Every room that the key sees, page by page. */
  async *rooms(query: Record<string, string> = {}): AsyncGenerator<Room> {
    let cursor: string | null = null;
    do {
      const search = new URLSearchParams({ ...query, limit: '200', ...(cursor === null ? {} : { cursor }) });
      const page: RoomPage = await this.json('GET', `${rooms}?${search.toString()}`);
      yield* page.rooms;
      cursor = page.nextCursor;
    } while (cursor !== null);
  }

  /** Sends a message to the agent in the room and reads the whole answer. */
  async invoke(id: string, body: unknown, signal?: AbortSignal): Promise<Invocation> {
    const answer = await this.call('POST', `${rooms}/${id}/invocations`, { json: body, headers: { accept: 'application/json' }, ...(signal && { signal }) });
    const text = await answer.text();
    return { body: JSON.parse(text) as unknown, ...aboutWaking(answer) };
  }

  /** Sends a message and yields the agent's answer event by event, as it is produced. */
  async *converse(id: string, body: unknown): AsyncGenerator<ServerSentEvent> {
    const answer = await this.call('POST', `${rooms}/${id}/invocations`, { json: body, headers: { accept: 'text/event-stream' } });
    yield* serverSentEvents(answer);
  }

  /** Follows the room's events from `after` on until the signal ends it. */
  async *roomEvents(id: string, after: string | null, signal: AbortSignal): AsyncGenerator<ServerSentEvent> {
    const answer = await this.call('GET', `${rooms}/${id}/events`, { headers: after === null ? {} : { 'last-event-id': after }, signal });
    yield* serverSentEvents(answer);
  }
}

/** What the answer of an invocation says about the room. */
export function aboutWaking(answer: Response): Omit<Invocation, 'body'> {
  const woken = answer.headers.get('alcove-woken-ms');
  return { resumedFrom: answer.headers.get('alcove-resumed-from'), wokenMs: woken === null ? null : Number(woken), status: answer.status };
}

function problemOf(status: number, what: string, text: string): ApiProblem {
  try {
    const body = JSON.parse(text) as { code?: unknown; detail?: unknown; title?: unknown };
    return new ApiProblem(status, typeof body.code === 'string' ? body.code : 'unknown', what, String(body.detail ?? body.title ?? ''));
  } catch {
    return new ApiProblem(status, 'unknown', what, text.slice(0, 200));
  }
}

/** Parses a text/event-stream body (WHATWG HTML, section 9.2), comments left out. */
export async function* serverSentEvents(answer: Response): AsyncGenerator<ServerSentEvent> {
  if (!answer.body) return;
  const decoder = new TextDecoder();
  let rest = '';
  let event: ServerSentEvent = { event: 'message', data: '', id: '' };
  for await (const chunk of answer.body as unknown as AsyncIterable<Uint8Array>) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split(/\r\n|\n/);
    rest = lines.pop() ?? '';
    for (const line of lines) {
      if (line !== '') {
        event = withField(event, line);
        continue;
      }
      if (event.data !== '') yield { ...event, data: event.data.slice(0, -1) };
      event = { event: 'message', data: '', id: event.id };
    }
  }
}

function withField(event: ServerSentEvent, line: string): ServerSentEvent {
  const colon = line.indexOf(':');
  const field = colon < 0 ? line : line.slice(0, colon);
  const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
  if (field === 'data') return { ...event, data: `${event.data}${value}\n` };
  if (field === 'event') return { ...event, event: value };
  if (field === 'id') return { ...event, id: value };
  return event;
}
