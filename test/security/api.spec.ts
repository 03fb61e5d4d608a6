import { request as rawRequest } from 'node:http';
import { connect } from 'node:net';
import { limits, newId, newUuid } from '@alcove/base';
import { problemCodes, Room, type NewApiKey, type ProblemBody, type Scope } from '@alcove/contracts';
import { Db } from '@alcove/db';
import fc from 'fast-check';
import { doorTable, type RouteId, type RouteSpec } from '../../apps/api/src/door/route';
import { until } from '../integration/api/conditions';
import { makeIdentities, removeIdentities, startRig, type CallOptions, type Rig } from '../integration/api/rig';
import { postJson, StubHost } from '../integration/api/stub-host';

/** Every route of the table with every key that should not open it, and with bodies that make no sense. */
let rig: Rig;
let host: StubHost;
let identities: Awaited<ReturnType<typeof makeIdentities>>;
let own: { tenantId: string; key: NewApiKey };
let foreign: NewApiKey;
let roomId: string;

const seed = 20261120;
/** Both faces: the platform's own routes, and those for E2B's clients. */
const rows = Object.entries(doorTable) as [RouteId, RouteSpec][];
const keyed = rows.filter(([, route]) => route.access !== 'open');

beforeAll(async () => {
  const hostId = newId('host');
  identities = await makeIdentities([hostId]);
  host = new StubHost(hostId, identities.of(hostId));
  await host.listen();
  rig = await startRig(identities);
  await host.sendBeat(rig.internalUrl);
  const made = await rig.tenant({ roomsPerUser: 1000 });
  own = { tenantId: made.tenant.id, key: made.key };
  foreign = (await rig.tenant()).key;
  const room = await rig.call('POST', '/v1/rooms', { key: own.key.key, json: { userId: 'owner' } });
  roomId = Room.parse(await room.json()).id;
  await until('the room runs', async () => ((await (await rig.call('GET', `/v1/rooms/${roomId}`, { key: own.key.key })).json()) as Room).state === 'running');
});
afterAll(async () => {
  await rig?.close();
  await host?.close();
  removeIdentities(identities);
});

/** The path with ids that exist for the owner. */
function pathOf(route: RouteSpec): string {
  const sandboxId = roomId.replace('room_', 'i');
  const ids: Record<string, string> = { roomId, sandboxId, userId: 'owner', tenantId: own.tenantId, keyId: own.key.id, name: 'TOKEN', asset: 'swagger-ui.css', pid: '7', port: '8080', snapshotId: `snap_${'0'.repeat(20)}`, templateId: `snap_${'0'.repeat(20)}`, memoryId: `mem_${'0'.repeat(20)}`, eventId: `mev_${'0'.repeat(20)}`, consolidationId: `mco_${'0'.repeat(20)}`, rotationId: `rot_${'0'.repeat(20)}`, label: 'persona' };
  const path = route.path.replaceAll(/:(\w+)/g, (_, name: string) => ids[name] ?? name).replace('*', 'x');
  if (!route.query || route.query === 'any') return path;
  if ('path' in route.query.shape) return `${path}?path=x`;
  return 'mode' in route.query.shape ? `${path}?mode=erase` : path;
}

