import { once } from 'node:events';
import { createServer, request as httpRequest, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { constants } from 'node:http2';
import { request } from 'node:https';
import { BrokenStream, domain, EdgeWorld, hostOf, readStream, rest, room, surface, surfaceToken } from './edge-harness';
import { until } from './host-harness';

const world = new EdgeWorld();
const token = { 'x-access-token': surfaceToken };
const protocols = ['http1', 'http2'] as const;

beforeAll(() => world.start({ ALCOVE_EDGE_DEBUG_ROOM: room.id, ALCOVE_EDGE_DEBUG_LISTEN: '127.0.0.1:0' }));
afterAll(() => world.stop());
beforeEach(() => world.renew());

describe('a room that ends in the middle of an answer', () => {
  const half = (a: ServerResponse): void => {
    a.writeHead(200, { 'content-type': 'application/connect+json' });
    a.write('first');
  };
  it('resets the stream with INTERNAL_ERROR, and the connection goes on', async () => {
    let end = (): void => undefined;
    world.onSurface = (_q, a) => {
      half(a);
      end = () => a.destroy();
    };
    const session = await world.session();
    const stream = session.request({ ':authority': surface, ':path': '/process.Process/Start', ':method': 'POST', ...token });
    stream.end('{}');
    const answer = readStream(stream);
    await once(stream, 'data');
    end();
    await expect(answer).rejects.toEqual(new BrokenStream(constants.NGHTTP2_INTERNAL_ERROR));
    world.elsewhere = true;
    world.route = world.asleep({ reason: 'killed' });
    expect(await world.http2(surface, '/health', { session })).toMatchObject({ status: 502, json: { reason: 'killed' } });
  });
  it('breaks the connection of HTTP/1.1', async () => {
    let end = (): void => undefined;
    world.onSurface = (_q, a) => {
      half(a);
      end = () => a.destroy();
    };
    const socket = await world.raw();
    socket.write(`GET /x HTTP/1.1\r\nhost: ${surface}\r\nx-access-token: ${surfaceToken}\r\n\r\n`);
    const all = rest(socket);
    await once(socket, 'data');
    await until(() => end.toString() !== '() => undefined');
    end();
    expect(await all).not.toContain('\r\n0\r\n\r\n');
  });
  it('does so too when it is a tunnel that ends', async () => {
    await world.listenInRoom(createServer((_q, a) => half(a)));
    const stream = (await world.session()).request({ ':authority': hostOf(3000), ':path': '/' });
    const answer = readStream(stream);
    await once(stream, 'data');
    for (const tunnel of world.tunnels) tunnel.destroy();
    await expect(answer).rejects.toEqual(new BrokenStream(constants.NGHTTP2_INTERNAL_ERROR));
    world.app?.closeAllConnections();
  });
});

describe('a caller that leaves', () => {
  it.each(protocols)('over %s in the middle of an upload: the host sees it broken off, not ended', async (protocol) => {
    let upload: IncomingMessage | undefined;
    const events: string[] = [];
    world.onSurface = (q) => {
      upload = q;
      q.on('end', () => events.push('end'));
      q.on('close', () => events.push('close'));
      q.on('error', () => undefined);
      q.resume();
    };
    const piece = Buffer.alloc(100_000);
    if (protocol === 'http1') {
      const socket = await world.raw();
      socket.write(`POST /files?path=a HTTP/1.1\r\nhost: ${surface}\r\nx-access-token: ${surfaceToken}\r\ntransfer-encoding: chunked\r\n\r\n${piece.length.toString(16)}\r\n`);
      socket.write(piece);
      socket.write('\r\n');
      await until(() => upload !== undefined);
      socket.destroy();
    } else {
      const stream = (await world.session()).request({ ':authority': surface, ':path': '/files?path=a', ':method': 'POST', ...token });
      stream.on('error', () => undefined);
      stream.write(piece);
      await until(() => upload !== undefined);
      stream.close(constants.NGHTTP2_CANCEL);
    }
    await until(() => events.includes('close'));
    expect(events).toEqual(['close']);
    expect(upload?.complete).toBe(false);
  });
  it.each(protocols)('over %s while it listens: the host sees it gone', async (protocol) => {
    let gone = false;
    world.onSurface = (_q, a) => {
      a.writeHead(200).write('listening');
      a.on('close', () => (gone = true));
    };
    if (protocol === 'http1') {
      const outgoing = request({ host: '127.0.0.1', port: world.port, servername: domain, ca: world.ca, agent: false, path: '/x', headers: { host: surface, ...token } });
      outgoing.on('error', () => undefined).end();
      const [incoming] = (await once(outgoing, 'response')) as [IncomingMessage];
      await once(incoming, 'data');
      incoming.on('error', () => undefined);
      outgoing.destroy();
    } else {
      const stream = (await world.session()).request({ ':authority': surface, ':path': '/x', ...token });
      await once(stream, 'data');
      stream.close(constants.NGHTTP2_CANCEL);
    }
    await until(() => gone);
  });
  it('slowly reads: the host is not read faster', async () => {
    let written = 0;
    let stalled = false;
    world.onSurface = (_q, a) => {
      a.writeHead(200);
      const more = (): void => {
        while (a.write(Buffer.alloc(1 << 16))) written += 1 << 16;
        stalled = true;
        a.once('drain', more);
      };
      more();
    };
    const stream = (await world.session()).request({ ':authority': surface, ':path': '/x', ...token });
    stream.on('error', () => undefined);
    await once(stream, 'response');
    stream.pause();
    await until(() => stalled);
    let before = -1;
    await until(async () => {
      const same = before === written;
      before = written;
      await new Promise((next) => setTimeout(next, 50));
      return same;
    });
    expect(written).toBeLessThan(64 << 20);
    stream.close(constants.NGHTTP2_CANCEL);
  });
});

describe('what could be read in two ways', () => {
  it.each([
    ['two lengths', 'content-length: 3\r\ncontent-length: 4\r\n\r\nabcd'],
    ['a length and chunks', 'content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n'],
    ['an encoding that is not chunked', 'transfer-encoding: identity\r\n\r\nabcd'],
    ['chunked twice', 'transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n'],
    ['chunked among others', 'transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n'],
    ['a length that is no number', 'content-length: +3\r\n\r\nabc'],
    ['a second host', `host: api.${domain}\r\n\r\n`],
    ['a folded header', 'x-a: b\r\n c\r\ntransfer-encoding : chunked\r\n\r\n'],
    ['a bare line feed', 'x-a: b\ncontent-length: 3\r\n\r\nabc'],
  ])('%s is refused, and the connection ends or means nothing else', async (_name, text) => {
    const smuggled: string[] = [];
    world.onApi = (q, a) => {
      smuggled.push(q.url ?? '');
      a.end('{}');
    };
    const socket = await world.raw();
    const all = rest(socket);
    socket.write(`POST /first HTTP/1.1\r\nhost: api.${domain}\r\nconnection: close\r\n${text}`);
    expect(await all).toMatch(/^HTTP\/1\.1 (400|431)/);
    expect(smuggled).toEqual([]);
  });
  it.each([
    ['an absolute form', 'GET http://evil.example/ HTTP/1.1'],
    ['a fragment', 'GET /#a HTTP/1.1'],
    ['no path', 'OPTIONS * HTTP/1.1'],
    ['a method of proxies', 'TRACE / HTTP/1.1'],
    ['a path in another script', 'GET /\xe9 HTTP/1.1'],
  ])('%s is refused', async (_name, line) => {
    const socket = await world.raw();
    const all = rest(socket);
    socket.write(`${line}\r\nhost: api.${domain}\r\nconnection: close\r\n\r\n`, 'latin1');
    expect(await all).toMatch(/^HTTP\/1\.1 40[05]/);
  });
  it('a request without a host is refused', async () => {
    const socket = await world.raw();
    const all = rest(socket);
    socket.write('GET / HTTP/1.0\r\n\r\n');
    expect(await all).toMatch(/^HTTP\/1\.1 400/);
  });
  it('under HTTP/2, two hosts and a length that is not so', async () => {
    expect(await world.http2(`api.${domain}`, '/', { headers: { host: 'evil.example' } })).toMatchObject({ status: 400 });
    await expect(world.http2(surface, '/files', { method: 'POST', headers: { ...token, 'content-length': '10' }, body: 'abc' })).rejects.toThrow(BrokenStream);
  });
  it('headers that the connection names go no further', async () => {
    let seen: IncomingMessage | undefined;
    world.onApi = (q, a) => {
      seen = q;
      a.writeHead(200, { connection: 'x-internal', 'x-internal': '1', 'x-public': '1' }).end('{}');
    };
    const answer = await world.http1(`api.${domain}`, '/', { headers: { connection: 'close, x-secret', 'x-secret': '1', 'proxy-authorization': 'x', 'keep-alive': '1' } });
    for (const name of ['x-secret', 'proxy-authorization', 'keep-alive']) expect(seen?.headers[name]).toBeUndefined();
    expect(answer.headers).toMatchObject({ 'x-public': '1' });
    expect(answer.headers['x-internal']).toBeUndefined();
  });
  it('headers beyond the bound are refused, and the process lives', async () => {
    await expect(world.http1(`api.${domain}`, '/', { headers: { 'x-long': 'a'.repeat(100_000) } }).then(({ status }) => status === 431)).resolves.toBe(true);
    await expect(world.http2(`api.${domain}`, '/', { headers: { 'x-long': 'a'.repeat(60_000) } }).then(({ status }) => status, () => 431)).resolves.toBe(431);
    expect(await world.http2(`api.${domain}`, '/')).toMatchObject({ status: 200 });
  });
});

describe('WebSockets', () => {
  const shake = (host: string, path = '/socket'): string => `GET ${path} HTTP/1.1\r\nhost: ${host}\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n`;
  const echo = (server: Server): typeof server =>
    server.on('upgrade', (q, socket, head) => {
      socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: yes\r\nx-host: ${q.headers.host}\r\n\r\n`);
      socket.write(head);
      socket.on('error', () => undefined);
      socket.pipe(socket);
    });
  afterEach(() => {
    world.app?.closeAllConnections();
    world.app = null;
    world.apiServer.removeAllListeners('upgrade');
  });
  it('pass through the tunnel, and end with either side', async () => {
    await world.listenInRoom(echo(createServer()));
    const socket = await world.raw();
    let got = '';
    socket.on('data', (chunk: Buffer) => (got += chunk.toString('latin1')));
    // The first bytes come together with the head.
    socket.write(`${shake(hostOf(3000))}early`);
    await until(() => got.includes('\r\n\r\nearly'));
    expect(got).toMatch(/^HTTP\/1\.1 101/);
    expect(got).toContain('Sec-WebSocket-Accept: yes');
    expect(got).toContain(`x-host: ${hostOf(3000)}`);
    socket.write('later');
    await until(() => got.endsWith('later'));
    for (const tunnel of world.tunnels) tunnel.destroy();
    await once(socket, 'close');
  });
  it('bring all that was said before the application closed', async () => {
    const last = Buffer.alloc(3 << 20, 'last words ');
    await world.listenInRoom(createServer().on('upgrade', (_q, socket) => {
      socket.on('error', () => undefined);
      socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n');
      socket.end(last);
    }));
    const socket = await world.raw();
    const all = rest(socket);
    socket.write(shake(hostOf(3000)));
    expect((await all).split('\r\n\r\n')[1]).toHaveLength(last.length);
  });
  it('pass to the API', async () => {
    echo(world.apiServer);
    const socket = await world.raw();
    let got = '';
    socket.on('data', (chunk: Buffer) => (got += chunk.toString('latin1')));
    socket.write(shake(`api.${domain}`));
    await until(() => got.includes('101'));
    socket.write('ping');
    await until(() => got.endsWith('ping'));
    socket.destroy();
  });
  it('are refused in HTTP', async () => {
    for (const [host, status] of [[hostOf(3009), 502], [`49983-${room.sandboxId}.${domain}`, 400], ['evil.example', 421]] as const) {
      const socket = await world.raw();
      const all = rest(socket);
      socket.write(shake(host));
      expect(await all).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
    }
  });
  it('are answered as the application answers', async () => {
    await world.listenInRoom(createServer((_q, a) => void a.writeHead(401, { 'x-why': 'no' }).end('no')));
    const socket = await world.raw();
    const all = rest(socket);
    socket.write(shake(hostOf(3000)));
    expect(await all).toMatch(/^HTTP\/1\.1 401[^]*x-why: no[^]*no\r\n0\r\n\r\n$/);
  });
  it('of another kind are not offered: the request goes on', async () => {
    expect(await world.http1(`api.${domain}`, '/', { headers: { connection: 'upgrade, http2-settings', upgrade: 'h2c', 'http2-settings': 'x' } })).toMatchObject({ status: 200 });
  });
});

describe('the debug listener', () => {
  const ask = (path: string, headers: Record<string, string>): Promise<number> =>
    new Promise((resolve, reject) => {
      const outgoing = httpRequest({ host: '127.0.0.1', port: world.debugPort, path, headers, agent: false }, (incoming) => {
        incoming.resume();
        resolve(incoming.statusCode ?? 0);
      });
      outgoing.on('error', reject);
      outgoing.end();
    });
  it('serves its room without a token', async () => {
    for (const host of ['localhost:49983', '127.0.0.1', '[::1]']) expect(await ask('/metrics', { host })).toBe(204);
    expect(await ask('/init', { host: 'localhost' })).toBe(404);
  });
  it('to nobody who comes by another name, nor to pages of other sites', async () => {
    for (const host of ['evil.example', 'localhost.evil.example', '127.0.0.1.nip.example', surface]) expect(await ask('/metrics', { host })).toBe(421);
    expect(await ask('/metrics', { host: 'localhost', origin: 'https://evil.example' })).toBe(403);
    expect(await ask('/metrics', { host: 'localhost', origin: 'null' })).toBe(403);
    expect(await ask('/metrics', { host: 'localhost', 'sec-fetch-site': 'cross-site' })).toBe(403);
    expect(await ask('/metrics', { host: 'localhost', origin: 'http://localhost:5173' })).toBe(204);
  });
});
