import { newId } from '@alcove/base';
import { Room, type NewApiKey } from '@alcove/contracts';
import { until } from './conditions';
import { makeIdentities, removeIdentities, startRig, type CallOptions, type Rig } from './rig';
import { StubHost, template } from './stub-host';

/** What E2B's clients ask and are answered, on real Postgres, with a host over real mutual TLS that runs nothing. */
let rig: Rig;
let host: StubHost;
let identities: Awaited<ReturnType<typeof makeIdentities>>;
let key: NewApiKey;

const domain = 'rooms.test:8443';

beforeAll(async () => {
  const hostId = newId('host');
  identities = await makeIdentities([hostId]);
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

interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Record<string, unknown>;
}

async function e2b(method: string, path: string, json?: unknown, options: CallOptions & { apiKey?: string } = {}): Promise<Answer> {
  const { apiKey = key.key, headers, ...rest } = options;
  const answer = await rig.call(method, path, { ...rest, ...(json === undefined ? {} : { json }), headers: { 'x-api-key': apiKey, ...headers } });
  const text = await answer.text();
  return { status: answer.status, headers: answer.headers, body: text === '' ? {} : (JSON.parse(text) as Record<string, unknown>) };
}

async function create(asked: Record<string, unknown> = {}): Promise<string> {
  const made = await e2b('POST', '/v2/sandboxes', { templateID: 'base', ...asked });
  expect(made).toMatchObject({ status: 201 });
  return made.body['sandboxID'] as string;
}

const roomOf = async (sandboxId: string): Promise<Room> => Room.parse(await (await rig.call('GET', `/v1/rooms/room_${sandboxId.slice(1)}`, { key: key.key })).json());

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
      ['POST', '/templates/tags', 501, 'unsupported'],
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
