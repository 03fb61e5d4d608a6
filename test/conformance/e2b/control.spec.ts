/** E2B's control routes as the SDK asks them, where no guest is needed: on the fake driver. */
import { Sandbox, Secret, Template, Volume } from 'e2b';
import { ApiClient } from '../../../apps/cli/src/api-client';
import { failureOf, roomIdOf, sandboxIdOf, Tenancy } from './sdk';

jest.setTimeout(120_000);
let mine: Tenancy;
let sandbox: Sandbox;
beforeAll(async () => {
  mine = await Tenancy.open('fake');
  sandbox = await mine.create({ metadata: { suite: 'control' } });
});
afterAll(() => mine?.close());

const nobody = 'i0123456789abcdef0123';
/** One request as E2B's clients make it, without the SDK between. */
const ask = async (method: string, path: string, body?: unknown, key = mine.at.apiKey): Promise<{ status: number; body: Record<string, unknown>; headers: Headers }> => {
  const answer = await fetch(`https://api.${mine.at.domain}${path}`, { method, headers: { 'x-api-key': key, ...(body === undefined ? {} : { 'content-type': 'application/json' }) }, ...(body === undefined ? {} : { body: JSON.stringify(body) }) });
  const text = await answer.text();
  return { status: answer.status, headers: answer.headers, body: text === '' ? {} : (JSON.parse(text) as Record<string, unknown>) };
};

describe('create', () => {
  it('gives a sandbox an id of letters and digits, and its own domain', () => {
    expect(sandbox.sandboxId).toMatch(/^[a-z0-9]+$/);
    expect(sandbox.sandboxDomain).toBe(mine.at.domain);
    expect(sandbox.getHost(3000)).toBe(`3000-${sandbox.sandboxId}.${mine.at.domain}`);
  });

  it('tells everything of it in getInfo', async () => {
    const info = await sandbox.getInfo();
    expect(info).toMatchObject({ sandboxId: sandbox.sandboxId, state: 'running', metadata: { suite: 'control' }, lifecycle: { onTimeout: 'kill', autoResume: false }, volumeMounts: [] });
    expect(info.templateId).toEqual(expect.any(String));
    expect(info.cpuCount).toBeGreaterThan(0);
    expect(info.memoryMB).toBeGreaterThan(0);
    expect(info.endAt.getTime() - info.startedAt.getTime()).toBeGreaterThan(590_000);
    expect(info.endAt.getTime() - info.startedAt.getTime()).toBeLessThan(720_000);
  });

  it('promises what the SDK asks of envd by its version: 0.6.4 or newer', async () => {
    const [major = 0, minor = 0, patch = 0] = (await sandbox.getInfo()).envdVersion.split('.').map(Number);
    expect(major * 1_000_000 + minor * 1000 + patch).toBeGreaterThanOrEqual(6004);
  });

  it('gives five minutes to one that asks for no time', async () => {
    const one = mine.keep(await Sandbox.create({ ...mine.at }));
    const { endAt, startedAt } = await one.getInfo();
    expect(Math.round((endAt.getTime() - startedAt.getTime()) / 60_000)).toBe(5);
  });

  it('refuses no time at all', async () => {
    expect((await ask('POST', '/v2/sandboxes', { templateID: 'base', timeout: 0 })).status).toBe(400);
    expect((await ask('POST', '/v2/sandboxes', { templateID: 'base', timeout: -5 })).body).toMatchObject({ code: 400 });
  });

  it('refuses a template that is not there, and keeps nothing of the attempt', async () => {
    const before = await Sandbox.list({ ...mine.at }).nextItems();
    expect((await failureOf(Sandbox.create('no-such-template', { ...mine.at }))).message).toMatch(/^40[04]: /);
    expect(await Sandbox.list({ ...mine.at }).nextItems()).toHaveLength(before.length);
  });

  it('takes fields that it does not know', async () => {
    const made = await ask('POST', '/v2/sandboxes', { templateID: 'base', somethingNew: { deep: true } });
    expect(made.status).toBe(201);
    mine.keep({ sandboxId: String(made.body['sandboxID']) });
  });

  it('refuses a resume by traffic of what keeps no memory', async () => {
    expect(await ask('POST', '/v2/sandboxes', { templateID: 'base', autoPause: true, autoPauseMemory: false, autoResume: { enabled: true } })).toMatchObject({ status: 400, body: { code: 400 } });
  });

  it('makes one sandbox of two calls with one Idempotency-Key', async () => {
    const headers = { 'Idempotency-Key': crypto.randomUUID() };
    const [first, second] = [await Sandbox.create({ ...mine.at, headers }), await Sandbox.create({ ...mine.at, headers })];
    mine.keep(first);
    expect(second.sandboxId).toBe(first.sandboxId);
  });
});

