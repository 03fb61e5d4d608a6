/** Ports of a real room, and what the edge says of a sandbox that cannot answer. */
import { createHash, randomBytes } from 'node:crypto';
import { join } from 'node:path';
import tls from 'node:tls';
import type { Sandbox } from 'e2b';
import { virtualMachines } from '../../../apps/cli/src/platform/virtual-machines';
import { until } from '../../e2e/platform';
import { failureOf, roomIdOf, Tenancy } from './sdk';
import { ask, surfaceOf, tokenOf } from './wire';

jest.setTimeout(240_000);
let mine: Tenancy;
beforeAll(async () => {
  mine = await Tenancy.open('qemu');
});
afterAll(() => mine?.close());

/** Says of each request what it was; echoes bodies; switches protocols; listens on loopback only. */
const server = `
const http = require('node:http');
const it = http.createServer((request, response) => {
  const chunks = [];
  request.on('data', (chunk) => chunks.push(chunk)).on('end', () => {
    if (request.url === '/echo') return response.end(Buffer.concat(chunks));
    if (request.url === '/stream') { response.write('first\\n'); setInterval(() => response.write('more\\n'), 200); return; }
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify({ method: request.method, url: request.url, host: request.headers.host, headers: request.headers, raw: request.rawHeaders }));
  });
});
it.on('upgrade', (request, socket) => { socket.write('HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\n\\r\\n'); socket.pipe(socket); });
it.listen(3000, '127.0.0.1', () => console.log('ready'));
`;

async function serving(options: Parameters<Tenancy['create']>[0] = {}): Promise<Sandbox> {
  const sandbox = await mine.create(options);
  await sandbox.files.write('server.cjs', server);
  let heard = '';
  const handle = await sandbox.commands.run('node server.cjs', { background: true, timeoutMs: 0, onStdout: (data: string) => void (heard += data) });
  await until('the server listens', () => Promise.resolve(heard.includes('ready')));
  // A handle whose stream broke asks for the sandbox's health, and that wakes one that wakes by itself.
  await handle.disconnect();
  return sandbox;
}
const at = (sandbox: Sandbox, path = '/', port = 3000): string => `https://${sandbox.getHost(port)}${path}`;
const json = (body: Buffer): Record<string, unknown> => JSON.parse(body.toString()) as Record<string, unknown>;

describe('a port', () => {
  let sandbox: Sandbox;
  beforeAll(async () => {
    sandbox = await serving();
  });

  it('is reached by its name, also when its server listens on loopback only', async () => {
    const answer = json((await ask(at(sandbox, '/some/path?q=1'), { method: 'PUT', headers: { 'x-mine': 'yes' } })).body);
    expect(answer).toMatchObject({ method: 'PUT', url: '/some/path?q=1', host: sandbox.getHost(3000), headers: { 'x-mine': 'yes' } });
  });

  it('is reached over HTTP/2 by fetch, and carries 5 MB both ways', async () => {
    const bytes = randomBytes(5_000_000);
    const answer = await fetch(at(sandbox, '/echo'), { method: 'POST', body: bytes });
    expect(createHash('sha256').update(Buffer.from(await answer.arrayBuffer())).digest('hex')).toBe(createHash('sha256').update(bytes).digest('hex'));
  });

  it('streams as its server does', async () => {
    const enough = new AbortController();
    const answer = await fetch(at(sandbox, '/stream'), { signal: enough.signal });
    let heard = '';
    for await (const chunk of answer.body as unknown as AsyncIterable<Uint8Array>) {
      heard += Buffer.from(chunk).toString();
      if (heard.split('\n').length > 3) break;
    }
    enough.abort();
    expect(heard).toMatch(/^first\nmore\nmore\n/);
  });

  it('switches protocols', async () => {
    const [host = '', port = ''] = sandbox.getHost(3000).split(':');
    const socket = tls.connect({ host: '127.0.0.1', port: Number(port), servername: host, ALPNProtocols: ['http/1.1'] });
    let heard = '';
    socket.on('data', (chunk: Buffer) => (heard += chunk.toString()));
    socket.write(`GET /up HTTP/1.1\r\nHost: ${sandbox.getHost(3000)}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n`);
    await until('it switched', () => Promise.resolve(heard.startsWith('HTTP/1.1 101')));
    socket.write('back and forth');
    await until('it came back', () => Promise.resolve(heard.endsWith('back and forth')));
    socket.destroy();
  });

  it('never lets the token of the surface or of the traffic into the room', async () => {
    const { headers } = json((await ask(at(sandbox), { headers: { 'x-access-token': tokenOf(sandbox), 'e2b-traffic-access-token': 'mine' } })).body);
    expect(JSON.stringify(headers)).not.toContain(tokenOf(sandbox));
    for (const name of ['e2b-traffic-access-token', 'x-access-token']) expect(Object.keys(headers as object)).not.toContain(name);
    // A token of that name that is the application's own reaches it.
    expect(json((await ask(at(sandbox), { headers: { 'x-access-token': 'its own' } })).body)).toMatchObject({ headers: { 'x-access-token': 'its own' } });
  });

  it('502 with the port where nobody listens', async () => {
    const { status, body } = await ask(at(sandbox, '/', 3999));
    expect({ status, body: json(body) }).toEqual({ status: 502, body: expect.objectContaining({ sandboxId: sandbox.sandboxId, message: 'The sandbox is running but port is not open', port: 3999, code: 502 }) });
  });

  it('502 in words for a browser', async () => {
    const { headers, body } = await ask(at(sandbox, '/', 3999), { headers: { accept: 'text/html,application/xhtml+xml' } });
    expect(String(headers['content-type'])).toMatch(/^text\/html/);
    expect(body.toString()).toContain('port is not open');
  });

  it('400 or 404 for a name that is none', async () => {
    const port = mine.at.domain.split(':')[1];
    for (const name of [`0-${sandbox.sandboxId}`, `99999-${sandbox.sandboxId}`, `x-${sandbox.sandboxId}`, sandbox.sandboxId]) {
      const { status } = await ask(`https://${name}.alcove.test:${port}/`);
      expect({ name, refused: status >= 400 && status < 600 && status !== 500 }).toEqual({ name, refused: true });
    }
  });
});

