import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { request } from 'node:https';
import type { Duplex } from 'node:stream';
import { limits } from '@alcove/base';
import { readIdentity } from './host-certificates';
import { SurfaceCaller } from './host-surface-calls';
import { HostProcess, readAnswer, roomName, runningOrder, sealedOrder, until } from './host-harness';

const host = new HostProcess();
const room = roomName();
const path = (rest: string, incarnation = 1) => `/rooms/${room}/incarnations/${incarnation}/${rest}`;
const edge = readIdentity(host.authority.issue('edge'));

beforeAll(async () => {
  await host.start();
  await host.ready();
  await host.call('PUT', path('running'), runningOrder());
});
afterAll(() => host.stop());

/** Asks for a tunnel: the connection and what came with the answer, or the answer that is none. */
function tunnel(where: string, options: { protocol?: string; identity?: typeof edge } = {}): Promise<{ socket: Duplex; answer: IncomingMessage; head: Buffer } | IncomingMessage> {
  return new Promise((resolve, reject) => {
    const headers = { connection: 'upgrade', upgrade: options.protocol ?? 'alcove-bytes' };
    const asked = request({ host: '127.0.0.1', port: host.port, path: where, headers, ...(options.identity ?? edge), agent: false });
    asked.once('upgrade', (answer, socket, head) => resolve({ socket, answer, head }));
    asked.once('response', resolve);
    asked.once('error', reject);
    asked.end();
  });
}
async function open(where: string, identity = edge): Promise<Duplex> {
  const opened = await tunnel(where, { identity });
  if (!('head' in opened)) throw new Error(`no tunnel: ${opened.statusCode}`);
  expect(opened.answer.statusCode).toBe(101);
  return opened.socket;
}
async function refused(where: string, options: Parameters<typeof tunnel>[1] = {}): Promise<ReturnType<typeof readAnswer>> {
  const answer = await tunnel(where, options);
  if ('head' in answer) throw new Error('a tunnel where there should be none');
  return readAnswer(answer);
}
const streams = async () => /^alcove_host_streams (\d+)$/m.exec((await host.call('GET', '/metrics')).body.toString())?.[1];

describe('the edge', () => {
  it.each([
    ['GET', '/state'],
    ['GET', '/metrics'],
    ['GET', '/no/such/route'],
    ['PUT', path('gone')],
    ['PUT', path('sealed')],
    ['POST', path('exec')],
    ['GET', path('processes')],
    ['GET', path('files?path=/etc/passwd')],
    ['GET', path('figures')],
    ['GET', path('logs')],
    ['GET', path('surface/../logs')],
    ['GET', path('surface/%2e%2e/logs')],
    ['DELETE', path('ports/8080')],
  ])('may not %s %s', async (method, where) => {
    const answer = await readAnswer(await host.send(method, where, { identity: edge }));
    expect(answer).toMatchObject({ status: 403, json: { code: 'auth.scope' } });
  });
  it('may call the surface and ask for ports, as the control plane may', async () => {
    for (const identity of [edge, host.caller]) {
      expect(await readAnswer(await host.send('GET', path('surface/health'), { identity }))).toMatchObject({ status: 204 });
      (await open(path('ports/8080'), identity)).destroy();
    }
  });
  it('is told when the room is not here, before its body is wanted', async () => {
    const headers = { 'content-type': 'application/json', expect: '100-continue', 'content-length': '2' };
    const asked = request({ host: '127.0.0.1', port: host.port, method: 'POST', path: path('surface/process.Process/List', 7), headers, ...edge, agent: false });
    let wanted = false;
    asked.on('continue', () => (wanted = true));
    asked.flushHeaders();
    const [answer] = (await once(asked, 'response')) as [IncomingMessage];
    expect(await readAnswer(answer)).toMatchObject({ status: 409, json: { code: 'room.not_running' }, headers: { 'alcove-room': 'elsewhere' } });
    expect(wanted).toBe(false);
    asked.destroy();
  });
  it('is asked for its body when the room is here', async () => {
    const headers = { 'content-type': 'application/json', expect: '100-continue', 'content-length': '2' };
    const asked = request({ host: '127.0.0.1', port: host.port, method: 'POST', path: path('surface/process.Process/List'), headers, ...edge, agent: false });
    asked.flushHeaders();
    await once(asked, 'continue');
    asked.end('{}');
    const [answer] = (await once(asked, 'response')) as [IncomingMessage];
    expect(await readAnswer(answer)).toMatchObject({ status: 200, json: { processes: [] } });
  });
});