describe('errors', () => {
  it('AuthenticationError for a wrong key, and for none', async () => {
    expect((await failureOf(Sandbox.getInfo(sandbox.sandboxId, { ...mine.at, apiKey: 'e2b_0123456789' }))).name).toBe('AuthenticationError');
    expect(await ask('GET', '/v2/sandboxes', undefined, '')).toMatchObject({ status: 401, body: { code: 401, message: expect.any(String) as string } });
  });

  it.each([
    ['getInfo', () => Sandbox.getInfo(nobody, mine.at)],
    ['setTimeout', () => Sandbox.setTimeout(nobody, 60_000, mine.at)],
    ['pause', () => Sandbox.pause(nobody, mine.at)],
    ['connect', () => Sandbox.connect(nobody, mine.at)],
    ['getMetrics', () => Sandbox.getMetrics(nobody, mine.at)],
    ['fork', () => Sandbox.fork(nobody, mine.at)],
    ['createSnapshot', () => Sandbox.createSnapshot(nobody, mine.at)],
    ['updateNetwork', () => Sandbox.updateNetwork(nobody, {}, mine.at)],
  ] as [string, () => Promise<unknown>][])('SandboxNotFoundError from %s of a sandbox that never was', async (_name, call) => {
    expect((await failureOf(call())).name).toBe('SandboxNotFoundError');
  });

  it('false from kill and deleteSnapshot of what never was', async () => {
    expect(await Sandbox.kill(nobody, mine.at)).toBe(false);
    expect(await Sandbox.deleteSnapshot('team/nothing:default', mine.at)).toBe(false);
  });

  it('the code also in the body, on every refusal, and on a route that is not there', async () => {
    for (const [method, path] of [['GET', `/sandboxes/${nobody}`], ['POST', `/v2/sandboxes/${nobody}/connect`], ['GET', '/sandboxes/not-an-id'], ['GET', '/v2/nothing']] as const) {
      const { status, body } = await ask(method, path, method === 'POST' ? {} : undefined);
      expect({ path, code: body['code'], message: typeof body['message'] }).toEqual({ path, code: status, message: 'string' });
      expect(status).toBeGreaterThanOrEqual(400);
    }
  });

  it("another tenant's sandbox is as one that never was", async () => {
    const theirs = await Tenancy.open('fake');
    expect((await failureOf(Sandbox.getInfo(sandbox.sandboxId, theirs.at))).name).toBe('SandboxNotFoundError');
    expect((await failureOf(Sandbox.connect(sandbox.sandboxId, theirs.at))).name).toBe('SandboxNotFoundError');
    expect(await Sandbox.kill(sandbox.sandboxId, theirs.at)).toBe(false);
    expect(await Sandbox.list(theirs.at).nextItems()).toEqual([]);
    expect((await sandbox.getInfo()).state).toBe('running');
  });

  it('429 with whole seconds to wait, which the SDK obeys by itself', async () => {
    const slow = await mine.anotherKey({ ratePerSecond: 1 });
    const refused: string[] = [];
    for (let i = 0; i < 20 && refused.length === 0; i++) {
      const answers = await Promise.all(Array.from({ length: 20 }, () => ask('GET', '/v2/sandboxes', undefined, slow.apiKey)));
      refused.push(...answers.filter(({ status }) => status === 429).map(({ headers }) => headers.get('retry-after') ?? 'none'));
    }
    expect(refused[0]).toMatch(/^\d+$/);
    expect((await Sandbox.list(slow).nextItems()).length).toBeGreaterThan(0);
  });
});

