import { createServer, connect as connectTo, type AddressInfo, type Server } from 'node:net';
import { createRequire } from 'node:module';
import { Client, StreamableHTTPClientTransport, type ClientOptions, type FetchLike } from '@modelcontextprotocol/client';
import { silentLog, systemClock } from '@alcove/base';
import { MemoryInRam } from '@alcove/testing';
import { RoomDoors } from '../../apps/api/src/room-doors/room-doors';
import { DoorServer } from '../../apps/host/src/doors/door-server';
import { MinuteCount } from '../../apps/host/src/doors/minute-count';

/** The MCP server of the memory's door as the official client meets it: through the host's door server, with the control plane's routes behind it. */
type Undici = typeof import('undici');
const { Agent, fetch } = createRequire(__filename)('undici') as Undici;
const room = { hostId: 'host-1', roomId: 'room_00000000000000000001', incarnation: 1 };
const memory = new MemoryInRam();
const doors = new RoomDoors({ rooms: { ownerOf: async () => ({ tenantId: 'tenant-1', userId: 'ada' }) }, memory, log: silentLog, told: () => undefined });
const host = new DoorServer({ ask: (_room, call) => doors.answer(room, call), clock: systemClock, log: silentLog });
let server: Server;
let dispatcher: InstanceType<typeof Agent>;

beforeAll(async () => {
  server = createServer({ allowHalfOpen: true }, (socket) => void host.take(socket, { key: room, check: () => undefined, requests: new MinuteCount(600) }));
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  const { port } = server.address() as AddressInfo;
  dispatcher = new Agent({ connect: (_options, done) => {
    const socket = connectTo(port, '127.0.0.1', () => done(null, socket));
    socket.once('error', (error) => done(error, null));
  } });
});
afterAll(async () => {
  await dispatcher.destroy();
  server.close();
});

async function client(options: ClientOptions): Promise<Client> {
  const made = new Client({ name: 'test', version: '1.0.0' }, options);
  const through: FetchLike = (url, init) => fetch(url, { ...(init as object), dispatcher }) as unknown as Promise<Response>;
  await made.connect(new StreamableHTTPClientTransport(new URL('http://memory.alcove.internal/mcp'), { fetch: through }));
  return made;
}
const textOf = (result: Awaited<ReturnType<Client['callTool']>>) => (result.content as { text: string }[])[0]?.text;

describe.each<[string, ClientOptions, string]>([
  ['of today', { versionNegotiation: { mode: { pin: '2026-07-28' } } }, '2026-07-28'],
  ['that negotiates', { versionNegotiation: { mode: 'auto' } }, '2026-07-28'],
  ['of last year', { versionNegotiation: { mode: 'legacy' } }, '2025-11-25'],
])('the official client %s', (_what, options, version) => {
  it('finds the tools, remembers, recalls, lists and forgets', async () => {
    const mcp = await client(options);
    expect(mcp.getNegotiatedProtocolVersion()).toBe(version);
    expect(mcp.getServerVersion()).toMatchObject({ name: 'alcove-memory' });
    expect((await mcp.listTools()).tools.map(({ name }) => name)).toEqual(['remember', 'recall', 'forget', 'list']);
    const word = `marker${version.replaceAll('-', '')}${Math.trunc(performance.now())}`.replaceAll(/\d/g, (digit) => 'abcdefghij'[Number(digit)] ?? '');
    const remembered = await mcp.callTool({ name: 'remember', arguments: { content: `Likes ${word}.`, tags: ['taste'], trust: 'tool' } });
    const { id } = (remembered.structuredContent as { memory: { id: string } }).memory;
    expect(textOf(await mcp.callTool({ name: 'recall', arguments: { query: word } }))).toBe(`- [${id}] (fact, trust: tool) Likes ${word}.`);
    expect(textOf(await mcp.callTool({ name: 'list', arguments: {} }))).toContain(id);
    expect(await mcp.callTool({ name: 'forget', arguments: { id } })).toMatchObject({ structuredContent: { mode: 'retire', ids: [id] } });
    expect(textOf(await mcp.callTool({ name: 'recall', arguments: { query: word } }))).toBe('Nothing is remembered of that.');
    await mcp.close();
  });
  it('reads what it did wrong, and cannot claim its user’s word', async () => {
    const mcp = await client(options);
    for (const wrong of [{}, { content: '' }, { content: 'x', trust: 'user' }, { content: 'x', userId: 'bob' }]) {
      const refused = await mcp.callTool({ name: 'remember', arguments: wrong });
      expect(refused.isError).toBe(true);
      expect(textOf(refused)).toMatch(/^The request is not valid\. /);
    }
    await expect(mcp.callTool({ name: 'destroy', arguments: {} })).rejects.toMatchObject({ code: -32602 });
    await mcp.close();
  });
});

it('has served one user only', () => {
  expect(new Set(memory.callers.map(({ userId, actor, channel }) => `${userId} ${actor} ${channel}`))).toEqual(new Set([`ada room:${room.roomId} room`]));
});
