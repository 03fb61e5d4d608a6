/** Whoever comes without a token, with as much as one machine can hold open, leaves the owner of the room its places. */
import type { ClientHttp2Session, ClientHttp2Stream, OutgoingHttpHeaders } from 'node:http2';
import { connect } from 'node:net';
import { limits } from '@alcove/base';
import { ManualClock } from '@alcove/testing';
import { domain, EdgeWorld, surface, surfaceToken } from './edge-harness';
import { until } from './host-harness';

const token = { 'x-access-token': surfaceToken };
const clock = new ManualClock();
const world = new EdgeWorld();
beforeAll(() => world.start({}, clock));
afterAll(() => world.stop());
beforeEach(() => world.renew());

/** Requests that announce a body and never send it: how each was answered, where it was. */
class Silent {
  readonly statuses: number[] = [];
  readonly #streams: ClientHttp2Stream[] = [];
  ask(session: ClientHttp2Session, count: number, headers: OutgoingHttpHeaders): void {
    for (let i = 0; i < count; i++) {
      const stream = session.request({ 'content-length': '5', ...headers }, { endStream: false });
      stream.on('error', () => undefined);
      stream.on('response', ({ ':status': status }) => this.statuses.push(status ?? 0));
      this.#streams.push(stream.resume());
    }
  }
  get asked(): number {
    return this.#streams.length;
  }
  of(status: number): number {
    return this.statuses.filter((one) => one === status).length;
  }
}
const health = { ':authority': surface, ':path': '/health' };
const create = { ':authority': `api.${domain}`, ':path': '/v2/sandboxes', ':method': 'POST' };

it('leaves the owner of a room its places, and other addresses theirs', async () => {
  const { strangersPerRoom, exchangesPerAddress } = limits.edge;
  const silent = new Silent();
  const sessions = [await world.session(), await world.session(), await world.session(), await world.session()] as const;
  for (const session of sessions.slice(0, 3)) silent.ask(session, 400, health);
  await until(() => silent.of(429) === silent.asked - strangersPerRoom);
  expect(await world.http2(surface, '/metrics', { headers: token })).toMatchObject({ status: 204 });
  expect(await world.http2(surface, '/files', { method: 'POST', headers: token, body: 'x' })).toMatchObject({ status: 204 });
  // The rest of what this address may have, with the API, whose keys the edge cannot check.
  const rest = exchangesPerAddress - strangersPerRoom;
  const before = silent.of(429);
  for (const session of sessions.slice(2)) silent.ask(session, 110, create);
  for (const session of [await world.session(), await world.session()]) silent.ask(session, 200, create);
  await until(() => silent.of(429) - before === 620 - rest);
  expect(await world.http2(`api.${domain}`, '/')).toMatchObject({ status: 429 });
  const session = await world.session('127.0.0.2');
  expect(await world.http2(`api.${domain}`, '/', { session })).toMatchObject({ status: 200 });
  expect(await world.http2(surface, '/metrics', { session, headers: token })).toMatchObject({ status: 204 });
  // Nothing is kept for ever for a body that does not come.
  const held = silent.asked - silent.statuses.length;
  expect(held).toBe(exchangesPerAddress);
  clock.advance(limits.http.bodyIdleMs);
  await until(() => silent.of(408) === held);
  expect(await world.http2(`api.${domain}`, '/')).toMatchObject({ status: 200 });
}, 60_000);

it('asks the control plane twice at most for all who come without a token while it answers', async () => {
  let go = (): void => undefined;
  world.answers = new Promise((resolve) => (go = resolve));
  const before = world.asked;
  const session = await world.session();
  const all = Array.from({ length: 200 }, () => world.http2(surface, '/health', { session }));
  // Answered after what was sent before it on the same connection.
  await world.http2(`nothing.${domain}`, '/', { session });
  await until(() => world.asked === before + 1);
  go();
  expect(new Set((await Promise.all(all)).map(({ status }) => status))).toEqual(new Set([204]));
  expect(world.asked - before).toBe(2);
});

it('asks once in a while for all who come with a wrong token', async () => {
  const wrong = { method: 'POST', headers: { 'x-access-token': 'wrong' }, body: '{}' };
  const session = await world.session();
  for (const round of [1, 2]) {
    clock.advance(limits.edge.routeMs);
    const before = world.asked;
    for (let i = 0; i < 20; i++) expect(await world.http2(surface, '/process.Process/List', { session, ...wrong })).toMatchObject({ status: 401 });
    expect([round, world.asked - before]).toEqual([round, 1]);
  }
  // What is kept from before refuses nobody: it may be older than the request.
  clock.advance(limits.edge.routeMs);
  const before = world.asked;
  expect(await world.http2(surface, '/metrics', { session, headers: token })).toMatchObject({ status: 204 });
  for (let i = 0; i < 20; i++) expect(await world.http2(surface, '/metrics', { session, headers: wrong.headers })).toMatchObject({ status: 401 });
  expect(world.asked - before).toBe(2);
});

it('ends a body that trickles, at last', async () => {
  let reached = false;
  world.onApi = () => (reached = true);
  const stream = (await world.session()).request({ ...create, 'content-length': '1000' }, { endStream: false });
  let status: number | undefined;
  stream.on('response', ({ ':status': said }) => (status = said));
  stream.on('error', () => undefined);
  await until(() => clock.sleepers === 1);
  for (let passed = 0; passed < limits.edge.smallBodyMs; passed += limits.http.bodyIdleMs / 2) {
    expect(status).toBeUndefined();
    stream.write('x');
    // Answered after what was sent before it on the same connection.
    await world.http2(`nothing.${domain}`, '/', { session: stream.session as ClientHttp2Session });
    await until(() => clock.sleepers === 1);
    clock.advance(limits.http.bodyIdleMs / 2);
  }
  await until(() => status === 408);
  expect(reached).toBe(false);
});

it('bounds the connections of one address', async () => {
  const open = (localAddress: string) =>
    new Promise<{ closed: () => boolean; end: () => void }>((resolve) => {
      let closed = false;
      const socket = connect({ port: world.port, host: '127.0.0.1', localAddress });
      socket.on('error', () => undefined).on('close', () => (closed = true));
      socket.once('connect', () => resolve({ closed: () => closed, end: () => socket.destroy() }));
    });
  const many: Awaited<ReturnType<typeof open>>[] = [];
  // Fewer at once than wait to be accepted: the kernel may forget one beyond.
  while (many.length < limits.edge.connectionsPerAddress + 20) many.push(...(await Promise.all(Array.from({ length: 4 }, () => open('127.0.0.3')))));
  await until(() => many.filter((one) => one.closed()).length === 20);
  expect(await world.http2(`api.${domain}`, '/', { session: await world.session('127.0.0.2') })).toMatchObject({ status: 200 });
  for (const one of many) one.end();
  // Places of connections that have ended are given back.
  await until(async () => {
    const session = await world.session('127.0.0.3').catch(() => null);
    return session !== null && (await world.http2(`api.${domain}`, '/', { session }).then(() => true, () => false));
  });
});