const source = { kind: 'message', trust: 'user' };
/** What may be remembered before the first room: these make the user, in the caller's own tenant. */
const makesUser: ReadonlySet<RouteId> = new Set<RouteId>(['addMemory', 'setBlock', 'addMemoryEvent']);
const bodies: Partial<Record<RouteId, CallOptions>> = {
  addMemory: { json: { kind: 'fact', content: 'x', source } },
  changeMemory: { json: { content: 'x' }, headers: { 'if-match': '1' } },
  searchMemory: { json: { query: 'x' } },
  setBlock: { json: { content: 'x', source } },
  addMemoryEvent: { json: { session: 's', role: 'user', content: 'x', source } },
  setMemoryPolicy: { json: { embeddings: null } },
  sealMemoryExport: { json: { certificate: 'x' } },
  createTenant: { json: { name: 'x' } },
  changeTenant: { json: { sandboxesPerUser: 5 } },
  createKey: { json: { name: 'x' } },
  setKeyProvider: { json: { kind: 'vault_transit', url: 'https://vault.example', key: 'k', credentials: { token: 't' } } },
  rotateKey: { json: {} },
  createRoom: { json: { userId: 'u' } },
  setEnv: { json: { A: '1' } },
  invoke: { json: {} },
  exec: { json: { command: 'true' } },
  writeFile: { body: 'x' },
  moveFile: { json: { from: 'a', to: 'b' } },
  makeFolder: { json: { path: 'a' } },
  setTimeout: { json: { timeoutMs: 60_000 } },
  setLifecycle: { json: { onTimeout: 'pause' } },
  setNetwork: { json: { allowOut: [] } },
  setMetadata: { json: {} },
  takeSnapshot: { json: {} },
  forkRoom: { json: {} },
  startProcess: { json: { command: ['true'] } },
  writeProcess: { body: 'x' },
  signalProcess: { json: { signal: 'SIGTERM' } },
  resizeProcess: { json: { cols: 80, rows: 24 } },
  e2bCreate: { json: { templateID: 'default' } },
  e2bCreateV1: { json: { templateID: 'base' } },
  e2bConnect: { json: { timeout: 60 } },
  e2bConnectV1: { json: { timeout: 60 } },
  e2bResumeV1: { json: {} },
  e2bPause: { json: {} },
  e2bTimeout: { json: { timeout: 60 } },
  e2bRefreshV1: { json: {} },
  e2bNetwork: { json: { allowOut: ['a.example'] } },
  e2bSnapshot: { json: {} },
  e2bFork: { json: { count: 1 } },
  e2bTag: { json: { target: 'base', tags: ['a'] } },
  e2bUntag: { json: { name: 'base', tags: ['a'] } },
};

function methodOf(route: RouteSpec): string {
  return route.method === 'ALL' ? 'PATCH' : route.method;
}

async function refusal(id: RouteId, route: RouteSpec, key: string | null, headers: Record<string, string> = {}): Promise<{ id: RouteId; status: number; code: string; asProblem: boolean }> {
  const answer = await rig.call(methodOf(route), pathOf(route), { ...bodies[id], key, headers: { ...bodies[id]?.headers, ...headers } });
  const told = answer.headers.get('x-request-id') !== null;
  const type = answer.headers.get('content-type');
  if (route.face === 'e2b') {
    const { code, message, error_code } = (await answer.json().catch(() => ({}))) as { code?: number; message?: string; error_code?: string };
    return { id, status: answer.status, code: error_code ?? 'none', asProblem: told && type === 'application/json; charset=utf-8' && code === answer.status && typeof message === 'string' };
  }
  const body = (await answer.json().catch(() => ({}))) as Partial<ProblemBody>;
  return { id, status: answer.status, code: body.code ?? 'none', asProblem: told && type === 'application/problem+json' };
}

async function keyWith(options: { scopes?: Scope[]; expiresAt?: string }): Promise<NewApiKey> {
  const answer = await rig.call('POST', `/v1/tenants/${own.tenantId}/keys`, { key: rig.platformKey, json: { name: 'k', ...options } });
  expect(answer.status).toBe(201);
  return (await answer.json()) as NewApiKey;
}

