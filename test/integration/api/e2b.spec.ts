import { newId } from '@alcove/base';
import { edgePaths, Problem, type NewApiKey, type Room } from '@alcove/contracts';
import { Db } from '@alcove/db';
import { until } from './conditions';
import { e2bCalls } from './e2b-calls';
import { makeIdentities, removeIdentities, startRig, type Rig } from './rig';
import { postJson, StubHost, template } from './stub-host';

/** What E2B's clients ask and are answered, on real Postgres, with a host over real mutual TLS that runs nothing. */
let rig: Rig;
let host: StubHost;
let identities: Awaited<ReturnType<typeof makeIdentities>>;
let key: NewApiKey;

const domain = 'rooms.test:8443';

beforeAll(async () => {
  const hostId = newId('host');
  identities = await makeIdentities([hostId, 'edge']);
  host = new StubHost(hostId, identities.of(hostId));
  await host.listen();
  rig = await startRig(identities, { config: { e2b: { domain, base: 'default' } } });
  expect((await host.sendBeat(rig.internalUrl)).status).toBe(200);
  key = (await rig.tenant()).key;
});
afterAll(async () => {
  await rig?.close();
  await host?.close();
  removeIdentities(identities);
});

const { e2b, create, roomOf } = e2bCalls(() => rig, () => key.key);

describe('refusals', () => {
  it('are in the words of the protocol, on routes that are there and on those that are not', async () => {
    const none = `i${'0'.repeat(20)}`;
    for (const [method, path, status, code] of [
      ['GET', `/sandboxes/${none}`, 404, 'room.not_found'],
      ['DELETE', `/sandboxes/${none}`, 404, 'room.not_found'],
      ['GET', '/sandboxes/not-an-id', 404, 'room.not_found'],
      ['GET', '/v2/nothing', 404, 'request.unknown_route'],
      ['PUT', '/v2/sandboxes', 405, 'request.method'],
      ['GET', '/volumes', 501, 'unsupported'],
      ['POST', '/secrets', 501, 'unsupported'],
      ['POST', '/v3/templates', 501, 'unsupported'],
      ['POST', '/v3/templates/x', 501, 'unsupported'],
      ['GET', '/v2/sandboxes?limit=0', 400, 'request.invalid'],
      ['GET', '/v2/sandboxes?metadata=%25zz', 400, 'request.invalid'],
      ['DELETE', '/templates/team%2Fname%3Atag', 404, 'snapshot.not_found'],
      ['GET', '/templates/aliases/nothing', 404, 'template.not_found'],
    ] as const) {
      const answer = await e2b(method, path);
      expect({ method, path, status: answer.status, body: answer.body }).toEqual({ method, path, status, body: { code: status, message: expect.any(String), error_code: code } });
    }
  });
});

describe('what there is to start from', () => {
  it('is told by name, by alias and by id', async () => {
    for (const alias of ['default', 'base', 'base:default', template.id]) expect(await e2b('GET', `/templates/aliases/${encodeURIComponent(alias)}`)).toMatchObject({ status: 200, body: { templateID: template.id } });
    const listed = await e2b('GET', '/templates');
    expect(listed.body).toMatchObject([{ templateID: template.id, aliases: ['default', 'base'], buildStatus: 'ready', memoryMB: 512 }]);
    expect((await e2b('GET', '/teams')).body).toMatchObject([{ isDefault: true }]);
  });
});

