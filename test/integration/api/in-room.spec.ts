import { createServer } from 'node:http';
import { newId } from '@alcove/base';
import { Problem, Room, type NewApiKey } from '@alcove/contracts';
import { WebSocket, WebSocketServer } from 'ws';
import { eventsOf, firstEvents, until } from './conditions';
import { makeIdentities, removeIdentities, startRig, type Rig } from './rig';
import { bytesOf, StubHost } from './stub-host';

/** Processes, terminals, watches, figures and ports of rooms, on a host over real mutual TLS that runs nothing. */
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
  expect((await host.sendBeat(rig.internalUrl)).status).toBe(200);
  key = (await rig.tenant()).key;
  roomId = Room.parse(await (await call('POST', '/v1/rooms', { json: { userId: 'u' } })).json()).id;
  await until('the room runs', async () => ((await (await call('GET', `/v1/rooms/${roomId}`)).json()) as Room).state === 'running');
});
afterAll(async () => {
  await rig?.close();
  await host?.close();
  removeIdentities(identities);
});

const call: Rig['call'] = (method, path, options = {}) => rig.call(method, path, { key: key.key, ...options });
const codeOf = async (answer: Response): Promise<string> => ((await answer.json()) as { code: string }).code;
const line = (value: unknown): string => `${JSON.stringify(value)}\n`;
const base64 = (text: string): string => Buffer.from(text).toString('base64');
const exit = { event: 'exit', exitCode: 0, signal: null, timedOut: false, truncated: false };

describe('a process in the background', () => {
  it('is started, and its number told, while nobody listens to it', async () => {
    let order: unknown;
    let left = false;
    host.on('POST processes', async (asked, reply) => {
      order = JSON.parse((await bytesOf(asked)).toString());
      reply.hijack();
      reply.raw.on('close', () => (left = true));
      reply.raw.writeHead(200, { 'content-type': 'application/x-ndjson' });
      reply.raw.write(line({ event: 'start', pid: 4242 }));
    });
    const answer = await call('POST', `/v1/rooms/${roomId}/processes`, { json: { command: ['sleep', '100'], tag: 't' } });
    expect([answer.status, await answer.json()]).toEqual([201, { pid: 4242 }]);
    expect(order).toEqual({ command: ['sleep', '100'], tag: 't', stdin: false });
    await until('the listening ends', () => left);
  });

  it('that cannot be started is refused with what the room says', async () => {
    host.on('POST processes', (_asked, reply) => reply.type('application/x-ndjson').send(line({ event: 'error', code: 'exec.not_found', detail: 'no such command' })));
    const answer = await call('POST', `/v1/rooms/${roomId}/processes`, { json: { command: ['nope'] } });
    expect([answer.status, await codeOf(answer)]).toEqual([404, 'exec.not_found']);
  });

  it('is listed, listened to, written to, signalled and resized', async () => {
    const listed = { processes: [{ pid: 7, tag: null, command: ['sh'], env: {}, cwd: null, user: 'user', pty: true }] };
    const seen: unknown[] = [];
    host.on('GET processes', () => listed);
    host.on('GET processes/7/output', (_asked, reply) => reply.type('application/x-ndjson').send([{ event: 'start', pid: 7 }, { event: 'stdout', data: base64('hi') }, exit].map(line).join('')));
    for (const verb of ['input', 'signal', 'size']) {
      host.on(`POST processes/7/${verb}`, async (asked, reply) => {
        seen.push([verb, asked.query, (await bytesOf(asked)).toString()]);
        return reply.code(204).send();
      });
    }
    expect(await (await call('GET', `/v1/rooms/${roomId}/processes`)).json()).toEqual(listed);
    expect((await firstEvents(await call('GET', `/v1/rooms/${roomId}/processes/7/output`), Infinity)).map((event) => event.event)).toEqual(['start', 'stdout', 'exit']);
    expect((await call('POST', `/v1/rooms/${roomId}/processes/7/input?close=true`, { body: 'typed' })).status).toBe(204);
    expect((await call('POST', `/v1/rooms/${roomId}/processes/7/signal`, { json: { signal: 'SIGTERM' } })).status).toBe(204);
    expect((await call('POST', `/v1/rooms/${roomId}/processes/7/size`, { json: { cols: 10, rows: 5 } })).status).toBe(204);
    expect(seen).toEqual([['input', { close: 'true' }, 'typed'], ['signal', {}, '{"signal":"SIGTERM"}'], ['size', {}, '{"cols":10,"rows":5}']]);
    for (const pid of ['x', '0', '1e3', '99999999999']) expect(await codeOf(await call('POST', `/v1/rooms/${roomId}/processes/${pid}/signal`, { json: { signal: 9 } }))).toBe('exec.not_found');
    expect(await codeOf(await call('POST', `/v1/rooms/${roomId}/processes/7/signal`, { json: { signal: 'KILL' } }))).toBe('request.invalid');
  });
});

