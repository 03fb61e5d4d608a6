import type { AddressInfo } from 'node:net';
import { limits, newId, silentLog } from '@alcove/base';
import type { Heartbeat, IncarnationState } from '@alcove/contracts';
import type { FastifyInstance } from 'fastify';
import { Metrics } from '../../../apps/api/src/door/metrics';
import { internalListener } from '../../../apps/api/src/internal/heartbeats';
import { makeIdentities, removeIdentities } from './rig';
import { postJson, StubHost } from './stub-host';

/** The door for hosts alone, over real mutual TLS. */
let server: FastifyInstance;
let host: StubHost;
let identities: Awaited<ReturnType<typeof makeIdentities>>;
let url: string;
const taken: Heartbeat[] = [];

beforeAll(async () => {
  const hostId = newId('host');
  identities = await makeIdentities([hostId]);
  host = new StubHost(hostId, identities.of(hostId));
  await host.listen();
  const heartbeats = { heartbeat: async (_hostId: string, beat: Heartbeat) => (taken.push(beat), { leaseMs: 1, acknowledged: beat.sequence, end: [] }) };
  const edge = { edgeRoute: async () => Promise.reject(new Error('not asked here')), edgeWake: async () => Promise.reject(new Error('not asked here')) };
  server = internalListener(identities.of('control-plane'), { heartbeats, edge, doors: { answer: async () => Promise.reject(new Error('not asked here')) } }, new Metrics(() => 0), silentLog);
  await server.listen({ host: '127.0.0.1', port: 0 });
  url = `https://127.0.0.1:${(server.server.address() as AddressInfo).port}`;
});
afterAll(async () => {
  await server?.close();
  await host?.close();
  removeIdentities(identities);
});

function running(count: number): IncarnationState[] {
  return Array.from({ length: count }, () => ({ roomId: newId('room'), incarnation: 1, phase: 'running', sequence: 1, reason: 'x'.repeat(64), guestPrivateBytes: 64 << 20, vmmOverheadBytes: 60 << 20 }));
}

it('takes the beat of a host that runs as many rooms as a host may', async () => {
  const beat = { ...host.beat(), incarnations: running(limits.host.incarnations), ended: running(limits.host.ended) };
  expect(Buffer.byteLength(JSON.stringify(beat))).toBeGreaterThan(1 << 20);
  const answer = await host.sendBeat(url, beat);
  expect(answer).toMatchObject({ status: 200, body: { acknowledged: beat.sequence } });
  expect(taken.at(-1)?.incarnations).toHaveLength(limits.host.incarnations);
});

it('refuses one that names more, and one that is longer than any can be', async () => {
  const before = taken.length;
  expect((await host.sendBeat(url, { ...host.beat(), incarnations: running(limits.host.incarnations + 1) })).body.code).toBe('request.invalid');
  // Whoever goes on sending what nobody reads may be cut off before it reads the answer.
  const long = await postJson(`${url}/internal/hosts/${host.id}/heartbeat`, 'x'.repeat(limits.host.reportBytes + 1), host.tls).then((answer) => answer.status, () => 'cut off');
  expect([413, 'cut off']).toContain(long);
  expect(taken).toHaveLength(before);
});
