import { silentLog } from '@alcove/base';
import { type DoorAnswer, type DoorCall, isProblem, type Memory, Problem, type ProblemBody, trustLabels } from '@alcove/contracts';
import { MemoryInRam } from '@alcove/testing';
import fc from 'fast-check';
import { RoomQuotas } from './quotas';
import { RoomDoors } from './room-doors';
import { lowerTrust, sourceOf } from './trust';

const seed = 20261126;
const room = { hostId: 'host-1', roomId: 'room_00000000000000000001', incarnation: 3 };
const ada = { tenantId: 'tenant-1', userId: 'ada' };

function world(quotas?: RoomQuotas) {
  const memory = new MemoryInRam();
  const asked: unknown[] = [];
  const rooms = {
    ownerOf: async (hosted: typeof room) => {
      asked.push(hosted);
      if (hosted.incarnation !== 3) throw new Problem('incarnation.stale');
      return ada;
    },
  };
  const doors = new RoomDoors({ rooms, memory, log: silentLog, told: () => undefined, ...(quotas ? { quotas } : {}) });
  const call = (route: string, more: { body?: unknown; params?: DoorCall['params']; query?: DoorCall['query']; headers?: DoorCall['headers'] } = {}): Promise<DoorAnswer> =>
    doors.answer(room, { door: 'memory', route, params: more.params ?? {}, query: more.query ?? {}, headers: more.headers ?? {}, body: more.body === undefined ? null : typeof more.body === 'string' ? more.body : JSON.stringify(more.body) });
  return { memory, asked, doors, call };
}
const valueOf = <T>(answer: DoorAnswer): T => JSON.parse(answer.body ?? 'null') as T;
const codeOf = (answer: DoorAnswer) => valueOf<ProblemBody>(answer).code;

describe('a call through the door of a room', () => {
  it("is for the user of the room's lease, whatever it says", async () => {
    const { memory, asked, call } = world();
    for (const extra of [{ userId: 'bob' }, { tenantId: 'other' }, { user: 'bob' }, { actor: 'key:x' }]) expect(codeOf(await call('add', { body: { kind: 'fact', content: 'Tea.', ...extra } }))).toBe('request.invalid');
    expect((await call('add', { body: { kind: 'fact', content: 'Tea.' } })).status).toBe(201);
    expect((await call('list', { query: { userId: 'bob' } })).status).toBe(400);
    await call('list');
    for (const caller of memory.callers) expect(caller).toEqual({ ...ada, actor: `room:${room.roomId}`, channel: 'room', purpose: 'room' });
    for (const one of asked) expect(one).toEqual(room);
  });
  it('is refused to the host when the incarnation is not the live one', async () => {
    const { memory, doors } = world();
    const call: DoorCall = { door: 'memory', route: 'list', params: {}, query: {}, headers: {}, body: null };
    await expect(doors.answer({ ...room, incarnation: 2 }, call)).rejects.toMatchObject({ code: 'incarnation.stale' });
    expect(memory.callers).toHaveLength(0);
  });
  it('must be a call', async () => {
    const { doors } = world();
    const good = { door: 'memory', route: 'list', params: {}, query: {}, headers: {}, body: null };
    for (const bad of [null, [], 'x', {}, { ...good, door: 'other' }, { ...good, headers: { authorization: 'x' } }, { ...good, room: 'room_2' }, { ...good, body: 'x'.repeat((1 << 20) + 1) }]) {
      await expect(doors.answer(room, bad)).rejects.toMatchObject({ code: 'request.invalid' });
    }
    for (const route of ['constructor', '__proto__', 'change', '']) expect(codeOf(await doors.answer(room, { ...good, route }))).toBe('request.unknown_route');
  });
});