describe('a new sandbox', () => {
  it('is answered when it runs, with what opens it, and is a room of kind sandbox', async () => {
    const made = await e2b('POST', '/v2/sandboxes', { templateID: 'base', metadata: { team: 'a' }, envVars: { TOKEN: 'hunter2' }, somethingNew: { deep: true } });
    expect(made).toMatchObject({ status: 201, body: { sandboxID: expect.stringMatching(/^i[0-9a-f]{20}$/), templateID: template.id, alias: 'default', clientID: expect.any(String), envdVersion: expect.any(String), domain, trafficAccessToken: null } });
    expect((made.body['envdAccessToken'] as string).length).toBeGreaterThan(20);
    const room = await roomOf(made.body['sandboxID'] as string);
    expect(room).toMatchObject({ kind: 'sandbox', state: 'running', userId: `e2b:${key.id}`, metadata: { team: 'a' }, env: ['TOKEN'], lifecycle: { timeoutMs: 300_000, onTimeout: 'kill', keepMemory: true, autoResume: false } });
    const info = (await e2b('GET', `/sandboxes/${made.body['sandboxID'] as string}`)).body;
    expect(info).toMatchObject({ state: 'running', metadata: { team: 'a' }, lifecycle: { onTimeout: 'kill', autoResume: false }, cpuCount: 1, memoryMB: 512, diskSizeMB: 4096, envdAccessToken: made.body['envdAccessToken'], domain, volumeMounts: [] });
    expect(Date.parse(info['endAt'] as string) - Date.parse(info['startedAt'] as string)).toBeGreaterThanOrEqual(300_000);
    expect(JSON.stringify(info)).not.toContain('hunter2');
  });

  it('belongs to whom its metadata name, and lives as it was asked to', async () => {
    const asked = { metadata: { userId: 'anna' }, timeout: 77, autoPause: true, autoResume: { enabled: true }, network: { allowPublicTraffic: false, maskRequestHost: 'localhost:${PORT}', allowOut: ['a.example'] } };
    const made = await e2b('POST', '/v2/sandboxes', { templateID: 'base', ...asked });
    expect(made.body['trafficAccessToken']).toEqual(expect.any(String));
    const id = made.body['sandboxID'] as string;
    expect(await roomOf(id)).toMatchObject({ userId: 'anna', lifecycle: { timeoutMs: 77_000, onTimeout: 'pause', autoResume: true }, network: { allowPublicTraffic: false, allowOut: ['a.example'] } });
    expect((await e2b('GET', `/sandboxes/${id}`)).body).toMatchObject({ lifecycle: { onTimeout: 'pause', autoResume: true }, network: { allowPublicTraffic: false, maskRequestHost: 'localhost:${PORT}', allowOut: ['a.example'] } });
    expect(await roomOf(await create({ metadata: { userId: 'no name of one' } }))).toMatchObject({ userId: `e2b:${key.id}` });
    expect((await roomOf((await e2b('POST', '/sandboxes', { templateID: 'base' })).body['sandboxID'] as string)).lifecycle.timeoutMs).toBe(15_000);
  });

  it.each([
    ['no time', { timeout: 0 }, 400],
    ['less than no time', { timeout: -5 }, 400],
    ['a thousand years', { timeout: 10 ** 12 }, 400],
    ['no template', { templateID: undefined }, 400],
    ['a template that is not there', { templateID: 'nothing' }, 404],
    ['a snapshot that is not there', { templateID: `snap_${'0'.repeat(20)}` }, 404],
    ['to be resumed by traffic without memory', { autoPause: true, autoPauseMemory: false, autoResume: { enabled: true } }, 400],
    ['a volume', { volumeMounts: [{ name: 'v', path: '/v' }] }, 501],
    ['too much metadata', { metadata: Object.fromEntries(Array.from({ length: 100 }, (_, i) => [`k${i}`, 'v'])) }, 400],
    ['a metadata value that is no text', { metadata: { a: 1 } }, 400],
  ])('is refused when it asks for %s', async (_what, asked, status) => {
    const answer = await e2b('POST', '/v2/sandboxes', { templateID: 'base', ...asked });
    expect(answer).toMatchObject({ status, body: { code: status, message: expect.any(String) } });
  });

  it('is made once for one Idempotency-Key, whose answer is not kept', async () => {
    const headers = { 'idempotency-key': `make-${newId('x')}` };
    const [first, second] = [await e2b('POST', '/v2/sandboxes', { templateID: 'base' }, { headers }), await e2b('POST', '/v2/sandboxes', { templateID: 'base' }, { headers })];
    expect([first.status, second.status, second.body]).toEqual([201, 201, first.body]);
    expect(await e2b('POST', '/v2/sandboxes', { templateID: 'base', timeout: 9 }, { headers })).toMatchObject({ status: 422, body: { error_code: 'request.idempotency_reused' } });
    expect(await e2b('POST', '/v2/sandboxes', { templateID: 'base' }, { headers: { 'idempotency-key': 'x'.repeat(129) } })).toMatchObject({ status: 400 });
    const kept = await rig.api.app.get(Db).asSystem('test', (tx) => tx.idempotency.findMany());
    expect(JSON.stringify(kept)).toContain(`room_${(first.body['sandboxID'] as string).slice(1)}`);
    expect(JSON.stringify(kept)).not.toContain(first.body['envdAccessToken']);
  });

  it('whose caller goes away before it runs leaves nothing behind', async () => {
    const own = (await rig.tenant()).key.key;
    const release = host.hold('running');
    const leave = new AbortController();
    const headers = { 'x-api-key': own };
    const asking = rig.call('POST', '/v2/sandboxes', { json: { templateID: 'base' }, headers, signal: leave.signal }).catch(() => undefined);
    const rooms = async (): Promise<Room[]> => ((await (await rig.call('GET', '/v1/rooms', { key: own })).json()) as { rooms: Room[] }).rooms;
    const [room] = await until('it begins to start', async () => {
      const found = await rooms();
      return found.length > 0 && found;
    });
    leave.abort();
    await asking;
    await until('it is not wanted any more', async () => ((await (await rig.call('GET', `/v1/rooms/${room?.id}`, { key: own })).json()) as Room).wanted !== 'available');
    release();
    await until('it is gone', async () => (await rig.call('GET', `/v1/rooms/${room?.id}`, { key: own })).status === 410);
    expect((await e2b('GET', `/sandboxes/i${room?.id.slice(5)}`, undefined, { apiKey: own })).body['message']).toContain('caller_left');
  });

  it('that cannot start is not there', async () => {
    const own = (await rig.tenant()).key.key;
    host.fail('running', new Problem('engine.missing'));
    const refused = await e2b('POST', '/v2/sandboxes', { templateID: 'base' }, { apiKey: own });
    host.fail('running', null);
    expect(refused.status).toBe(503);
    expect((await e2b('GET', '/v2/sandboxes', undefined, { apiKey: own })).body).toEqual([]);
  });
});

