import { Room } from '@alcove/contracts';
import type { CallOptions, Rig } from './rig';

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Record<string, unknown>;
}

/** Calls of E2B's clients on a rig's API, with that key where none is given. */
export function e2bCalls(rig: () => Rig, key: () => string) {
  async function e2b(method: string, path: string, json?: unknown, options: CallOptions & { apiKey?: string } = {}): Promise<Answer> {
    const { apiKey = key(), headers, ...rest } = options;
    const answer = await rig().call(method, path, { ...rest, ...(json === undefined ? {} : { json }), headers: { 'x-api-key': apiKey, ...headers } });
    const text = await answer.text();
    return { status: answer.status, headers: answer.headers, body: text === '' ? {} : (JSON.parse(text) as Record<string, unknown>) };
  }

  async function create(asked: Record<string, unknown> = {}): Promise<string> {
    const made = await e2b('POST', '/v2/sandboxes', { templateID: 'base', ...asked });
    expect(made).toMatchObject({ status: 201 });
    return made.body['sandboxID'] as string;
  }

  const roomOf = async (sandboxId: string): Promise<Room> => Room.parse(await (await rig().call('GET', `/v1/rooms/room_${sandboxId.slice(1)}`, { key: key() })).json());
  return { e2b, create, roomOf };
}