describe('every route that needs a key', () => {
  it.each(keyed)('%s refuses no key, a wrong one and nonsense', async (id, route) => {
    const wrong = `ak_${'0'.repeat(20)}_${'0'.repeat(64)}`;
    expect(await refusal(id, route, null)).toEqual({ id, status: 401, code: 'auth.missing', asProblem: true });
    for (const key of [wrong, 'x', own.key.key.slice(0, -1), `${own.key.key}0`, own.key.key.toUpperCase()]) expect(await refusal(id, route, key)).toEqual({ id, status: 401, code: 'auth.invalid', asProblem: true });
    expect(await refusal(id, route, null, { authorization: own.key.key })).toEqual({ id, status: 401, code: 'auth.invalid', asProblem: true });
    // E2B's header is E2B's: elsewhere it is no key at all, and there it counts more than the other one.
    for (const key of [wrong, 'x', `${own.key.key}0`]) {
      const seen = await refusal(id, route, route.face ? own.key.key : null, { 'x-api-key': key });
      expect(seen).toEqual({ id, status: 401, code: route.face ? 'auth.invalid' : 'auth.missing', asProblem: true });
    }
  });

  it('refuses an expired and a revoked key', async () => {
    const revoked = await keyWith({});
    await rig.call('DELETE', `/v1/tenants/${own.tenantId}/keys/${revoked.id}`, { key: rig.platformKey });
    const expiring = await keyWith({ expiresAt: '2999-01-01T00:00:00.000Z' });
    await expire(expiring.id);
    for (const [id, route] of keyed) {
      expect(await refusal(id, route, revoked.key)).toEqual({ id, status: 401, code: 'auth.revoked', asProblem: true });
      expect(await refusal(id, route, expiring.key)).toEqual({ id, status: 401, code: 'auth.expired', asProblem: true });
    }
  });

  it('refuses a key with every scope but its own', async () => {
    const others: Scope[] = ['rooms:read', 'rooms:write', 'rooms:exec', 'users:write', 'keys:write', 'memory:read', 'memory:write'];
    for (const scope of [...others, 'platform' as const]) {
      const key = scope === 'platform' ? own.key.key : (await keyWith({ scopes: others.filter((other) => other !== scope) })).key;
      for (const [id, route] of keyed.filter(([, row]) => row.access === scope)) expect(await refusal(id, route, key)).toEqual({ id, status: 403, code: 'auth.scope', asProblem: true });
    }
  });

  it("shows the operator's key no tenant's rooms", async () => {
    for (const [id, route] of keyed.filter(([, row]) => row.access !== 'platform' && row.access !== 'docs')) expect(await refusal(id, route, rig.platformKey)).toMatchObject({ id, status: 403, code: 'auth.scope' });
  });

  it("answers another tenant's ids as if they did not exist", async () => {
    // A terminal is a WebSocket, and refused as one: below.
    const ofRooms = keyed.filter(([id, route]) => id !== 'pty' && /:(roomId|sandboxId)/.test(route.path));
    expect(ofRooms.length).toBeGreaterThan(44);
    for (const [id, route] of ofRooms) expect(await refusal(id, route, foreign.key)).toEqual({ id, status: 404, code: 'room.not_found', asProblem: true });
    const ofUsers = keyed.filter(([id, row]) => row.path.includes(':userId') && !makesUser.has(id));
    for (const [id, route] of ofUsers) expect(await refusal(id, route, foreign.key)).toEqual({ id, status: 404, code: 'user.not_found', asProblem: true });
    expect(((await (await rig.call('GET', '/v1/rooms', { key: foreign.key })).json()) as { rooms: unknown[] }).rooms).toEqual([]);
    expect(((await (await rig.call('GET', '/v1/rooms', { key: own.key.key })).json()) as { rooms: unknown[] }).rooms).toHaveLength(1);
  });

  it('makes users of its own where it remembers something for a name that another tenant uses too', async () => {
    const other = (await rig.tenant()).key.key;
    for (const id of makesUser) expect((await rig.call(methodOf(doorTable[id]), pathOf(doorTable[id]), { ...bodies[id], key: other })).status).toBeLessThan(300);
    const memoriesFor = async (key: string): Promise<number> => ((await (await rig.call('GET', '/v1/users/owner/memory', { key })).json()) as { memories: unknown[] }).memories.length;
    expect([await memoriesFor(other), await memoriesFor(own.key.key)]).toEqual([2, 0]);
  });

  it('takes a key by Basic only for the documents', async () => {
    const headers = { authorization: `Basic ${Buffer.from(`anybody:${own.key.key}`).toString('base64')}` };
    for (const [id, route] of keyed.filter(([, row]) => row.access !== 'docs')) expect(await refusal(id, route, null, headers)).toMatchObject({ id, status: 401, code: 'auth.invalid' });
    for (const path of ['/docs', '/docs/swagger-ui-bundle.js', '/openapi.json']) {
      expect((await rig.call('GET', path, { headers })).status).toBe(200);
      const challenge = await rig.call('GET', path);
      expect([challenge.status, challenge.headers.get('www-authenticate')]).toEqual([401, expect.stringContaining('Basic realm=')]);
    }
  });
});

