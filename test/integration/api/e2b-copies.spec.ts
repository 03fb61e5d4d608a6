import { newId } from '@alcove/base';
import { Problem, type NewApiKey, type Room } from '@alcove/contracts';
import { until } from './conditions';
import { e2bCalls } from './e2b-calls';
import { makeIdentities, removeIdentities, startRig, type Rig } from './rig';
import { StubHost } from './stub-host';

/** Snapshots and forks as E2B's clients ask for them, on real Postgres, with a host that runs nothing. */
let rig: Rig;
let host: StubHost;
let identities: Awaited<ReturnType<typeof makeIdentities>>;
let key: NewApiKey;

beforeAll(async () => {
  const hostId = newId('host');
  identities = await makeIdentities([hostId]);
  host = new StubHost(hostId, identities.of(hostId));
  await host.listen();
  rig = await startRig(identities, { config: { e2b: { domain: null, base: 'default' } } });
  expect((await host.sendBeat(rig.internalUrl)).status).toBe(200);
  key = (await rig.tenant()).key;
});
afterAll(async () => {
  await rig?.close();
  await host?.close();
  removeIdentities(identities);
  // A step of a copy that nobody waits for any more is waited for.
}, 120_000);

const { e2b, create, roomOf } = e2bCalls(() => rig, () => key.key);

describe('copies', () => {
  it('are taken, listed, started from and removed', async () => {
    const id = await create({ metadata: { userId: 'copied' } });
    const plain = await e2b('POST', `/sandboxes/${id}/snapshots`, {});
    const named = await e2b('POST', `/sandboxes/${id}/snapshots`, { name: 'mine' });
    expect([plain.status, named.status, plain.body, named.body]).toEqual([201, 201, { snapshotID: expect.any(String), names: [] }, { snapshotID: expect.any(String), names: ['mine'] }]);
    expect((await e2b('GET', `/sandboxes/${id}`)).body['state']).toBe('running');
    const list = async (query: string): Promise<unknown[]> => ((await e2b('GET', `/snapshots${query}`)).body as unknown as { snapshotID: string }[]).map(({ snapshotID }) => snapshotID);
    expect(await list(`?sandboxID=${id}`)).toEqual([named.body['snapshotID'], plain.body['snapshotID']]);
    expect(await list('?name=mine:default')).toEqual([named.body['snapshotID']]);
    const first = await e2b('GET', `/snapshots?sandboxID=${id}&limit=1`);
    expect(first.headers.get('x-next-token')).toEqual(expect.any(String));
    expect(await list('?sandboxID=nothing')).toEqual([]);
    for (const templateID of [named.body['snapshotID'], 'mine', 'mine:default']) {
      const made = await create({ templateID });
      expect(await roomOf(made)).toMatchObject({ userId: 'copied', state: 'running' });
    }
    for (const snapshot of [plain, named]) expect((await e2b('DELETE', `/templates/${encodeURIComponent(snapshot.body['snapshotID'] as string)}`)).status).toBe(204);
    expect(await e2b('DELETE', `/templates/${plain.body['snapshotID'] as string}`)).toMatchObject({ status: 404 });
    expect(await list(`?sandboxID=${id}`)).toEqual([]);
    expect((await e2b('DELETE', '/templates/base')).status).toBe(403);
    expect(await e2b('POST', `/sandboxes/${id}/snapshots`, { mode: 'filesystem' })).toMatchObject({ status: 501 });
  });

  it('go on at once as forks, each for itself', async () => {
    const id = await create({ metadata: { userId: 'forked' } });
    const forks = (await e2b('POST', `/sandboxes/${id}/fork`, { count: 2, timeout: 90 })).body as unknown as { sandbox: { sandboxID: string; envdAccessToken: string } }[];
    expect(forks).toHaveLength(2);
    expect(new Set([id, ...forks.map(({ sandbox }) => sandbox.sandboxID)]).size).toBe(3);
    for (const { sandbox } of forks) expect(await roomOf(sandbox.sandboxID)).toMatchObject({ userId: 'forked', kind: 'sandbox', state: 'running', lifecycle: { timeoutMs: 90_000 } });
    expect((await e2b('POST', `/sandboxes/${id}/fork`, { count: 0 })).status).toBe(400);
    expect((await e2b('POST', `/sandboxes/${id}/fork`, { count: 10_000 })).status).toBe(400);
    host.fail('copied', new Problem('engine.missing'));
    const failed = await e2b('POST', `/sandboxes/${id}/fork`, {});
    host.fail('copied', null);
    expect(failed).toMatchObject({ status: 201, body: [{ error: { code: 503, message: expect.any(String) } }] });
    expect((await e2b('GET', `/sandboxes/${id}`)).body['state']).toBe('running');
  });

  it('of a name are the asked user’s, and nobody gets another one’s memory', async () => {
    const take = async (userId: string, name: string): Promise<string> => (await e2b('POST', `/sandboxes/${await create({ metadata: { userId } })}/snapshots`, { name })).body['snapshotID'] as string;
    await take('ben', 'work');
    const adas = await take('ada', 'work');
    const asked = (templateID: string, userId?: string) => e2b('POST', '/v2/sandboxes', { templateID, ...(userId === undefined ? {} : { metadata: { userId } }) });
    expect(await roomOf((await asked('work', 'ben')).body['sandboxID'] as string)).toMatchObject({ userId: 'ben' });
    expect(await roomOf((await asked('work', 'ada')).body['sandboxID'] as string)).toMatchObject({ userId: 'ada' });
    expect(await asked(adas, 'ben')).toMatchObject({ status: 403 });
    expect(await asked('work', 'eve')).toMatchObject({ status: 404 });
    // Nobody said whose.
    expect(await asked('work')).toMatchObject({ status: 400, body: { message: expect.stringContaining('metadata.userId') } });
    expect(await e2b('DELETE', '/templates/work')).toMatchObject({ status: 400 });
    expect(await roomOf((await asked(adas)).body['sandboxID'] as string)).toMatchObject({ userId: 'ada' });
  });

  it('are found by their whole name, also where it looks like one with a tag', async () => {
    const id = await create({ metadata: { userId: 'tagged' } });
    const { body } = await e2b('POST', `/sandboxes/${id}/snapshots`, { name: 'run:v1' });
    expect(body['names']).toEqual(['run:v1']);
    await create({ templateID: 'run:v1' });
    expect(await e2b('DELETE', '/templates/run%3Av1')).toMatchObject({ status: 204 });
  });

  it('that their maker did not wait for are not left to run', async () => {
    const id = await create({ metadata: { userId: 'left' } });
    const leaving = new AbortController();
    const release = host.hold('copied');
    const rooms = async () => ((await (await rig.call('GET', '/v1/rooms?userId=left', { key: key.key })).json()) as { rooms: Room[] }).rooms.filter(({ wanted }) => wanted !== 'gone');
    const call = e2b('POST', `/sandboxes/${id}/fork`, { count: 2 }, { signal: leaving.signal }).catch(() => 'left');
    await until('the copies are being made', async () => (await rooms()).length === 3);
    leaving.abort();
    expect(await call).toBe('left');
    release();
    await until('only the source is left', async () => (await rooms()).length === 1);
  });
});
