import { newId } from '@alcove/base';
import { Room, type NewApiKey } from '@alcove/contracts';
import { eventsOf, until } from './conditions';
import { makeIdentities, removeIdentities, startRig, type Rig } from './rig';
import { StubHost } from './stub-host';

/** How the API ends: nobody is cut off in the middle of a sentence who could still finish it. */
let rig: Rig;
let host: StubHost;
let identities: Awaited<ReturnType<typeof makeIdentities>>;
let key: NewApiKey;
let roomId: string;

beforeAll(async () => {
  const hostId = newId('host');
  identities = await makeIdentities([hostId]);
  host = new StubHost(hostId, identities.of(hostId));
  await host.listen();
  rig = await startRig(identities);
  await host.sendBeat(rig.internalUrl);
  key = (await rig.tenant()).key;
  roomId = Room.parse(await (await rig.call('POST', '/v1/rooms', { key: key.key, json: { userId: 'u' } })).json()).id;
  await until('the room runs', async () => ((await (await rig.call('GET', `/v1/rooms/${roomId}`, { key: key.key })).json()) as Room).state === 'running');
});
afterAll(async () => {
  await host?.close();
  removeIdentities(identities);
});

it('a closing API ends followers, lets a call finish, and takes no new one', async () => {
  let finish: () => void = () => undefined;
  let asked = false;
  host.on('POST invocations', async (_asked, reply) => {
    asked = true;
    await new Promise<void>((resolve) => (finish = resolve));
    return reply.header('alcove-source', 'agent').send('done');
  });
  const following = eventsOf(await rig.call('GET', `/v1/rooms/${roomId}/events`, { key: key.key }));
  expect((await following.next()).done).toBe(false);
  const talking = rig.call('POST', `/v1/rooms/${roomId}/invocations`, { key: key.key, json: {} });
  await until('the call is in the room', () => asked);
  let closed = false;
  const closing = rig.close().then(() => (closed = true));
  for await (const _ of following);
  await expect(rig.call('GET', '/healthz')).rejects.toThrow();
  expect(closed).toBe(false);
  finish();
  expect(await (await talking).text()).toBe('done');
  await closing;
});