/** As if its time had come. */
async function expire(keyId: string): Promise<void> {
  await rig.api.app.get(Db).asSystem('test', (tx) => tx.apiKey.updateMany({ where: { id: keyId }, data: { expiresAt: new Date('2020-01-01') } }));
}

describe('nonsense', () => {
  const anyString = fc.oneof(fc.string({ unit: 'binary', maxLength: 40 }), fc.constantFrom('\0', '\ud800', '__proto__', "'; drop table room; --", '../../etc/passwd', '9'.repeat(400), '-1', 'null'));
  const anyJson = fc.jsonValue({ maxDepth: 4, stringUnit: 'binary' });

  /** A body like the right one, with one part of it replaced, added or removed. */
  const nearMiss = (good: unknown): fc.Arbitrary<unknown> =>
    typeof good !== 'object' || good === null
      ? anyJson
      : fc.tuple(fc.constantFrom(...Object.keys(good), 'metadata', 'size', 'env', 'extra', 'expiresAt', 'scopes'), fc.oneof(anyJson, anyString)).map(([name, value]) => ({ ...good, [name]: value }));

  it.each(rows)('%s never fails at a body or a query that makes no sense', async (id, route) => {
    const key = route.access === 'platform' ? rig.platformKey : own.key.key;
    // Destroying the room, or replacing the key, would leave the other routes nothing to fail at; following it has no end.
    const path = id === 'rotateKey' || id === 'destroyRoom' || id === 'roomEvents' || id === 'destroyUser' || id === 'revokeKey' ? '/v1/rooms/room_x' : id === 'e2bKill' ? '/sandboxes/ix' : pathOf(route);
    const good = bodies[id]?.json;
    const query = fc.dictionary(fc.constantFrom('path', 'limit', 'cursor', 'wake', 'after', 'metadata[a]', 'metadata', 'userId', 'state', 'nextToken', 'startedAfter', 'template', 'order', 'x'), anyString, { maxKeys: 3 });
    await fc.assert(
      fc.asyncProperty(fc.oneof(anyJson, nearMiss(good)), query, async (json, parameters) => {
        const url = new URL(path, rig.url);
        for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value.toWellFormed());
        const options: CallOptions = route.method === 'GET' ? { key } : { key, json };
        const answer = await rig.call(methodOf(route), `${url.pathname}${url.search}`, options);
        const text = await answer.text();
        expect({ id, json, parameters, status: answer.status, text: answer.status === 500 ? text : '' }).not.toMatchObject({ status: 500 });
        if (answer.status < 400 || answer.status === 503) return;
        if (route.face === 'e2b') expect(JSON.parse(text)).toEqual({ code: answer.status, message: expect.any(String), error_code: expect.any(String) });
        else expect(problemCodes).toHaveProperty([(JSON.parse(text) as ProblemBody).code]);
      }),
      { seed, numRuns: 25 },
    );
  });

  it('in a path is an id that was not found, or not a request', async () => {
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...rows), anyString, async ([, route], nonsense) => {
        const key = route.access === 'platform' ? rig.platformKey : own.key.key;
        const segment = encodeURIComponent(nonsense.toWellFormed()).slice(0, 1000) || '%00';
        if (!route.path.includes(':')) return;
        const answer = await rig.call(methodOf(route), route.path.replaceAll(/:(\w+)/g, segment).replace('*', segment), { key });
        expect([400, 404, 405, 413, 415, ...(route.face ? [501] : [])]).toContain(answer.status);
        await answer.body?.cancel();
      }),
      { seed, numRuns: 200 },
    );
  });

  it('on the wire is refused or cut off, and the next caller is served', async () => {
    const port = Number(new URL(rig.url).port);
    const lines = ['GARBAGE\r\n\r\n', 'GET / HTTP/9.9\r\n\r\n', `GET / HTTP/1.1\r\nhost: x\r\nx: ${'a'.repeat(limits.http.headerBytes * 2)}\r\n\r\n`, 'POST /v1/rooms HTTP/1.1\r\nhost: x\r\ncontent-length: -5\r\n\r\n', 'GET /%00 HTTP/1.1\r\nhost: x\r\n\r\n', 'GET http://[ HTTP/1.1\r\nhost: x\r\n\r\n', '\0\0\0\0'];
    for (const line of lines) {
      const text = await new Promise<string>((resolve) => {
        let heard = '';
        const socket = connect(port, '127.0.0.1', () => socket.end(line));
        socket.on('data', (chunk: Buffer) => (heard += chunk.toString()));
        socket.on('close', () => resolve(heard));
        socket.on('error', () => resolve(heard));
      });
      expect(text).toMatch(/^(HTTP\/1\.1 4\d\d |$)/);
    }
    expect((await rig.call('GET', '/healthz')).status).toBe(200);
  });
});

