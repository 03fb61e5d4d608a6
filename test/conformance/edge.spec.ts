import { once } from 'node:events';
import { createServer, request as httpRequest, type IncomingMessage } from 'node:http';
import { constants } from 'node:http2';
import { request } from 'node:https';
import { signatureOf } from '../../apps/edge/src/access';
import { bodyOf, BrokenStream, digest, domain, EdgeWorld, hostOf, readStream, rest, room, surface, surfaceToken } from './edge-harness';
import { until } from './host-harness';

const world = new EdgeWorld();
const token = { 'x-access-token': surfaceToken };
const protocols = ['http1', 'http2'] as const;

beforeAll(() => world.start({ ALCOVE_EDGE_DEBUG_ROOM: room.id, ALCOVE_EDGE_DEBUG_LISTEN: '127.0.0.1:0' }));
afterAll(() => world.stop());

const initial = { route: world.route };
beforeEach(() => {
  if (initial.route.target?.hostUrl === '') initial.route = world.route;
  // Another incarnation than in the case before: nothing that the edge keeps is of use.
  const target = initial.route.target && { ...initial.route.target, incarnation: initial.route.target.incarnation + 1 };
  initial.route = { ...initial.route, target };
  world.route = initial.route;
  world.elsewhere = false;
  world.wakes = () => 'room.not_running';
  world.onSurface = (_request, response) => void response.writeHead(204).end();
  world.onApi = (_request, response) => void response.writeHead(200, { 'content-type': 'application/json' }).end('{}');
});

