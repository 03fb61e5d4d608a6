import { createServer, type IncomingMessage } from 'node:http';
import { signatureOf } from '../../apps/edge/src/access';
import { bodyOf, digest, domain, EdgeWorld, hostOf, room, surface, surfaceToken } from './edge-harness';
import { until } from './host-harness';

const world = new EdgeWorld();
const token = { 'x-access-token': surfaceToken };
const protocols = ['http1', 'http2'] as const;

beforeAll(() => world.start());
afterAll(() => world.stop());

beforeEach(() => world.renew());

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
      const answer = await call(host, '/');
      expect(answer).toMatchObject({ status, json: { code: status } });
      // Who mistyped the domain, or has another one in the environment, sees both names.
      const { message } = answer.json as { message: string };
      for (const said of [host, domain, 'E2B_DOMAIN']) expect(message).toContain(said);
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
      expect(await call(surface, '/health')).toMatchObject({ status: 503, json: { reason: 'host' } });
    });
  });

  describe('a refusal that says nothing of the room', () => {
    const start = { method: 'POST', headers: { ...token, 'content-type': 'application/connect+json' }, body: Buffer.from([0, 0, 0, 0, 2, 0x7b, 0x7d]) };
    const list = { method: 'POST', headers: { ...token, 'content-type': 'application/json' }, body: '{}' };
    const endOf = (body: Buffer): unknown => [body[0], body.readUInt32BE(1), JSON.parse(body.subarray(5).toString())];
    const isCrowded = (): void => {
      world.onSurface = (_q, a) => void a.writeHead(429, { 'alcove-room': 'busy' }).end();
    };
    const isAway = (): void => {
      world.route = { ...world.route, target: world.route.target && { ...world.route.target, hostUrl: 'https://127.0.0.1:1' } };
    };
    const hangsUp = (): void => {
      world.onSurface = (q) => void q.socket.destroy();
    };
    it.each([
      ['its host has too many connections', 429, 'resource_exhausted', 'host', isCrowded],
      ['its host cannot be reached', 503, 'unavailable', 'host', isAway],
      ['its host hangs up', 503, 'unavailable', 'no answer', hangsUp],
    ] as const)('%s: %i', async (_why, status, code, reason, arrange) => {
      arrange();
      // Not 502: by that the SDK knows that a sandbox does not run.
      expect(await call(surface, '/health', { headers: token })).toMatchObject({ status, json: { code: status, reason, sandboxId: room.sandboxId }, headers: { 'retry-after': '1' } });
      const unary = await call(surface, '/process.Process/List', list);
      expect(unary).toMatchObject({ status, json: { code, message: expect.any(String) as string } });
      const streamed = await call(surface, '/process.Process/Start', start);
      expect(streamed).toMatchObject({ status: 200, headers: { 'content-type': 'application/connect+json' } });
      expect(endOf(streamed.body)).toEqual([2, streamed.body.length - 5, { error: { code, message: (unary.json as { message: string }).message } }]);
    });
    it('is not made of a room that ended meanwhile', async () => {
      world.onSurface = (q) => {
        world.route = world.asleep({ reason: 'timeout' });
        q.socket.destroy();
      };
      expect(await call(surface, '/metrics', { headers: token })).toMatchObject({ status: 502, json: { reason: 'timeout' } });
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
    it('never see the token of the surface, whoever sends it there', async () => {
      for (const value of [surfaceToken, `mine, ${surfaceToken}`]) {
        expect(await call(hostOf(3000), '/', { headers: { 'x-access-token': value } })).toMatchObject({ status: 200 });
        expect(JSON.stringify(seen.at(-1)?.rawHeaders)).not.toContain(surfaceToken);
      }
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