describe('a body', () => {
  const post = (headers: Record<string, string>, write: (send: (bytes: Buffer) => boolean) => void, path = '/v1/rooms', key: string | null = own.key.key): Promise<{ status: number; code: string }> =>
    new Promise((resolve, reject) => {
      const sent = rawRequest(`${rig.url}${path}`, { method: 'POST', headers: { ...(key ? { authorization: `Bearer ${key}` } : {}), ...headers }, agent: false }, (answer) => {
        let text = '';
        answer.on('data', (chunk: Buffer) => (text += chunk.toString()));
        answer.on('end', () => resolve({ status: answer.statusCode ?? 0, code: (JSON.parse(text) as ProblemBody).code }));
        answer.on('error', reject);
      });
      sent.on('error', reject);
      write((bytes) => sent.write(bytes));
    });

  it('that is announced too large is refused before it is sent', async () => {
    const headers = { 'content-type': 'application/json', 'content-length': String(limits.http.bodyBytes + 1) };
    expect(await post(headers, (send) => send(Buffer.from('{')))).toEqual({ status: 413, code: 'request.too_large' });
    const invocation = { ...headers, 'content-length': String(limits.http.invocationBodyBytes + 1) };
    expect(await post(invocation, (send) => send(Buffer.from('{')), `/v1/rooms/${roomId}/invocations`)).toEqual({ status: 413, code: 'request.too_large' });
  });

  it('that turns out too large is refused while it is sent', async () => {
    const headers = { 'content-type': 'application/json', 'transfer-encoding': 'chunked' };
    expect(await post(headers, (send) => send(Buffer.alloc(limits.http.bodyBytes + 1, 0x20)))).toEqual({ status: 413, code: 'request.too_large' });
  });

  it('of a stranger is not read at all', async () => {
    expect(await post({ 'content-type': 'application/json', 'content-length': '1000' }, (send) => send(Buffer.from('{')), '/v1/rooms', null)).toEqual({ status: 401, code: 'auth.missing' });
  });

  it.each([
    ['text', 'text/plain', '{}', 415, 'request.media_type'],
    ['a form', 'application/x-www-form-urlencoded', 'userId=u', 415, 'request.media_type'],
    ['no type', '', '{}', 415, 'request.media_type'],
    ['broken JSON', 'application/json', '{"userId":', 400, 'request.invalid'],
    ['a prototype', 'application/json', '{"userId":"u","__proto__":{"a":1}}', 400, 'request.invalid'],
    ['a constructor', 'application/json', '{"userId":"u","metadata":{"constructor":{"prototype":1}}}', 400, 'request.invalid'],
    ['no UTF-8', 'application/json', Buffer.from([0x22, 0xff, 0xfe, 0x22]), 400, 'request.invalid'],
    ['a NUL', 'application/json', '{"userId":"u","metadata":{"a":"\\u0000"}}', 400, 'request.invalid'],
    ['an unknown field', 'application/json', '{"userId":"u","colour":"red"}', 400, 'request.invalid'],
    ['a wrong type', 'application/json', '{"userId":7}', 400, 'request.invalid'],
    ['nothing', 'application/json', '', 400, 'request.invalid'],
  ])('of %s is refused', async (_name, type, content, status, code) => {
    const bytes = Buffer.from(content);
    const headers = { ...(type ? { 'content-type': type } : {}), 'content-length': String(bytes.length) };
    expect(await post(headers, (send) => send(bytes))).toEqual({ status, code });
  });
});