describe('one platform, two faces', () => {
  it('shows a sandbox in /v1 as the room that it is', async () => {
    const room = await mine.v1.room(roomIdOf(sandbox.sandboxId));
    expect(room).toMatchObject({ id: roomIdOf(sandbox.sandboxId), state: 'running', metadata: { suite: 'control' } });
  });

  it('gives a sandbox to the user that its metadata name, and else to the user of its key', async () => {
    const anna = await mine.create({ metadata: { userId: 'anna' } });
    expect((await mine.v1.room(roomIdOf(anna.sandboxId))).userId).toBe('anna');
    const [one, two] = [await mine.create(), await mine.create()];
    const [first, second] = await Promise.all([one, two].map(async ({ sandboxId }) => (await mine.v1.room(roomIdOf(sandboxId))).userId));
    expect(first).toBe(second);
    expect(first).not.toBe('anna');
  });

  it('lets the SDK connect to a room that was made through /v1, and kill it', async () => {
    const room = await mine.v1.createRoom({ userId: 'ben' });
    const connected = await Sandbox.connect(sandboxIdOf(room.id), mine.at);
    expect((await connected.getInfo()).sandboxId).toBe(sandboxIdOf(room.id));
    expect(await connected.kill()).toBe(true);
    await expect(mine.v1.json('POST', `/v1/rooms/${room.id}/wake`)).rejects.toMatchObject({ code: 'room.gone' });
  });

  it('puts a sandbox to sleep through /v1 that the SDK then sees paused', async () => {
    const one = await mine.create();
    await mine.v1.hibernate(roomIdOf(one.sandboxId));
    expect((await one.getInfo()).state).toBe('paused');
    expect((await one.connect()).sandboxId).toBe(one.sandboxId);
  });
});

describe('network', () => {
  it('keeps what was asked, and replaces all of it', async () => {
    const one = await mine.create({ network: { allowOut: ['1.1.1.1', '*.example.com'], denyOut: ['0.0.0.0/0'], allowPublicTraffic: false, maskRequestHost: 'localhost:${PORT}' } });
    expect((await one.getInfo()).network).toMatchObject({ allowOut: ['1.1.1.1', '*.example.com'], denyOut: ['0.0.0.0/0'], allowPublicTraffic: false, maskRequestHost: 'localhost:${PORT}' });
    expect(one.trafficAccessToken).toEqual(expect.any(String));
    await one.updateNetwork({ denyOut: ['10.0.0.0/8'] });
    const { network } = await one.getInfo();
    expect(network?.denyOut).toEqual(['10.0.0.0/8']);
    expect(network?.allowOut ?? []).toEqual([]);
    expect(network?.allowPublicTraffic).toBe(false);
  });

  it('knows that a sandbox is to have no internet', async () => {
    expect((await (await mine.create({ allowInternetAccess: false })).getInfo()).allowInternetAccess).toBe(false);
  });
});

describe('templates', () => {
  it('knows base and the default template, and no other', async () => {
    expect(await Template.exists('base', mine.at)).toBe(true);
    expect(await Template.exists('default', mine.at)).toBe(true);
    expect(await Template.exists('no-such-template', mine.at)).toBe(false);
  });

  it('knows versions by the tags that they were given, until these are taken away', async () => {
    const { buildId, tags } = await Template.assignTags('base', ['stable', 'v1.0'], mine.at);
    expect(tags).toEqual(['stable', 'v1.0']);
    expect(await Template.exists('base:stable', mine.at)).toBe(true);
    const known = await Template.getTags('default', mine.at);
    expect(known.map(({ tag }) => tag)).toEqual(['default', 'stable', 'v1.0']);
    expect(new Set(known.map((one) => one.buildId))).toEqual(new Set([buildId]));
    expect((await mine.keep(await Sandbox.create('default:stable', { ...mine.at })).getInfo()).state).toBe('running');
    await Template.removeTags('base', 'stable', mine.at);
    expect(await Template.exists('base:stable', mine.at)).toBe(false);
    expect(await Template.exists('base:v1.0', mine.at)).toBe(true);
  });
});

