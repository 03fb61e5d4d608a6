import { limits, newId } from '@alcove/base';
import { Room, type NewApiKey } from '@alcove/contracts';
import { makeIdentities, removeIdentities, startRig, type Rig } from './rig';
import { StubHost, template } from './stub-host';

/** Tags of templates, as E2B's clients give and use them: on real Postgres, with a host that has two versions of one template. */
const newer = { ...template, id: `tpl_${'2'.repeat(20)}`, builtAt: '2026-02-01T00:00:00.000Z' };
let rig: Rig;
let host: StubHost;
let identities: Awaited<ReturnType<typeof makeIdentities>>;
let key: NewApiKey;

beforeAll(async () => {
  const hostId = newId('host');
  identities = await makeIdentities([hostId]);
  host = new StubHost(hostId, identities.of(hostId));
  host.templates = [template, newer];
  await host.listen();
  rig = await startRig(identities, { config: { e2b: { domain: null, base: 'default' } } });
  expect((await host.sendBeat(rig.internalUrl)).status).toBe(200);
  key = (await rig.tenant()).key;
});
afterAll(async () => {
  await rig?.close();
  await host?.close();
  removeIdentities(identities);
});

async function e2b(method: string, path: string, json?: unknown, apiKey = key.key): Promise<{ status: number; body: unknown }> {
  const answer = await rig.call(method, path, { ...(json === undefined ? {} : { json }), headers: { 'x-api-key': apiKey } });
  const text = await answer.text();
  return { status: answer.status, body: text === '' ? null : JSON.parse(text) };
}

async function templateOf(templateID: string): Promise<string> {
  const made = await e2b('POST', '/v2/sandboxes', { templateID });
  expect(made.status).toBe(201);
  const { sandboxID } = made.body as { sandboxID: string };
  return Room.parse(await (await rig.call('GET', `/v1/rooms/room_${sandboxID.slice(1)}`, { key: key.key })).json()).templateId;
}

it('starts the version that a tag names, and the newest without one', async () => {
  expect(await e2b('POST', '/templates/tags', { target: template.id, tags: ['stable', 'v1'] })).toEqual({ status: 201, body: { buildID: template.id, tags: ['stable', 'v1'] } });
  expect(await templateOf('default:stable')).toBe(template.id);
  expect(await templateOf('base:v1')).toBe(template.id);
  expect(await templateOf(template.id)).toBe(newer.id);
  for (const plain of ['base', 'default', 'default:latest', 'base:default']) expect(await templateOf(plain)).toBe(newer.id);
  expect(await e2b('GET', '/templates/aliases/default%3Astable')).toMatchObject({ status: 200, body: { templateID: template.id } });
});

it('moves a tag to another version, lists what there is, and takes it away', async () => {
  await e2b('POST', '/templates/tags', { target: template.id, tags: ['moved'] });
  expect(await e2b('POST', '/templates/tags', { target: 'default', tags: ['moved'] })).toMatchObject({ status: 201, body: { buildID: newer.id } });
  expect(await templateOf('default:moved')).toBe(newer.id);
  const { body } = await e2b('GET', '/templates/default/tags');
  expect(body).toEqual(expect.arrayContaining([{ tag: 'default', buildID: newer.id, createdAt: expect.any(String) }, { tag: 'moved', buildID: newer.id, createdAt: expect.any(String) }]));
  for (const again of [204, 204]) expect((await e2b('DELETE', '/templates/tags', { name: 'base', tags: ['moved'] })).status).toBe(again);
  expect(await e2b('POST', '/v2/sandboxes', { templateID: 'default:moved' })).toMatchObject({ status: 404, body: { error_code: 'template.not_found' } });
});

it('keeps one tenant’s tags from another, and refuses what cannot be one', async () => {
  await e2b('POST', '/templates/tags', { target: 'default', tags: ['mine'] });
  const { key: other } = await rig.tenant();
  expect((await e2b('GET', '/templates/aliases/default%3Amine', undefined, other.key)).status).toBe(404);
  expect((await e2b('DELETE', '/templates/tags', { name: 'default', tags: ['mine'] }, other.key)).status).toBe(204);
  expect((await e2b('GET', '/templates/aliases/default%3Amine')).status).toBe(200);
  for (const tags of [[], ['default'], ['latest'], ['a:b'], ['a b'], ['x'.repeat(limits.template.tagChars + 1)], Array.from({ length: limits.template.tagsPerCall + 1 }, (_, i) => `t${i}`)]) {
    expect({ tags, status: (await e2b('POST', '/templates/tags', { target: 'default', tags })).status }).toEqual({ tags, status: 400 });
  }
  expect((await e2b('POST', '/templates/tags', { target: 'nothing', tags: ['a'] })).status).toBe(404);
});

it('holds the number of tags of a tenant', async () => {
  const { key: greedy } = await rig.tenant();
  const call = (from: number): Promise<{ status: number }> => e2b('POST', '/templates/tags', { target: 'default', tags: Array.from({ length: limits.template.tagsPerCall }, (_, i) => `t${from + i}`) }, greedy.key);
  let made = 0;
  while (made + limits.template.tagsPerCall <= limits.template.tags) {
    expect((await call(made)).status).toBe(201);
    made += limits.template.tagsPerCall;
  }
  expect((await call(made)).status).toBe(400);
  expect(((await e2b('GET', '/templates/default/tags', undefined, greedy.key)).body as unknown[]).length).toBe(made + 1);
});