describe('limits', () => {
  it('hold a key to its rate and to what it may do at once', async () => {
    const answer = await rig.call('POST', `/v1/tenants/${own.tenantId}/keys`, { key: rig.platformKey, json: { name: 'slow', ratePerSecond: 1, concurrent: 2 } });
    const slow = (await answer.json()) as NewApiKey;
    const following = await Promise.all([1, 2].map(() => rig.call('GET', `/v1/rooms/${roomId}/events`, { key: slow.key })));
    expect(following.map((one) => one.status)).toEqual([200, 200]);
    const third = await rig.call('GET', '/v1/rooms', { key: slow.key });
    expect([third.status, ((await third.json()) as ProblemBody).code, third.headers.get('retry-after')]).toEqual([429, 'request.concurrency', '1']);
    for (const one of following) await one.body?.cancel();
    const seen = await until('the rate is used up', async () => {
      const one = await rig.call('GET', '/v1/rooms', { key: slow.key });
      const body = (await one.json()) as ProblemBody;
      return body.code === 'request.rate' && { status: one.status, retryAfter: one.headers.get('retry-after') };
    });
    expect(seen.status).toBe(429);
    expect(Number(seen.retryAfter)).toBeGreaterThan(0);
    expect((await rig.call('GET', '/v1/rooms', { key: own.key.key })).status).toBe(200);
  });
});

describe('the door for hosts', () => {
  it('lets a certificate speak for its own host only', async () => {
    const other = await host.sendBeat(rig.internalUrl, host.beat(), newId('host'));
    expect(other).toMatchObject({ status: 403, body: { code: 'auth.scope' } });
    const beat = await host.sendBeat(rig.internalUrl);
    expect(beat).toMatchObject({ status: 200, body: { leaseMs: expect.any(Number), end: [] } });
  });

  it('refuses beats that make no sense', async () => {
    expect(await host.sendBeat(rig.internalUrl, { ...host.beat(), extra: 1 })).toMatchObject({ status: 400, body: { code: 'request.invalid' } });
    expect(await host.sendBeat(rig.internalUrl, { ...host.beat(), sequence: -1 })).toMatchObject({ status: 400 });
  });

  it('does not speak to who has no certificate of ours', async () => {
    await expect(postJson(`${rig.internalUrl}/internal/hosts/${host.id}/heartbeat`, {}, { ca: host.tls.ca })).rejects.toThrow();
    const stranger = await makeIdentities(['stranger']);
    try {
      await expect(postJson(`${rig.internalUrl}/internal/hosts/${host.id}/heartbeat`, {}, { ...stranger.of('stranger'), ca: host.tls.ca })).rejects.toThrow();
    } finally {
      removeIdentities(stranger);
    }
  });

  it('has no public route behind it, and the public port none of its own', async () => {
    expect((await rig.call('POST', `/internal/hosts/${host.id}/heartbeat`, { key: rig.platformKey, json: {} })).status).toBe(404);
    expect((await host.sendBeat(rig.internalUrl.replace('/internal', ''), {}, `${newUuid()}`)).status).toBe(403);
  });
});