describe('pause and connect', () => {
  it('pauses once, and says so the second time', async () => {
    const id = await create();
    expect(await e2b('POST', `/sandboxes/${id}/pause`, {})).toMatchObject({ status: 204 });
    expect((await e2b('GET', `/sandboxes/${id}`)).body['state']).toBe('paused');
    expect(await e2b('POST', `/sandboxes/${id}/pause`, {})).toMatchObject({ status: 409, body: { code: 409 } });
    expect(await e2b('POST', `/sandboxes/${id}/timeout`, { timeout: 60 })).toMatchObject({ status: 409 });
  });

  it('resumes with 201 under the same name, and finds one that runs with 200', async () => {
    const id = await create({ timeout: 1000 });
    const token = (await e2b('GET', `/sandboxes/${id}`)).body['envdAccessToken'];
    await e2b('POST', `/sandboxes/${id}/pause`, {});
    const resumed = await e2b('POST', `/v2/sandboxes/${id}/connect`, {});
    expect(resumed).toMatchObject({ status: 201, body: { sandboxID: id, envdAccessToken: token, domain } });
    expect(await roomOf(id)).toMatchObject({ state: 'running', resumedFrom: 'memory', lifecycle: { timeoutMs: 1_000_000 } });
    expect(await e2b('POST', `/v2/sandboxes/${id}/connect`, {})).toMatchObject({ status: 200, body: { sandboxID: id } });
    expect(await e2b('POST', `/sandboxes/${id}/connect`, { timeout: 5 })).toMatchObject({ status: 200 });
  });

  it('only makes the time longer by a connect, and shortens it when told', async () => {
    const id = await create({ timeout: 1000 });
    const left = async (): Promise<number> => Date.parse((await e2b('GET', `/sandboxes/${id}`)).body['endAt'] as string) - Date.parse((await e2b('GET', '/v2/sandboxes?limit=1')).headers.get('date') ?? '');
    await e2b('POST', `/v2/sandboxes/${id}/connect`, { timeout: 10 });
    await e2b('POST', `/v2/sandboxes/${id}/connect`, {});
    expect(await left()).toBeGreaterThan(900_000);
    await e2b('POST', `/v2/sandboxes/${id}/connect`, { timeout: 5000 });
    expect(await left()).toBeGreaterThan(4_900_000);
    expect((await e2b('POST', `/sandboxes/${id}/timeout`, { timeout: 50 })).status).toBe(204);
    expect(await left()).toBeLessThan(60_000);
    expect((await e2b('POST', `/sandboxes/${id}/refreshes`, { duration: 600 })).status).toBe(204);
    expect(await left()).toBeGreaterThan(500_000);
    expect((await roomOf(id)).lifecycle.timeoutMs).toBe(1_000_000);
  });

  it('boots from the disk where the memory is not wanted', async () => {
    const [dropped, ignored] = [await create(), await create()];
    expect((await e2b('POST', `/sandboxes/${dropped}/pause`, { memory: false })).status).toBe(204);
    expect((await e2b('POST', `/v2/sandboxes/${dropped}/connect`, {})).status).toBe(201);
    await e2b('POST', `/sandboxes/${ignored}/pause`, {});
    expect((await e2b('POST', `/v2/sandboxes/${ignored}/connect`, { memory: false })).status).toBe(201);
    for (const id of [dropped, ignored]) expect((await roomOf(id)).resumedFrom).toBe('disk');
  });

  it('is one resume for two who connect at once', async () => {
    const id = await create();
    await e2b('POST', `/sandboxes/${id}/pause`, {});
    const before = host.orders.length;
    const answers = await Promise.all(Array.from({ length: 5 }, () => e2b('POST', `/v2/sandboxes/${id}/connect`, {})));
    expect(answers.every(({ status }) => status === 201 || status === 200)).toBe(true);
    expect(host.orders.slice(before).filter((order) => order.startsWith(`running room_${id.slice(1)}`))).toHaveLength(1);
  });

  it('answers 503 for a pause that did not work, and the sandbox goes on', async () => {
    const id = await create();
    host.fail('sealed', new Problem('guest.io'));
    const failed = await e2b('POST', `/sandboxes/${id}/pause`, {});
    host.fail('sealed', null);
    expect(failed).toMatchObject({ status: 503, body: { code: 503 } });
    expect((await e2b('GET', `/sandboxes/${id}`)).body['state']).toBe('running');
  });
});