describe('501 with a reason', () => {
  const notImplemented = /^501: \S/;
  it.each([
    ['Volume.create', () => Volume.create('v', mine.at)],
    ['Volume.list', () => Volume.list(mine.at)],
    ['Secret.create', () => Secret.create('s', 'v', mine.at)],
    ['Secret.list', () => Secret.list(mine.at).nextItems()],
    ['Template.build', () => Template.build(Template().fromImage('debian:13'), 'mine', mine.at)],
    ['create with an identity', () => Sandbox.create({ ...mine.at, iam: { tokens: { aws: { audience: 'sts', tokenType: 'JWT-SVID' } } } })],
    ['create with a volume', () => Sandbox.create({ ...mine.at, volumeMounts: { '/mnt': 'v' } })],
    ['create with a proxy for the way out', () => Sandbox.create({ ...mine.at, network: { egressProxy: { address: 'proxy.example.com:1080' } } })],
    ['create with ports that speak TLS', () => Sandbox.create({ ...mine.at, network: { httpsPorts: [3000] } })],
  ] as [string, () => Promise<unknown>][])('%s', async (_name, call) => {
    expect((await failureOf(call())).message).toMatch(notImplemented);
  });

  it('leaves no sandbox behind where the gateway of MCP could not be started', async () => {
    const made = async (): Promise<number> => (await Sandbox.list({ ...mine.at, query: { metadata: { gateway: 'none' } } }).nextItems()).length;
    expect((await failureOf(Sandbox.create('base', { ...mine.at, metadata: { gateway: 'none' }, mcp: { time: {} } as never }))).message).toMatch(/MCP gateway/);
    expect(await made()).toBe(0);
    expect((await failureOf(Sandbox.create({ ...mine.at, mcp: { time: {} } as never }))).message).toMatch(/^404: /);
  });
});

it('serves the forms of version 1 that the command line asks for', async () => {
  const made = await ask('POST', '/sandboxes', { templateID: 'base', timeout: 300 });
  expect(made).toMatchObject({ status: 201, body: { sandboxID: expect.stringMatching(/^[a-z0-9]+$/) as string } });
  const id = String(made.body['sandboxID']);
  mine.keep({ sandboxId: id });
  expect(await ask('POST', `/sandboxes/${id}/connect`, { timeout: 300 })).toMatchObject({ status: 200, body: { sandboxID: id } });
  const listed = (await ask('GET', '/sandboxes')).body as unknown as { sandboxID: string }[];
  expect(listed.map(({ sandboxID }) => sandboxID)).toContain(id);
  expect((await ask('POST', `/sandboxes/${id}/refreshes`, { duration: 60 })).status).toBe(204);
  for (const path of ['/templates', '/teams', `/sandboxes/${id}/logs`]) expect({ path, status: (await ask('GET', path)).status }).toEqual({ path, status: 200 });
  expect((await ask('POST', `/sandboxes/${id}/pause`, {})).status).toBe(204);
  expect((await ask('POST', `/sandboxes/${id}/pause`, {})).body).toMatchObject({ code: 409 });
  expect((await ask('POST', `/sandboxes/${id}/resume`, { timeout: 300 })).status).toBe(201);
});

it('leaves /v1 alone: it speaks RFC 9457 and wants a bearer token', async () => {
  const answer = await fetch(`${mine.world.url}/v1/rooms`, { headers: { 'x-api-key': mine.at.apiKey } });
  expect(answer.status).toBe(401);
  expect(answer.headers.get('content-type')).toMatch(/^application\/problem\+json/);
  await expect(new ApiClient(mine.world.url, 'nonsense').json('GET', '/v1/rooms')).rejects.toMatchObject({ status: 401 });
});
