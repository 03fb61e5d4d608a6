import { HostProcess, roomName, runningOrder, sealedOrder } from './host-harness';

/** What programs in rooms reach through a host, on the fake driver, over real mutual TLS to a control plane. */
const host = new HostProcess();
const room = roomName();
const door = 'memory.alcove.internal';
const get = `GET /v1/memory HTTP/1.1\r\nhost: ${door}\r\nconnection: close\r\n\r\n`;
let incarnation = 1;
const path = (rest: string) => `/rooms/${room}/incarnations/${incarnation}/${rest}`;

beforeAll(async () => {
  await host.start();
  await host.ready();
  await host.call('PUT', path('running'), runningOrder());
});
afterAll(() => host.stop());

/** Lets a program in the room put these bytes on a connection to its doors; all that it heard until the end. */
async function program(bytes: string): Promise<string> {
  const answer = await host.call('POST', path('invocations'), { prompt: `door ${bytes}` });
  return (answer.json as { reply: string }).reply;
}

it('takes what a program asks to the control plane, in the name of the room and its incarnation', async () => {
  const body = JSON.stringify({ query: 'tea', userId: 'somebody else' });
  const asked = `POST /v1/memory/search HTTP/1.1\r\nhost: ${door}\r\ncontent-type: application/json\r\nx-room: room_ffffffffffffffffffff\r\ncontent-length: ${body.length}\r\nconnection: close\r\n\r\n${body}`;
  expect(await program(asked)).toMatch(/^HTTP\/1.1 200 OK\r\n[^]*\{"from":"memory"\}$/);
  expect(host.control.doorCalls.at(-1)).toEqual({ roomId: room, incarnation, call: { door: 'memory', route: 'search', params: {}, query: {}, headers: {}, body } });
});

it('says that the platform cannot be reached when it refuses or breaks, and not how', async () => {
  const before = host.control.answerDoor;
  for (const refusal of [{ status: 409, body: { code: 'incarnation.stale', detail: 'secret' } }, { status: 200, body: { nothing: 'of that kind' } }, { status: 500, body: 'secret' }]) {
    host.control.answerDoor = () => refusal;
    const heard = await program(get);
    expect(heard).toMatch(/^HTTP\/1.1 503 [^]*"code":"unavailable"/);
    expect(heard).not.toContain('secret');
  }
  host.control.answerDoor = before;
});

it('asks nothing for what is no request', async () => {
  const before = host.control.doorCalls.length;
  for (const bytes of ['GET / HTTP/1.1\r\n\r\n', `GET /v1/rooms HTTP/1.1\r\nhost: ${door}\r\nconnection: close\r\n\r\n`, '\0\0\0\0\r\n\r\n', `GET /internal/hosts/host-1/heartbeat HTTP/1.1\r\nhost: ${door}\r\nconnection: close\r\n\r\n`]) {
    expect(await program(bytes)).toMatch(/^HTTP\/1.1 (400|404) /);
  }
  expect(host.control.doorCalls).toHaveLength(before);
});

it('has its doors again after a sleep, for the new incarnation', async () => {
  const sealed = (await host.call('PUT', path('sealed'), sealedOrder())).json as { image: never };
  incarnation += 1;
  await host.call('PUT', path('running'), runningOrder({ image: sealed.image, hasDisk: true }));
  expect(await program(get)).toMatch(/^HTTP\/1.1 200/);
  expect(host.control.doorCalls.at(-1)).toMatchObject({ roomId: room, incarnation: 2 });
});

it('has its doors again after the host agent was killed', async () => {
  await host.kill();
  await host.start();
  await host.ready();
  expect(await program(get)).toMatch(/^HTTP\/1.1 200/);
  expect(host.control.doorCalls.at(-1)).toMatchObject({ roomId: room, incarnation: 2 });
});