describe('the end of a sandbox', () => {
  it('is told to whoever asks after it, whichever way', async () => {
    const id = await create();
    await e2b('POST', `/sandboxes/${id}/pause`, {});
    expect((await e2b('DELETE', `/sandboxes/${id}`)).status).toBe(204);
    for (const [method, path, body] of [['GET', '', undefined], ['DELETE', '', undefined], ['POST', '/pause', {}], ['POST', '/timeout', { timeout: 1 }], ['POST', '/fork', {}], ['POST', '/snapshots', {}], ['PUT', '/network', {}], ['GET', '/metrics', undefined]] as const) {
      const answer = await e2b(method, `/sandboxes/${id}${path}`, body);
      expect({ path, status: answer.status, body: answer.body }).toEqual({ path, status: 404, body: { code: 404, message: expect.stringMatching(new RegExp(`${id} is gone since .*: asked`)), error_code: 'room.gone' } });
    }
    expect(await e2b('POST', `/v2/sandboxes/${id}/connect`, {})).toMatchObject({ status: 404 });
    const { logs } = (await e2b('GET', `/sandboxes/${id}/logs`)).body as { logs: { line: string; timestamp: string }[] };
    expect(logs.map(({ line }) => JSON.parse(line) as unknown)).toContainEqual({ level: 'info', message: expect.stringContaining(': asked'), logger: 'alcove', type: 'state' });
  });
});