describe('a watched folder', () => {
  it('tells first that it is watched, then what changes, and how the watch ended', async () => {
    host.on('GET files/watch', (asked, reply) => {
      expect(asked.query).toEqual({ path: '/home/user', recursive: 'true' });
      return reply.type('application/x-ndjson').send([{ watching: true }, { name: 'a', change: 'create' }, { event: 'error', code: 'guest.limit' }].map(line).join(''));
    });
    const events = await firstEvents(await call('GET', `/v1/rooms/${roomId}/files/watch?path=/home/user&recursive=true`), Infinity);
    expect(events.map(({ event, data }) => [event, data])).toEqual([['watching', {}], ['create', { name: 'a', change: 'create' }], ['error', { event: 'error', code: 'guest.limit' }]]);
    host.on('GET files/watch', () => {
      throw new Problem('file.not_found');
    });
    expect((await call('GET', `/v1/rooms/${roomId}/files/watch?path=x`)).status).toBe(404);
  });

  it('is left alone when its listener goes', async () => {
    let left = false;
    host.on('GET files/watch', (_asked, reply) => {
      reply.hijack();
      reply.raw.on('close', () => (left = true));
      reply.raw.writeHead(200, { 'content-type': 'application/x-ndjson' });
      reply.raw.write(line({ watching: true }));
    });
    const leave = new AbortController();
    const answer = await call('GET', `/v1/rooms/${roomId}/files/watch?path=x`, { signal: leave.signal });
    for await (const event of eventsOf(answer)) {
      expect(event.event).toBe('watching');
      break;
    }
    leave.abort();
    await until('the host hears of it', () => left);
  });
});

it('what a room uses is told', async () => {
  const figures = [{ at: '2026-01-01T00:00:00.000Z', cpuCount: 1, cpuUsedPct: 1.5, memTotal: 2, memUsed: 1, memCache: 0, diskTotal: 9, diskUsed: 3, processes: 5 }];
  host.on('GET figures', () => ({ figures }));
  expect(await (await call('GET', `/v1/rooms/${roomId}/figures`)).json()).toEqual({ figures });
});