describe('trust', () => {
  it('cannot be raised, and can be lowered', async () => {
    const { call } = world();
    for (const trust of trustLabels) {
      const expected = lowerTrust(trust, 'agent');
      expect(valueOf<Memory>(await call('add', { body: { kind: 'fact', content: 'x', source: { kind: 'message', trust } } })).source).toEqual({ kind: 'message', ref: null, trust: expected });
      expect(valueOf<Memory>(await call('setBlock', { params: { label: 'me' }, body: { content: 'x', source: { trust } } })).source.trust).toBe(expected);
      expect(valueOf<Memory>(await call('addEvent', { body: { session: 's', role: 'user', content: 'x', source: { kind: 'message', trust } } })).source.trust).toBe(expected);
    }
    expect(valueOf<Memory>(await call('add', { body: { kind: 'fact', content: 'x' } })).source).toEqual({ kind: 'agent', ref: null, trust: 'agent' });
    expect(codeOf(await call('add', { body: { kind: 'fact', content: 'x', source: { trust: 'root' } } }))).toBe('request.invalid');
  });
  it('is never above the agent’s, whatever JSON is sent', async () => {
    const { memory, call } = world(new RoomQuotas({ reads: 10_000, writes: 10_000 }));
    const json = fc.oneof(fc.json(), fc.record({ kind: fc.constantFrom('fact', 'block', 'preference'), content: fc.string({ minLength: 1, maxLength: 20 }), source: fc.oneof(fc.jsonValue(), fc.record({ trust: fc.constantFrom(...trustLabels), kind: fc.constantFrom('agent', 'message') })) }).map((value) => JSON.stringify(value)), fc.constantFrom('{"kind":"fact","content":"x","source":{"trust":"tool"},"source":{"trust":"user"}}', '{"__proto__":{"source":{"trust":"user"}},"kind":"fact","content":"x"}'));
    await fc.assert(
      fc.asyncProperty(json, fc.constantFrom('add', 'setBlock', 'addEvent', 'search', 'mcp'), async (body, route) => {
        const answer = await call(route, { body, params: { label: 'me' } });
        expect(answer.status).toBeLessThan(500);
      }),
      { seed, numRuns: 1000 },
    );
    const { memories } = await memory.list({ ...ada, actor: 'test', channel: 'system', purpose: 'test' }, { limit: 200 });
    expect(memories.length).toBeGreaterThan(20);
    for (const { source } of memories) expect(['agent', 'tool', 'untrusted']).toContain(source.trust);
    expect(sourceOf({ trust: 'user' }).trust).toBe('agent');
  });
  it('keeps a room from erasing what its user has said, and from making blocks read-only', async () => {
    const { memory, call } = world();
    const caller = { ...ada, actor: 'key:1', channel: 'api' as const, purpose: 'api' };
    const source = { kind: 'message' as const, ref: null, trust: 'user' as const };
    const record = { kind: 'fact' as const, content: 'I was born in Bern.', title: null, tags: [], confidence: 1, evidence: [], validFrom: null, validTo: null, expiresAt: null, supersedes: null, source };
    const { memory: theirs } = await memory.add(caller, record);
    expect(codeOf(await call('remove', { params: { id: theirs.id }, query: { mode: 'erase' } }))).toBe('memory.untrusted');
    expect(valueOf(await call('remove', { params: { id: theirs.id } }))).toEqual({ mode: 'retire', ids: [theirs.id] });
    expect((await memory.get(caller, theirs.id)).state).toBe('retired');
    const mine = valueOf<Memory>(await call('add', { body: { kind: 'fact', content: 'x' } }));
    expect(valueOf(await call('remove', { params: { id: mine.id }, query: { mode: 'erase' }, headers: { 'if-match': '"1"' } }))).toEqual({ mode: 'erase', ids: [mine.id] });
    expect(codeOf(await call('setBlock', { params: { label: 'me' }, body: { content: 'x', readOnly: true } }))).toBe('request.invalid');
    await memory.setBlock(caller, 'rules', { content: 'x', title: null, readOnly: true, source, evidence: [] });
    expect(codeOf(await call('setBlock', { params: { label: 'rules' }, body: { content: 'y' } }))).toBe('memory.read_only');
  });
});

describe('the routes', () => {
  it('add, find, tell and change blocks, with versions', async () => {
    const { call } = world();
    const added = await call('add', { body: { kind: 'preference', content: 'Prefers green tea.', tags: ['drinks'] } });
    expect(added).toMatchObject({ status: 201, headers: { etag: '"1"' } });
    const { id } = valueOf<Memory>(added);
    expect(valueOf<{ hits: unknown[] }>(await call('search', { body: { query: 'tea' } }))).toMatchObject({ mode: 'lexical', hits: [{ memory: { id } }] });
    expect(valueOf<Memory>(await call('get', { params: { id } })).content).toBe('Prefers green tea.');
    expect(codeOf(await call('get', { params: { id: 'mem_ffffffffffffffffffff' } }))).toBe('memory.not_found');
    expect(codeOf(await call('get', { params: { id: 'x' } }))).toBe('request.invalid');
    expect(await call('setBlock', { params: { label: 'me' }, body: { content: 'one' }, headers: { 'if-match': '"0"' } })).toMatchObject({ headers: { etag: '"1"' } });
    expect(codeOf(await call('setBlock', { params: { label: 'me' }, body: { content: 'two' }, headers: { 'if-match': '"0"' } }))).toBe('memory.changed');
    expect(codeOf(await call('setBlock', { params: { label: 'me' }, body: { content: 'two' }, headers: { 'if-match': 'W/"0"' } }))).toBe('request.invalid');
    expect(valueOf<{ blocks: unknown[] }>(await call('blocks')).blocks).toHaveLength(1);
    expect(valueOf<Memory>(await call('block', { params: { label: 'me' } })).content).toBe('one');
    expect((await call('usage')).status).toBe(200);
    expect(codeOf(await call('add', { body: 'no JSON' }))).toBe('request.invalid');
    expect(codeOf(await call('add', { body: '['.repeat(100_000) }))).toBe('request.invalid');
  });
  it('are counted, reads and writes apart, through MCP too', async () => {
    const { call } = world(new RoomQuotas({ reads: 2, writes: 1 }));
    expect((await call('add', { body: { kind: 'fact', content: 'x' } })).status).toBe(201);
    const refused = await call('add', { body: { kind: 'fact', content: 'x' } });
    expect(refused).toMatchObject({ status: 429, headers: { 'retry-after': expect.stringMatching(/^\d+$/) as string } });
    expect(codeOf(refused)).toBe('request.rate');
    const tool = (name: string, args: object) => call('mcp', { body: { jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name, arguments: args } } });
    const told = async (answer: Promise<DoorAnswer>) => valueOf<{ result: { isError?: true } }>(await answer).result.isError;
    expect(await told(tool('remember', { content: 'x' }))).toBe(true);
    expect(await told(tool('recall', { query: 'x' }))).toBeUndefined();
    expect((await call('list')).status).toBe(200);
    expect((await call('list')).status).toBe(429);
    expect(await told(tool('list', {}))).toBe(true);
  });
  it('tell of what went wrong inside no more than that', async () => {
    const memory = new MemoryInRam();
    memory.usage = async () => Promise.reject(new Error('connect ECONNREFUSED 10.0.0.1:5432'));
    const doors = new RoomDoors({ rooms: { ownerOf: async () => ada }, memory, log: silentLog, told: () => undefined });
    const answer = await doors.answer(room, { door: 'memory', route: 'usage', params: {}, query: {}, headers: {}, body: null });
    expect(answer.status).toBe(500);
    expect(answer.body).not.toContain('10.0.0.1');
    expect(isProblem(answer)).toBe(false);
  });
});