describe('lists', () => {
  let own: string;
  const ids: string[] = [];
  beforeAll(async () => {
    own = (await rig.tenant()).key.key;
    await rig.call('POST', '/v1/rooms', { key: own, json: { userId: 'personal' } });
    for (const n of ['1', '2', '3']) ids.push((await e2b('POST', '/v2/sandboxes', { templateID: 'base', metadata: { n, 'k&=': 'v &=%ü' } }, { apiKey: own })).body['sandboxID'] as string);
    await e2b('POST', `/sandboxes/${ids[1] ?? ''}/pause`, {}, { apiKey: own });
  });
  const listed = async (query: string): Promise<{ ids: number[]; next: string | null }> => {
    const answer = await e2b('GET', `/v2/sandboxes${query}`, undefined, { apiKey: own });
    expect(answer.status).toBe(200);
    return { ids: (answer.body as unknown as { sandboxID: string }[]).map(({ sandboxID }) => ids.indexOf(sandboxID) + 1), next: answer.headers.get('x-next-token') };
  };

  it('have the newest first, running and paused, and no room that is not a sandbox', async () => {
    expect(await listed('')).toEqual({ ids: [3, 2, 1], next: null });
    expect((await listed('?order=asc')).ids).toEqual([1, 2, 3]);
    expect((await listed('?state=running')).ids).toEqual([3, 1]);
    expect((await listed('?state=paused')).ids).toEqual([2]);
    expect((await listed('?state=running,paused')).ids).toEqual([3, 2, 1]);
    expect((await listed('?state=running&state=paused')).ids).toEqual([3, 2, 1]);
    expect((await e2b('GET', '/sandboxes', undefined, { apiKey: own })).body).toMatchObject([{ sandboxID: ids[2] }, { sandboxID: ids[0] }]);
  });

  it('come in pages', async () => {
    const first = await listed('?limit=2');
    expect(first).toEqual({ ids: [3, 2], next: expect.any(String) });
    expect(await listed(`?limit=2&nextToken=${encodeURIComponent(first.next ?? '')}`)).toEqual({ ids: [1], next: null });
    expect((await e2b('GET', '/v2/sandboxes?nextToken=x', undefined, { apiKey: own })).status).toBe(400);
    expect((await e2b('GET', '/v2/sandboxes?limit=101', undefined, { apiKey: own })).status).toBe(400);
  });

  it('are filtered by all of the metadata, the template and the time', async () => {
    const encoded = (metadata: Record<string, string>): string => encodeURIComponent(new URLSearchParams(Object.entries(metadata).map(([name, value]): [string, string] => [encodeURIComponent(name), encodeURIComponent(value)])).toString());
    expect((await listed(`?metadata=${encoded({ 'k&=': 'v &=%ü', n: '2' })}`)).ids).toEqual([2]);
    expect((await listed(`?metadata=${encoded({ n: '9' })}`)).ids).toEqual([]);
    for (const name of ['base', 'default', template.id]) expect((await listed(`?template=${name}`)).ids).toEqual([3, 2, 1]);
    expect((await listed('?template=other')).ids).toEqual([]);
    const { startedAt } = (await e2b('GET', `/sandboxes/${ids[1] ?? ''}`, undefined, { apiKey: own })).body as { startedAt: string };
    expect((await listed(`?startedAfter=${startedAt}`)).ids).toEqual([3, 2]);
    expect((await listed('?startedAfter=2999-01-01T00:00:00.000Z')).ids).toEqual([]);
  });
});

describe('the way out', () => {
  it('is replaced as a whole, and the way in stays', async () => {
    const id = await create({ network: { allowPublicTraffic: false, allowOut: ['a.example'], denyOut: ['0.0.0.0/0'] } });
    expect((await e2b('PUT', `/sandboxes/${id}/network`, { denyOut: ['10.0.0.0/8'], allow_internet_access: false })).status).toBe(204);
    expect((await roomOf(id)).network).toMatchObject({ allowPublicTraffic: false, allowOut: [], denyOut: ['10.0.0.0/8'], allowInternetAccess: false });
    expect((await e2b('PUT', `/sandboxes/${id}/network`, {})).status).toBe(204);
    expect((await roomOf(id)).network).toMatchObject({ allowPublicTraffic: false, denyOut: [], allowInternetAccess: null });
    expect((await e2b('PUT', `/sandboxes/${id}/network`, { egressProxy: { address: 'p:1' } })).status).toBe(501);
  });
});

describe('figures', () => {
  it('are those of the host, in its range, and none of one that sleeps', async () => {
    const id = await create();
    const at = (seconds: number): string => new Date(seconds * 1000).toISOString();
    const figure = { cpuCount: 2, cpuUsedPct: 150.5, memTotal: 4, memUsed: 3, memCache: 2, diskTotal: 9, diskUsed: 8, processes: 5 };
    host.on('GET figures', () => ({ figures: [100, 200, 300].map((seconds) => ({ at: at(seconds), ...figure })) }));
    const { processes: _processes, ...shown } = figure;
    const times = async (query: string): Promise<number[]> => ((await e2b('GET', `/sandboxes/${id}/metrics${query}`)).body as unknown as { timestampUnix: number }[]).map((one) => one.timestampUnix);
    expect((await e2b('GET', `/sandboxes/${id}/metrics?end=100`)).body).toEqual([{ timestamp: at(100), timestampUnix: 100, ...shown, cpuUsedPct: 75.25 }]);
    expect(await times('')).toEqual([100, 200, 300]);
    expect(await times('?start=200')).toEqual([200, 300]);
    expect(await times('?start=101&end=299')).toEqual([200]);
    await e2b('POST', `/sandboxes/${id}/pause`, {});
    expect(await times('')).toEqual([]);
  });
});