describe('a port of a room', () => {
  const inside = createServer((asked, answer) => {
    let body = '';
    asked.on('data', (chunk: Buffer) => (body += chunk.toString()));
    asked.on('end', () => {
      answer.writeHead(asked.method === 'DELETE' ? 418 : 200, { 'content-type': 'application/json', 'set-cookie': 'a=b', 'strict-transport-security': 'max-age=1', 'content-security-policy': '*', 'x-own': 'kept' });
      answer.end(JSON.stringify({ method: asked.method, url: asked.url, headers: asked.headers, body }));
    });
  });
  const sockets = new WebSocketServer({ server: inside });
  sockets.on('connection', (socket, asked) => socket.on('message', (data) => socket.send(`${asked.url} ${asked.headers.authorization ?? 'no key'} ${data.toString()}`)));
  beforeAll(() => host.port(3000, (socket) => inside.emit('connection', socket)));

  it('answers any method, path, query and body as a server in the room does', async () => {
    const path = `/v1/rooms/${roomId}/ports/3000`;
    const got = await call('GET', `${path}/a%20b/../c?x=1&x=2`, { headers: { 'x-thing': '7', cookie: 'secret=1' } });
    const seen = (await got.json()) as { method: string; url: string; headers: Record<string, string> };
    expect(seen).toMatchObject({ method: 'GET', headers: { host: 'localhost:3000', 'x-thing': '7' } });
    expect(seen.url).toMatch(/^\/(a%20b\/\.\.\/)?c\?x=1&x=2$/);
    expect(Object.keys(seen.headers)).not.toEqual(expect.arrayContaining(['authorization']));
    expect(seen.headers).not.toHaveProperty('cookie');
    expect(seen.headers).not.toHaveProperty('authorization');
    expect(got.headers.get('x-own')).toBe('kept');
    for (const name of ['set-cookie', 'strict-transport-security']) expect(got.headers.get(name)).toBeNull();
    expect(got.headers.get('content-security-policy')).toContain('sandbox');
    for (const method of ['POST', 'PUT', 'PATCH', 'OPTIONS']) {
      expect(await (await call(method, `${path}/`, { body: 'text', headers: { 'content-type': 'text/plain' } })).json()).toMatchObject({ method, url: '/', body: 'text' });
    }
    expect((await call('DELETE', `${path}/x`)).status).toBe(418);
    expect([(await call('HEAD', `${path}/x`)).status, await (await call('HEAD', `${path}/x`)).text()]).toEqual([200, '']);
  });

  it('wakes its room', async () => {
    await call('POST', `/v1/rooms/${roomId}/hibernate`);
    const got = await call('GET', `/v1/rooms/${roomId}/ports/3000/x`);
    expect([got.status, Number(got.headers.get('alcove-woken-ms'))]).toEqual([200, expect.any(Number)]);
    await got.text();
  });

  it('where nothing listens, or something that is no server, is 502', async () => {
    host.port(3001, (socket) => socket.resume().end('what do you want\r\n'));
    for (const port of [3001, 3002]) {
      const answer = await call('GET', `/v1/rooms/${roomId}/ports/${port}/`);
      expect([answer.status, await codeOf(answer)]).toEqual([502, 'agent.unreachable']);
    }
    for (const port of ['0', '65536', '99999', 'x']) expect((await call('GET', `/v1/rooms/${roomId}/ports/${port}/`)).status).toBe(400);
  });

  it('carries a WebSocket, without the key', async () => {
    const socket = new WebSocket(`${rig.url.replace('http', 'ws')}/v1/rooms/${roomId}/ports/3000/live?x=1`, { headers: { authorization: `Bearer ${key.key}` } });
    await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject));
    const heard = new Promise<string>((resolve) => socket.once('message', (data) => resolve(data.toString())));
    socket.send('hello');
    expect(await heard).toBe('/live?x=1 no key hello');
    const closed = new Promise((resolve) => socket.once('close', resolve));
    socket.close();
    await closed;
  });
});