it('asks for the traffic token where the traffic is not public', async () => {
  const sandbox = await serving({ network: { allowPublicTraffic: false } });
  for (const headers of [{}, { 'e2b-traffic-access-token': 'wrong' }, { 'e2b-traffic-access-token': tokenOf(sandbox) }] as Record<string, string>[]) expect((await ask(at(sandbox), { headers })).status).toBe(403);
  const headers = { 'e2b-traffic-access-token': String(sandbox.trafficAccessToken) };
  expect((await ask(at(sandbox), { headers })).status).toBe(200);
  expect((await sandbox.commands.run('echo surface')).stdout).toBe('surface\n');
});

it('tells the server the host that was asked for, with its port', async () => {
  const sandbox = await serving({ network: { maskRequestHost: 'Localhost:${PORT}' } });
  const { host, raw } = json((await ask(at(sandbox))).body) as { host: string; raw: string[] };
  expect(host).toBe('Localhost:3000');
  expect(raw).toContain('Host');
});

describe('asleep', () => {
  it('502 while paused without auto-resume, and isRunning says false', async () => {
    const sandbox = await serving();
    await sandbox.pause();
    expect(await sandbox.isRunning()).toBe(false);
    expect((await ask(at(sandbox))).status).toBe(502);
    expect((await failureOf(sandbox.commands.run('true'))).name).toBe('SandboxNotFoundError');
    expect((await failureOf(sandbox.files.read('server.cjs'))).name).toBe('TimeoutError');
    await sandbox.connect();
    expect(await sandbox.isRunning()).toBe(true);
    expect((await ask(at(sandbox))).status).toBe(200);
  });

  it('wakes for a request to a port for as long as it was made for, and its server answers as if it had never slept', async () => {
    const sandbox = await serving({ lifecycle: { onTimeout: 'pause', autoResume: true } });
    await sandbox.pause();
    const answers = await Promise.all(Array.from({ length: 5 }, () => ask(at(sandbox))));
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200, 200]);
    expect((await sandbox.getInfo()).state).toBe('running');
    expect((await sandbox.getInfo()).endAt.getTime() - Date.now()).toBeGreaterThan(560_000);
  });

  it('wakes for the surface when its token is shown, and not without', async () => {
    const sandbox = await serving({ lifecycle: { onTimeout: 'pause', autoResume: true } });
    await sandbox.pause();
    expect((await ask(`${surfaceOf(sandbox)}/metrics`, { headers: { 'x-access-token': 'wrong' } })).status).toBeGreaterThanOrEqual(400);
    await ask(`${surfaceOf(sandbox)}/health`);
    expect((await sandbox.getInfo()).state).toBe('paused');
    expect(await sandbox.isRunning()).toBe(true);
    expect((await sandbox.getInfo()).state).toBe('running');
    await sandbox.pause();
    expect((await sandbox.commands.run('echo awake')).stdout).toBe('awake\n');
  });

  it('wakes for a port that is not public only when its token is shown', async () => {
    const sandbox = await serving({ lifecycle: { onTimeout: 'pause', autoResume: true }, network: { allowPublicTraffic: false } });
    await sandbox.pause();
    expect((await ask(at(sandbox))).status).toBe(403);
    expect((await sandbox.getInfo()).state).toBe('paused');
    expect((await ask(at(sandbox), { headers: { 'e2b-traffic-access-token': String(sandbox.trafficAccessToken) } })).status).toBe(200);
  });
});

describe('gone', () => {
  it('is seen at once by isRunning, after a kill and after a pause, also where it was asked a moment before', async () => {
    const sandbox = await mine.create();
    for (const end of ['pause', 'kill'] as const) {
      await sandbox.connect();
      expect({ before: end, running: await sandbox.isRunning() }).toEqual({ before: end, running: true });
      await sandbox[end]();
      expect({ after: end, running: await sandbox.isRunning() }).toEqual({ after: end, running: false });
    }
  });

  it('502 with the reason after a kill, and for what never was', async () => {
    const sandbox = await mine.create();
    await sandbox.kill();
    expect(await sandbox.isRunning()).toBe(false);
    const killed = await ask(`${surfaceOf(sandbox)}/health`);
    expect({ status: killed.status, body: json(killed.body) }).toEqual({ status: 502, body: expect.objectContaining({ sandboxId: sandbox.sandboxId, message: 'The sandbox was not found', reason: 'asked', code: 502 }) });
    const port = mine.at.domain.split(':')[1];
    const never = await ask(`https://49983-i0123456789abcdef0123.alcove.test:${port}/health`);
    expect({ status: never.status, body: json(never.body) }).toEqual({ status: 502, body: expect.objectContaining({ message: 'The sandbox was not found', code: 502 }) });
  });

  it('leaves no VM behind', async () => {
    const sandbox = await mine.create();
    const machines = async (): Promise<number> => (await virtualMachines(join(mine.world.home, 'host'))).filter(({ roomId }) => roomId === roomIdOf(sandbox.sandboxId)).length;
    expect(await machines()).toBe(1);
    await sandbox.kill();
    await until('its machine is no more', async () => (await machines()) === 0);
  });
});