describe.each(protocols)('over %s', (protocol) => {
  const call = world[protocol].bind(world);

  describe('hosts', () => {
    it.each([
      ['nothing.alcove.test', 404],
      ['alcove.test', 404],
      ['a.api.alcove.test', 404],
      ['0-i0123456789abcdef0123.alcove.test', 404],
      ['65536-i0123456789abcdef0123.alcove.test', 404],
      ['3000-i0123456789abcdef0123.alcove.test.evil.example', 421],
      ['evil.example', 421],
      ['notalcove.test', 421],
      ['localhost', 404],
    ])('%s is answered with %i', async (host, status) => {
      expect(await call(host, '/')).toMatchObject({ status, json: { code: status } });
    });
    it('case and port do not matter', async () => {
      expect(await call(`49983-${room.sandboxId.toUpperCase()}.ALCOVE.test:8443`, '/health')).toMatchObject({ status: 204 });
    });
    it('routing headers are believed on nobody’s name only', async () => {
      const headers = { 'e2b-sandbox-id': room.sandboxId, 'e2b-sandbox-port': '49983', ...token };
      for (const host of ['localhost:1', '127.0.0.1', '[::1]:8443', `sandbox.${domain}`]) expect(await call(host, '/anything', { headers })).toMatchObject({ status: 204 });
      expect(await call(`3000-i${'9'.repeat(20)}.${domain}`, '/', { headers })).toMatchObject({ status: 502, json: { sandboxId: `i${'9'.repeat(20)}` } });
      expect(await call('localhost', '/', { headers: { 'e2b-sandbox-id': '../../x' } })).toMatchObject({ status: 400 });
    });
  });

  describe('the API', () => {
    it('gets the request as it is, and who asked', async () => {
      let seen: IncomingMessage | undefined;
      world.onApi = (q, a) => void bodyOf(q).then((body) => {
        seen = q;
        a.writeHead(418, { 'x-next-token': 'more', 'set-cookie': ['a=1', 'b=2'], 'content-type': 'application/json' }).end(JSON.stringify({ got: body.toString() }));
      });
      const headers = { 'X-API-KEY': 'ak_1', 'content-type': 'application/json', 'x-forwarded-for': '6.6.6.6', 'x-forwarded-host': 'evil.example', te: 'trailers' };
      const answer = await call(`api.${domain}:8443`, '/v2/sandboxes?a=%2F..%2f&b', { method: 'POST', headers, body: '{"x":1}' });
      expect(answer).toMatchObject({ status: 418, json: { got: '{"x":1}' }, headers: { 'x-next-token': 'more', 'set-cookie': ['a=1', 'b=2'] } });
      expect(seen).toMatchObject({ method: 'POST', url: '/v2/sandboxes?a=%2F..%2f&b' });
      expect(seen?.headers).toMatchObject({ host: `api.${domain}:8443`, 'x-api-key': 'ak_1', 'x-forwarded-for': '127.0.0.1', 'x-forwarded-proto': 'https', 'x-forwarded-host': `api.${domain}:8443` });
      expect(seen?.headers.te).toBeUndefined();
    });
    it('that cuts its answer is seen to', async () => {
      world.onApi = (_q, a) => {
        a.writeHead(200, { 'content-length': '100' }).write('half');
        setImmediate(() => a.destroy());
      };
      await expect(call(`api.${domain}`, '/')).rejects.toThrow();
    });
  });

  describe('the surface', () => {
    it('answers health to everybody while the room runs, and the rest to who has the token', async () => {
      expect(await call(surface, '/health')).toMatchObject({ status: 204 });
      expect(await call(surface, '/metrics')).toMatchObject({ status: 401, json: { code: 401 } });
      expect(await call(surface, '/metrics', { headers: { 'x-access-token': `${surfaceToken}x` } })).toMatchObject({ status: 401 });
      expect(await call(surface, '/metrics', { headers: token })).toMatchObject({ status: 204 });
      for (const path of ['/health/', '/health/../metrics', '/%66iles', '//files', '/files/../files/compose']) expect(await call(surface, path)).toMatchObject({ status: 401 });
    });
    it('is asked for without what is for the edge only, in a path that stays in the room', async () => {
      let seen: IncomingMessage | undefined;
      world.onSurface = (q, a) => {
        seen = q;
        a.writeHead(200, { 'alcove-secret': 'x', 'x-yes': '1' }).end();
      };
      const headers = { ...token, 'e2b-sandbox-id': 'x', authorization: 'Basic dXNlcjo=', 'x-forwarded-for': '1.2.3.4', 'alcove-trust': '1' };
      const answer = await call(surface, '/a/../../../../../state/%2e%2e/b?c=..', { headers });
      expect(answer.status).toBe(200);
      expect(answer.headers['alcove-secret']).toBeUndefined();
      expect(answer.headers['alcove-room']).toBeUndefined();
      expect(answer.headers['x-yes']).toBe('1');
      expect(seen?.url).toBe(`/rooms/${room.id}/incarnations/${world.route.target?.incarnation}/surface/b?c=..`);
      expect(seen?.headers).toMatchObject({ authorization: 'Basic dXNlcjo=', host: surface });
      for (const name of ['x-access-token', 'e2b-sandbox-id', 'x-forwarded-for', 'alcove-trust']) expect(seen?.headers[name]).toBeUndefined();
    });
    it('takes signed addresses of files', async () => {
      const signed = (path: string, operation: 'read' | 'write', expiration: string | null = null) => {
        const query = new URLSearchParams({ path, username: 'user', signature: signatureOf({ path, operation, user: 'user', token: surfaceToken, expiration }), ...(expiration && { signature_expiration: expiration }) });
        return `/files?${query.toString()}`;
      };
      expect(await call(surface, signed('/a b', 'read'))).toMatchObject({ status: 204 });
      expect(await call(surface, signed('/a', 'read', '9999999999'))).toMatchObject({ status: 204 });
      expect(await call(surface, signed('/a', 'write'), { method: 'POST', body: 'x' })).toMatchObject({ status: 204 });
      const expired = await call(surface, signed('/a', 'read', '1000000000'));
      expect(expired.status).toBe(401);
      expect(expired.json).toEqual({ code: 401, message: 'signature is already expired' });
      for (const wrong of [signed('/a', 'write'), signed('/a', 'read').replace('path=%2Fa', 'path=%2Fb'), `${signed('/a', 'read')}&path=/etc/shadow`, signed('/a', 'read').replace('/files', '/files/compose')]) {
        expect(await call(surface, wrong)).toMatchObject({ status: 401 });
      }
    });
    it.each(['/init', '/freeze', '/unfreeze', '/fsfreeze', '/fsthaw', '/collapse', '/upgrade', '/%69nit', '/INIT/', '//init', '/x/../init', '/init?a'])('has no control route %s, before any question', async (path) => {
      const asked = world.asked;
      expect(await call(surface, path, { method: 'POST', headers: token, body: '' })).toMatchObject({ status: 404 });
      expect(world.asked).toBe(asked);
    });
    it('streams both ways at once, without an end', async () => {
      world.onSurface = (q, a) => {
        a.writeHead(200);
        q.pipe(a);
      };
      const big = Buffer.alloc(12 << 20, 'some bytes ');
      const answer = await call(surface, '/echo', { method: 'POST', headers: token, body: big });
      expect(digest(answer.body)).toBe(digest(big));
    });
    it('delivers an answer that comes before the body was read, and whose sender closes', async () => {
      world.onSurface = (q, a) => {
        a.writeHead(413, { 'content-type': 'application/json', connection: 'close' }).end('{"code":413}');
        q.socket.end();
      };
      for (let round = 0; round < 5; round++) {
        const answer = await call(surface, '/files', { method: 'POST', headers: token, body: Buffer.alloc(8 << 20) });
        expect(answer).toMatchObject({ status: 413, json: { code: 413 } });
      }
    });
  });

  describe('a room that does not run', () => {
    const notFound = { sandboxId: room.sandboxId, message: 'The sandbox was not found', code: 502 };
    it('is not found', async () => {
      world.elsewhere = true;
      world.route = world.asleep();
      const asleep = await call(surface, '/health', { headers: token });
      expect(asleep).toMatchObject({ status: 502, json: notFound });
      const other = 'd'.repeat(20);
      world.others.set(`room_${other}`, world.asleep({ state: 'destroyed', reason: 'timeout' }));
      const gone = await call(`3000-i${other}.${domain}`, '/');
      expect(gone.json).toEqual({ ...notFound, sandboxId: `i${other}`, reason: 'timeout' });
      const unknown = await call(`49983-nosuchroom.${domain}`, '/health');
      expect(unknown.json).toEqual({ ...notFound, sandboxId: 'nosuchroom' });
    });
    it('is shown as a page to people', async () => {
      world.elsewhere = true;
      world.route = world.asleep({ reason: '<script>' });
      const answer = await call(hostOf(3000), '/', { headers: { accept: 'text/html,*/*' } });
      expect(answer).toMatchObject({ status: 502, headers: { 'content-type': 'text/html; charset=utf-8' } });
      expect(answer.body.toString()).not.toContain('<script>');
    });
    it('is woken by whoever shows its token, once for many', async () => {
      const running = world.route;
      world.elsewhere = true;
      world.route = world.asleep({ autoResume: true });
      world.wakes = () => {
        world.elsewhere = false;
        return (world.route = { ...running, autoResume: true });
      };
      const woken = world.woken;
      for (const headers of [{ accept: '*/*' }, { 'x-access-token': 'wrong' }] as Record<string, string>[]) expect(await call(surface, '/health', { headers })).toMatchObject({ status: 502 });
      expect(world.woken).toBe(woken);
      const answers = await Promise.all(Array.from({ length: 5 }, () => call(surface, '/health', { headers: token })));
      expect(answers.map(({ status }) => status)).toEqual(Array(5).fill(204));
      expect(world.woken).toBe(woken + 1);
    });
    it.each([
      ['room.busy', 409],
      ['room.not_running', 502],
      ['room.held', 403],
      ['host.capacity', 503],
    ] as const)('whose wake is refused with %s answers %i', async (code, status) => {
      world.elsewhere = true;
      world.route = world.asleep({ autoResume: true });
      world.wakes = () => code;
      expect(await call(surface, '/health', { headers: token })).toMatchObject({ status, json: { code: status, sandboxId: room.sandboxId } });
    });
    it('is looked for once more when its host has it no longer', async () => {
      expect(await call(surface, '/health')).toMatchObject({ status: 204 });
      // The edge keeps the old incarnation's route for a moment.
      world.route = { ...world.route, target: world.route.target && { ...world.route.target, incarnation: world.route.target.incarnation + 1000 } };
      expect(await call(surface, '/process.Process/List', { method: 'POST', headers: token, body: '{}' })).toMatchObject({ status: 204 });
      world.elsewhere = true;
      expect(await call(surface, '/health')).toMatchObject({ status: 502, json: notFound });
    });
    it('is not believed to be where another host answers', async () => {
      world.route = { ...world.route, target: world.route.target && { ...world.route.target, hostId: 'host-2' } };
      world.elsewhere = true;
      expect(await call(surface, '/health')).toMatchObject({ status: 502 });
    });
  });

  describe('other ports', () => {
    let seen: IncomingMessage[] = [];
    beforeEach(async () => {
      seen = [];
      const app = createServer((q, a) => void bodyOf(q).then((body) => {
        seen.push(q);
        if (q.url === '/hang-up') return void q.socket.destroy();
        a.writeHead(200, { 'Content-Type': 'application/json', 'alcove-room': 'elsewhere' }).end(JSON.stringify({ length: body.length }));
      }));
      await world.listenInRoom(app);
    });
    afterEach(() => {
      world.app?.closeAllConnections();
      world.app = null;
    });
    it('lead into the room', async () => {
      const answer = await call(hostOf(3000), '/a/../b', { method: 'POST', body: 'hello', headers: { 'X-Access-Token': 'the app’s own'.replace('’', '') } });
      expect(answer).toMatchObject({ status: 200, json: { length: 5 }, headers: { 'alcove-room': 'elsewhere' } });
      expect(seen[0]).toMatchObject({ url: '/a/../b', headers: { host: hostOf(3000), 'x-forwarded-proto': 'https', 'x-access-token': 'the apps own' } });
      expect(seen[0]?.rawHeaders).toContain('Host');
    });
    it('are closed when nobody listens', async () => {
      world.app = null;
      const answer = await call(hostOf(3001), '/');
      expect(answer.status).toBe(502);
      expect(answer.json).toEqual({ sandboxId: room.sandboxId, message: 'The sandbox is running but port is not open', port: 3001, code: 502 });
    });
    it('see the host they want to see', async () => {
      world.route = { ...world.route, maskRequestHost: 'localhost:${PORT}' };
      await until(async () => {
        await call(hostOf(8080), '/');
        return seen.at(-1)?.headers.host === 'localhost:8080';
      });
      expect(seen.at(-1)?.rawHeaders.slice(0, 2)).toEqual(['Host', 'localhost:8080']);
    });
    it('ask for the traffic token where there is one, and keep it to themselves', async () => {
      world.route = { ...world.route, trafficToken: 'let-me-in' };
      await until(async () => (await call(hostOf(8081), '/')).status === 403);
      expect(await call(hostOf(8081), '/', { headers: { 'e2b-traffic-access-token': 'let-me' } })).toMatchObject({ status: 403, json: { code: 403 } });
      seen = [];
      expect(await call(hostOf(8081), '/', { headers: { 'e2b-traffic-access-token': 'let-me-in' } })).toMatchObject({ status: 200 });
      expect(seen[0]?.headers['e2b-traffic-access-token']).toBeUndefined();
    });
    it('say so when the application hangs up', async () => {
      expect(await call(hostOf(3000), '/hang-up', { method: 'POST', body: 'x' })).toMatchObject({ status: 502, json: { port: 3000 } });
    });
  });
});

describe('a room that ends in the middle of an answer', () => {
  const half = (a: import('node:http').ServerResponse): void => {
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
  const echo = (server: import('node:http').Server): typeof server =>
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