describe('a tunnel', () => {
  const get = 'GET /ping HTTP/1.1\r\nhost: room\r\nconnection: close\r\n\r\n';
  it('carries bytes both ways, and ends with them', async () => {
    const socket = await open(path('ports/8080'));
    socket.write(get);
    expect(Buffer.concat((await socket.toArray()) as Buffer[]).toString()).toMatch(/^HTTP\/1.1 200 OK[^]*Healthy/);
    await until(async () => (await streams()) === '0');
  });
  it('takes what is sent before it was answered', async () => {
    const headers = { connection: 'upgrade', upgrade: 'alcove-bytes' };
    const asked = request({ host: '127.0.0.1', port: host.port, path: path('ports/8080'), headers, ...edge, agent: false });
    asked.once('socket', (socket) => socket.once('secureConnect', () => setImmediate(() => socket.write(get))));
    asked.end();
    const [, socket, head] = (await once(asked, 'upgrade')) as [IncomingMessage, Duplex, Buffer];
    const rest = (await socket.toArray()) as Buffer[];
    expect(Buffer.concat([head, ...rest]).toString()).toMatch(/Healthy/);
  });
  it('carries a large answer to a slow reader, whole', async () => {
    const body = Buffer.alloc(8 << 20, 'abc');
    await host.send('PUT', path('files?path=big'), { body, headers: { 'content-type': 'application/octet-stream' } }).then(readAnswer);
    const socket = await open(path('ports/8080'));
    const asked = JSON.stringify({ prompt: 'read big' });
    socket.write(`POST /invocations HTTP/1.1\r\nhost: room\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: ${asked.length}\r\n\r\n${asked}`);
    let bytes = 0;
    for await (const chunk of socket as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      await new Promise((next) => setImmediate(next));
    }
    // The content comes twice, as the reply and as itself.
    expect(bytes).toBeGreaterThan(2 * body.length);
  });
  it.each([
    ['nobody listens', 'ports/81', 502, 'agent.unreachable'],
    ['there is no such port', 'ports/70000', 400, 'request.invalid'],
    ['that is no port', 'ports/0', 400, 'request.invalid'],
    ['there are no ports', 'exec', 405, 'request.method'],
  ])('is refused in HTTP where %s', async (_why, where, status, code) => {
    const answer = await refused(path(where), { identity: host.caller });
    expect(answer).toMatchObject({ status, json: { code } });
  });
  it('is refused in HTTP where the room does not run, and to who asks for another protocol', async () => {
    expect(await refused(path('ports/8080', 7))).toMatchObject({ status: 409, json: { code: 'room.not_running' }, headers: { 'alcove-room': 'elsewhere' } });
    expect(await refused(path('ports/8080'), { protocol: 'websocket' })).toMatchObject({ status: 400, json: { code: 'request.invalid' } });
    expect(await refused('/state')).toMatchObject({ status: 403 });
  });
  it('ends in the room when the caller goes away', async () => {
    const socket = await open(path('ports/8080'));
    socket.write('GET /ping HTTP/1.1\r\nhost: room\r\n');
    await until(async () => (await streams()) === '1');
    socket.destroy();
    await until(async () => (await streams()) === '0');
  });
  it('leaves some of the streams to the owner of the room, however many strangers ask', async () => {
    const strangers = await Promise.all(Array.from({ length: limits.hostAgent.portsPerRoom }, () => open(path('ports/8080'))));
    try {
      expect(await refused(path('ports/8080'))).toMatchObject({ status: 429, json: { code: 'guest.limit' } });
      const owners = await Promise.all(Array.from({ length: limits.hostAgent.streamsPerRoom - limits.hostAgent.portsPerRoom }, () => host.send('GET', path('logs?follow=true'))));
      expect(owners.map(({ statusCode }) => statusCode)).toEqual(owners.map(() => 200));
      // A full room runs: in the words of E2B's clients, who would take a bare 429 for one that does not.
      const exhausted = { code: 'resource_exhausted', message: 'too many requests into this room at once' };
      const caller = new SurfaceCaller(host, edge, () => path('surface'));
      expect(await caller.streamed('process.Process/Start', { process: { cmd: '/bin/true' } })).toEqual([{ flags: 2, message: { error: exhausted } }]);
      expect(await caller.unary('process.Process/List', {})).toMatchObject({ status: 429, json: exhausted });
      expect(await caller.call('GET', 'files?path=a')).toMatchObject({ status: 429, json: { code: 429, message: exhausted.message } });
      for (const one of owners) one.destroy();
    } finally {
      for (const one of strangers) one.destroy();
    }
    await until(async () => (await streams()) === '0');
    (await open(path('ports/8080'))).destroy();
    await until(async () => (await streams()) === '0');
  });
  it('is reset when the room goes to sleep, so that nobody takes it for ended', async () => {
    const socket = await open(path('ports/8080'));
    socket.resume();
    const failed = once(socket, 'error');
    expect((await host.call('PUT', path('sealed'), sealedOrder())).status).toBe(200);
    expect(((await failed) as [NodeJS.ErrnoException])[0].code).toBe('ECONNRESET');
  });
});