describe('a key', () => {
  it('that may not act in rooms is not given what would let it', async () => {
    const id = await create();
    const keyWith = async (scopes: string[]): Promise<string> => ((await (await rig.call('POST', `/v1/tenants/${key.tenantId}/keys`, { key: rig.platformKey, json: { name: 'k', scopes } })).json()) as NewApiKey).key;
    const reading = await keyWith(['rooms:read']);
    expect((await rig.call('GET', `/sandboxes/${id}`, { key: reading })).status).toBe(200);
    const seen = await e2b('GET', `/sandboxes/${id}`, undefined, { apiKey: reading });
    expect([seen.status, seen.body['sandboxID'], seen.body['envdAccessToken']]).toEqual([200, id, undefined]);
    expect(await e2b('DELETE', `/sandboxes/${id}`, undefined, { apiKey: reading })).toMatchObject({ status: 403, body: { code: 403, error_code: 'auth.scope' } });
    const writing = await keyWith(['rooms:read', 'rooms:write']);
    const connected = await e2b('POST', `/v2/sandboxes/${id}/connect`, {}, { apiKey: writing });
    expect([connected.status, connected.body['sandboxID'], Object.keys(connected.body)]).toEqual([200, id, expect.not.arrayContaining(['envdAccessToken', 'trafficAccessToken'])]);
  });

  it('is told by 429 how many whole seconds to wait', async () => {
    const slow = ((await (await rig.call('POST', `/v1/tenants/${key.tenantId}/keys`, { key: rig.platformKey, json: { name: 'slow', ratePerSecond: 1 } })).json()) as NewApiKey).key;
    const refused = await until('the rate is used up', async () => {
      const one = await e2b('GET', '/v2/sandboxes?limit=1', undefined, { apiKey: slow });
      return one.status === 429 && one;
    });
    expect([refused.headers.get('retry-after'), refused.body]).toEqual([expect.stringMatching(/^[1-9]\d*$/), { code: 429, message: expect.any(String), error_code: 'request.rate' }]);
  });
});

describe('the edge', () => {
  it('is told where a sandbox is and what opens it; nobody else is', async () => {
    const id = await create({ autoPause: true, autoResume: { enabled: true }, network: { allowPublicTraffic: false } });
    const roomId = `room_${id.slice(1)}`;
    const edge = identities.of('edge');
    const ask = (path: string, body: unknown, tls = edge): Promise<{ status: number; body: Record<string, unknown> }> => postJson(`${rig.internalUrl}${path}`, body, tls);
    const answered = await ask(edgePaths.route, { roomId });
    const info = (await e2b('GET', `/sandboxes/${id}`)).body;
    expect(answered).toMatchObject({ status: 200, body: { state: 'running', surfaceToken: info['envdAccessToken'], trafficToken: expect.any(String), target: { hostId: host.id } } });
    await e2b('POST', `/sandboxes/${id}/pause`, {});
    expect(await ask(edgePaths.route, { roomId })).toMatchObject({ status: 200, body: { state: 'hibernated', target: null } });
    expect(await ask(edgePaths.wake, { roomId })).toMatchObject({ status: 200, body: { state: 'running' } });
    for (const tls of [host.tls, rig.config.tls]) expect(await ask(edgePaths.route, { roomId }, tls)).toMatchObject({ status: 403, body: { code: 'auth.scope' } });
    expect(await ask(edgePaths.route, { roomId: 'x' })).toMatchObject({ status: 400 });
    expect(await ask(edgePaths.route, { roomId, extra: 1 })).toMatchObject({ status: 400 });
    expect(await ask('/internal/hosts/edge/heartbeat', host.beat())).toMatchObject({ status: 403, body: { code: 'auth.scope' } });
    await expect(postJson(`${rig.internalUrl}${edgePaths.route}`, { roomId }, { ca: edge.ca })).rejects.toThrow();
    expect((await rig.call('POST', edgePaths.route, { key: rig.platformKey, json: { roomId } })).status).toBe(404);
  });
});