describe('a terminal', () => {
  /** A process on a terminal in the stub: says what it is given. */
  interface Shell {
    readonly order: Record<string, unknown>;
    readonly typed: () => string;
    readonly sizes: unknown[];
    say(event: unknown): void;
    end(): void;
    readonly signals: unknown[];
    left: boolean;
  }
  let shell: Shell | null = null;

  beforeAll(() => {
    const start = async (asked: Parameters<Parameters<StubHost['on']>[1]>[0], reply: Parameters<Parameters<StubHost['on']>[1]>[1]): Promise<void> => {
      const body = (await bytesOf(asked)).toString();
      const [signals, sizes, typed]: [unknown[], unknown[], Buffer[]] = [[], [], []];
      reply.hijack();
      reply.raw.writeHead(200, { 'content-type': 'application/x-ndjson' });
      reply.raw.write(line({ event: 'start', pid: 9 }));
      const made: Shell = { order: body === '' ? {} : (JSON.parse(body) as Record<string, unknown>), typed: () => Buffer.concat(typed).toString(), sizes, signals, say: (event) => void reply.raw.write(line(event)), end: () => void reply.raw.end(), left: false };
      reply.raw.on('close', () => (made.left = true));
      host.on('POST processes/9/input', async (given, done) => (typed.push(await bytesOf(given)), done.code(204).send()));
      host.on('POST processes/9/size', async (given, done) => (sizes.push(JSON.parse((await bytesOf(given)).toString())), done.code(204).send()));
      host.on('POST processes/9/signal', async (given, done) => (signals.push(JSON.parse((await bytesOf(given)).toString())), done.code(204).send()));
      shell = made;
    };
    host.on('POST processes', start);
    host.on('GET processes/9/output', start);
  });

  interface Heard {
    readonly socket: WebSocket;
    readonly words: unknown[];
    readonly shown: () => string;
    readonly closed: Promise<number>;
  }

  async function open(query = '', options: { protocols?: string[]; headers?: Record<string, string> } = {}): Promise<Heard> {
    shell = null;
    const headers = options.protocols ? {} : { authorization: `Bearer ${key.key}` };
    const socket = new WebSocket(`${rig.url.replace('http', 'ws')}/v1/rooms/${roomId}/pty${query}`, options.protocols ?? [], { headers: { ...headers, ...options.headers } });
    const words: unknown[] = [];
    const shown: Buffer[] = [];
    socket.on('message', (data: Buffer, isBinary) => (isBinary ? shown.push(data) : words.push(JSON.parse(data.toString()))));
    const closed = new Promise<number>((resolve) => socket.once('close', resolve));
    await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject));
    return { socket, words, shown: () => Buffer.concat(shown).toString(), closed };
  }

  async function refused(query: string, headers: Record<string, string>, protocols: string[] = []): Promise<{ status: number; code: string }> {
    const socket = new WebSocket(`${rig.url.replace('http', 'ws')}${query}`, protocols, { headers });
    return new Promise((resolve, reject) => {
      socket.once('open', () => reject(new Error('let in')));
      socket.once('error', () => undefined);
      socket.once('unexpected-response', (_asked, answer) => {
        let text = '';
        answer.on('data', (chunk: Buffer) => (text += chunk.toString()));
        answer.on('end', () => resolve({ status: answer.statusCode ?? 0, code: (JSON.parse(text) as { code: string }).code }));
      });
    });
  }

  it('shows what the process writes, types what is sent, in order, and says how it ended', async () => {
    const terminal = await open('?cols=100&rows=30&cwd=/tmp&user=root');
    const { order, say, end, typed, sizes } = await until('the shell runs', () => shell);
    expect(order).toMatchObject({ command: ['/bin/bash', '-i', '-l'], pty: { cols: 100, rows: 30 }, cwd: '/tmp', user: 'root', stdin: true });
    const parts = Array.from({ length: 200 }, (_, i) => `${i};`);
    for (const part of parts) terminal.socket.send(Buffer.from(part));
    terminal.socket.send(JSON.stringify({ resize: { cols: 20, rows: 10 } }));
    await until('all of it is typed', () => typed() === parts.join(''));
    await until('the size is changed', () => sizes.length === 1);
    expect(sizes).toEqual([{ cols: 20, rows: 10 }]);
    say({ event: 'stdout', data: base64('\u001b[1mbold→') });
    await until('it is shown', () => terminal.shown() === '\u001b[1mbold→');
    say(exit);
    end();
    expect(await terminal.closed).toBe(1000);
    expect(terminal.words).toEqual([{ pid: 9 }, { exit: { exitCode: 0, signal: null, timedOut: false } }]);
  });

  it('lets its process live when its caller goes, unless it was to end with it', async () => {
    const first = await open();
    const left = await until('the shell runs', () => shell);
    first.socket.close();
    await first.closed;
    await until('nobody listens', () => left.left);
    expect(left.signals).toEqual([]);
    const second = await open('?pid=9&end=true&cols=50&rows=9');
    const attached = await until('it is listened to', () => shell);
    await until('its size is changed', () => attached.sizes.length === 1);
    second.socket.terminate();
    await until('the process is ended', () => attached.signals.length === 1);
    expect([attached.signals, attached.sizes]).toEqual([[{ signal: 9 }], [{ cols: 50, rows: 9 }]]);
  });

  it('takes the key of a browser as a subprotocol, and does not say it again', async () => {
    const terminal = await open('', { protocols: ['alcove.pty', `alcove.key.${key.key}`] });
    expect(terminal.socket.protocol).toBe('alcove.pty');
    terminal.socket.close();
    await terminal.closed;
  });

  it('says so when the room breaks off, and closes on what makes no sense', async () => {
    const broken = await open();
    (await until('the shell runs', () => shell)).end();
    expect([await broken.closed, broken.words.at(-1)]).toEqual([1011, { error: { code: 'guest.closed' } }]);
    for (const nonsense of ['{', '{"resize":{"cols":0,"rows":1}}', '{"colour":1}', `"${'x'.repeat(5000)}"`]) {
      const terminal = await open();
      terminal.socket.send(nonsense);
      expect(await terminal.closed).toBe(1008);
    }
    const large = await open();
    large.socket.send(Buffer.alloc(300 << 10));
    expect(await large.closed).toBe(1009);
  });

  it('is behind the same door as everything else', async () => {
    const path = `/v1/rooms/${roomId}/pty`;
    const auth = { authorization: `Bearer ${key.key}` };
    const wrong = `ak_${'0'.repeat(20)}_${'0'.repeat(64)}`;
    const foreign = (await rig.tenant()).key.key;
    expect(await refused(path, {})).toEqual({ status: 401, code: 'auth.missing' });
    expect(await refused(path, { authorization: `Bearer ${wrong}` })).toEqual({ status: 401, code: 'auth.invalid' });
    expect(await refused(path, {}, ['alcove.pty', `alcove.key.${wrong}`])).toEqual({ status: 401, code: 'auth.invalid' });
    expect(await refused(path, { authorization: `Bearer ${rig.platformKey}` })).toEqual({ status: 403, code: 'auth.scope' });
    expect(await refused(path, { authorization: `Bearer ${foreign}` })).toEqual({ status: 404, code: 'room.not_found' });
    expect(await refused(`/v1/rooms/${roomId}/ports/3000/`, { authorization: `Bearer ${foreign}` })).toEqual({ status: 404, code: 'room.not_found' });
    expect(await refused('/v1/rooms/room_x/pty', auth)).toEqual({ status: 404, code: 'room.not_found' });
    expect(await refused(`${path}?cols=0`, auth)).toEqual({ status: 400, code: 'request.invalid' });
    expect(await refused(`${path}?colour=1`, auth)).toEqual({ status: 400, code: 'request.invalid' });
    expect(await refused(`${path}?__proto__=1`, auth)).toEqual({ status: 400, code: 'request.invalid' });
    const plain = await call('GET', path);
    expect([plain.status, await codeOf(plain)]).toEqual([400, 'request.invalid']);
    const slow = (await (await rig.call('POST', `/v1/tenants/${key.tenantId}/keys`, { key: rig.platformKey, json: { name: 'slow', concurrent: 1 } })).json()) as NewApiKey;
    const one = await open('', { protocols: ['alcove.pty', `alcove.key.${slow.key}`] });
    expect(await refused(path, { authorization: `Bearer ${slow.key}` })).toEqual({ status: 429, code: 'request.concurrency' });
    one.socket.terminate();
    await until('its place is free', () => open('', { protocols: ['alcove.pty', `alcove.key.${slow.key}`] }).then((again) => (again.socket.terminate(), true), () => false));
  });
});
