/** What the SDK for JavaScript never sends, and others do: codecs, framing, the Python SDK's watchers, signed addresses, tokens. On a real room. */
import { createHash } from 'node:crypto';
import { connect as http2Connect } from 'node:http2';
import tls from 'node:tls';
import { gzipSync, gunzipSync } from 'node:zlib';
import { Sandbox } from 'e2b';
import { until } from '../../e2e/platform';
import { Tenancy } from './sdk';
import { ask, call, frame, framesOf, stream, surfaceOf, tokenOf } from './wire';

jest.setTimeout(180_000);
let mine: Tenancy;
let sandbox: Sandbox;
beforeAll(async () => {
  mine = await Tenancy.open('qemu');
  sandbox = await mine.create({ envs: { FROM_SANDBOX: 'sandbox' } });
});
afterAll(() => mine?.close());

const token = (): Record<string, string> => ({ 'x-access-token': tokenOf(sandbox) });
const at = (path: string): string => `${surfaceOf(sandbox)}${path}`;
const bash = (command: string): Record<string, unknown> => ({ process: { cmd: '/bin/bash', args: ['-l', '-c', command], envs: {} }, stdin: false });
const starts = 'process.Process/Start';
const event = (message: Record<string, unknown>): Record<string, Record<string, unknown>> => (message['event'] ?? {}) as Record<string, Record<string, unknown>>;

describe('transport', () => {
  it('speaks HTTP/2 and HTTP/1.1, with a certificate for every name below the domain', async () => {
    const [host = '', port = ''] = sandbox.getHost(49983).split(':');
    for (const name of [host, `api.${mine.at.domain.split(':')[0]}`]) {
      for (const protocol of ['h2', 'http/1.1']) {
        const socket = tls.connect({ host: '127.0.0.1', port: Number(port), servername: name, ALPNProtocols: [protocol] });
        await new Promise<void>((resolve, reject) => socket.once('secureConnect', resolve).once('error', reject));
        expect({ name, protocol: socket.alpnProtocol, authorized: socket.authorized }).toEqual({ name, protocol, authorized: true });
        socket.destroy();
      }
    }
  });

  it('serves calls of both on the same room at once', async () => {
    const session = http2Connect(surfaceOf(sandbox));
    const request = session.request({ ':method': 'GET', ':path': '/health' });
    const status = new Promise<unknown>((resolve, reject) => void request.once('response', (headers) => resolve(headers[':status'])).once('error', reject));
    expect((await ask(at('/health'))).status).toBe(204);
    expect(await status).toBe(204);
    session.close();
  });
});

it('finds a sandbox by the headers that clients send to one address for all (E2B_SANDBOX_URL)', async () => {
  const same = await Sandbox.connect(sandbox.sandboxId, { ...mine.at, sandboxUrl: `https://sandbox.${mine.at.domain}` });
  expect((await same.commands.run('echo "by headers"')).stdout).toBe('by headers\n');
  expect(await same.isRunning()).toBe(true);
});

describe('codec', () => {
  it('answers 415 to protobuf', async () => {
    for (const type of ['application/proto', 'application/connect+proto', 'application/grpc', 'text/plain']) {
      const { status } = await ask(at('/process.Process/List'), { method: 'POST', headers: { ...token(), 'content-type': type }, body: '' });
      expect({ type, status }).toEqual({ type, status: 415 });
    }
  });

  it('answers an unknown method in the words of the protocol', async () => {
    expect((await call(sandbox, 'process.Process/Nothing', {})).status).toBe(404);
  });

  it('passes over fields that it does not know, and refuses what is not JSON', async () => {
    expect((await call(sandbox, 'filesystem.Filesystem/Stat', { path: '/home/user', newer: { deep: [1] } })).status).toBe(200);
    expect(await ask(at('/filesystem.Filesystem/Stat'), { method: 'POST', headers: { ...token(), 'content-type': 'application/json' }, body: '{' })).toMatchObject({ status: 400 });
    expect((await call(sandbox, 'filesystem.Filesystem/Stat', { path: 7 })).body).toMatchObject({ code: 'invalid_argument' });
  });

  it('gives sizes as text, kinds by name and moments as RFC 3339', async () => {
    await sandbox.files.write('typed.txt', '12345');
    const { body } = await call(sandbox, 'filesystem.Filesystem/Stat', { path: 'typed.txt' });
    expect(body).toMatchObject({ entry: { size: '5', type: 'FILE_TYPE_FILE', modifiedTime: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/) as string } });
  });

  it('says errors of unary calls by status and code', async () => {
    expect(await call(sandbox, 'filesystem.Filesystem/Stat', { path: '/no' })).toMatchObject({ status: 404, body: { code: 'not_found', message: expect.any(String) as string } });
    expect(await call(sandbox, 'filesystem.Filesystem/MakeDir', { path: '/home/user' })).toMatchObject({ status: 409, body: { code: 'already_exists' } });
    expect(await call(sandbox, 'filesystem.Filesystem/Stat', { path: '/home' }, { authorization: `Basic ${Buffer.from('nobody-here:').toString('base64')}` })).toMatchObject({ status: 401, body: { code: 'unauthenticated' } });
  });

  it('says errors of streams in their last message, with status 200', async () => {
    const { status, headers, body } = await ask(at(`/${starts}`), { method: 'POST', headers: { ...token(), 'content-type': 'application/connect+json' }, body: frame({ process: { cmd: '/bin/true', cwd: '/no' } }) });
    expect({ status, type: headers['content-type'] }).toEqual({ status: 200, type: 'application/connect+json' });
    expect(framesOf(body)).toEqual([{ flags: 2, message: { error: expect.objectContaining({ code: 'invalid_argument' }) as object } }]);
  });

  it('streams a start, data in base64, an end, and then {}', async () => {
    const found = [];
    for await (const one of await stream(sandbox, starts, bash('printf out; exit 4'))) found.push(one);
    expect(event(found[0]?.message ?? {})['start']).toEqual({ pid: expect.any(Number) as number });
    const data = found.map(({ message }) => event(message)['data']?.['stdout']).filter((text) => typeof text === 'string');
    expect(Buffer.concat(data.map((text) => Buffer.from(text, 'base64'))).toString()).toBe('out');
    expect(event(found.at(-2)?.message ?? {})['end']).toMatchObject({ exitCode: 4, exited: true });
    expect(found.at(-1)).toEqual({ flags: 2, message: {} });
  });

  it('refuses a message that is longer than it may be, and one that is cut off', async () => {
    const over = Buffer.from([0, 0x7f, 0xff, 0xff, 0xff, 0x7b]);
    for (const body of [over, frame(bash('true')).subarray(0, 9), Buffer.alloc(0)]) {
      const answer = await ask(at(`/${starts}`), { method: 'POST', headers: { ...token(), 'content-type': 'application/connect+json' }, body });
      const refused = answer.status >= 400 || framesOf(answer.body).some(({ flags, message }) => flags === 2 && message['error'] !== undefined);
      expect({ bytes: body.length, refused }).toEqual({ bytes: body.length, refused: true });
    }
    expect(await sandbox.isRunning()).toBe(true);
  });
});

describe('streams', () => {
  it('sends a sign of life when nothing else is to be sent', async () => {
    const running = await stream(sandbox, starts, bash('sleep 60'), { 'keepalive-ping-interval': '1' });
    let alive = 0;
    for await (const { message } of running) if (event(message)['keepalive'] !== undefined && ++alive === 2) break;
    expect(alive).toBe(2);
    const watching = await stream(sandbox, 'filesystem.Filesystem/WatchDir', { path: '/tmp' }, { 'keepalive-ping-interval': '1' });
    for await (const { message } of watching) if (message['keepalive'] !== undefined && ++alive === 3) break;
    expect(alive).toBe(3);
  });

  it('ends a process when its time has passed, and not when its client left', async () => {
    const left = await stream(sandbox, starts, { ...bash('read x'), stdin: true, tag: 'left' });
    for await (const { message } of left) if (event(message)['start']) break;
    left.end();
    const timed = await ask(at(`/${starts}`), { method: 'POST', headers: { ...token(), 'content-type': 'application/connect+json', 'connect-timeout-ms': '1500' }, body: frame({ ...bash('sleep 60'), tag: 'timed' }) });
    expect(framesOf(timed.body).at(-1)).toEqual({ flags: 2, message: { error: expect.objectContaining({ code: 'deadline_exceeded' }) as object } });
    await until('the timed one is gone', async () => !JSON.stringify((await call(sandbox, 'process.Process/List', {})).body).includes('"timed"'));
    expect(JSON.stringify((await call(sandbox, 'process.Process/List', {})).body)).toContain('"left"');
  });

  it('finds a process by its tag', async () => {
    const tagged = await stream(sandbox, starts, { ...bash('read x; echo "<$x>"'), stdin: true, tag: 'tagged' });
    for await (const { message } of tagged) if (event(message)['start']) break;
    const second = await stream(sandbox, 'process.Process/Connect', { process: { tag: 'tagged' } });
    expect((await call(sandbox, 'process.Process/SendInput', { process: { tag: 'tagged' }, input: { stdin: Buffer.from('by tag\n').toString('base64') } })).status).toBe(200);
    let heard = '';
    for await (const { message } of second) heard += Buffer.from(String(event(message)['data']?.['stdout'] ?? ''), 'base64').toString();
    expect(heard).toBe('<by tag>\n');
    expect(await call(sandbox, 'process.Process/SendSignal', { process: { tag: 'tagged' }, signal: 'SIGNAL_SIGKILL' })).toMatchObject({ status: 404, body: { code: 'not_found' } });
  });

  it('sends a signal by its name', async () => {
    const trapping = await stream(sandbox, starts, { ...bash('trap "echo caught; exit 9" TERM; echo ready; while :; do sleep 0.1; done'), tag: 'trapping' });
    const ends: unknown[] = [];
    for await (const { message } of trapping) {
      const { data, end } = event(message);
      if (String(data?.['stdout'] ?? '') === Buffer.from('ready\n').toString('base64')) expect((await call(sandbox, 'process.Process/SendSignal', { process: { tag: 'trapping' }, signal: 'SIGNAL_SIGTERM' })).status).toBe(200);
      if (end) ends.push(end['exitCode']);
    }
    expect(ends).toEqual([9]);
  });
});

describe("the Python SDK's watchers", () => {
  const watchers = (method: string, message: unknown): Promise<{ status: number; body: Record<string, unknown> }> => call(sandbox, `filesystem.Filesystem/${method}`, message);

  it('are made, asked for what happened since, and removed', async () => {
    await sandbox.files.makeDir('polled');
    const { status, body } = await watchers('CreateWatcher', { path: 'polled', recursive: true });
    expect({ status, id: typeof body['watcherId'] }).toEqual({ status: 200, id: 'string' });
    const { watcherId } = body;
    expect((await watchers('GetWatcherEvents', { watcherId })).body['events'] ?? []).toEqual([]);
    await sandbox.commands.run('touch polled/file');
    const seen: { name: string; type: string }[] = [];
    await until('the file is heard of', async () => {
      seen.push(...(((await watchers('GetWatcherEvents', { watcherId })).body['events'] ?? []) as typeof seen));
      return seen.some(({ name, type }) => name === 'file' && type === 'EVENT_TYPE_CREATE');
    });
    expect((await watchers('GetWatcherEvents', { watcherId })).body['events'] ?? []).toEqual([]);
    expect((await watchers('RemoveWatcher', { watcherId })).status).toBe(200);
    expect(await watchers('GetWatcherEvents', { watcherId })).toMatchObject({ status: 404, body: { code: 'not_found' } });
  });

  it('refuse what is not a folder, and are not there without end', async () => {
    expect(await watchers('CreateWatcher', { path: '/no' })).toMatchObject({ status: 404, body: { code: 'not_found' } });
    await sandbox.files.write('plain.txt', 'x');
    expect(await watchers('CreateWatcher', { path: 'plain.txt' })).toMatchObject({ status: 400, body: { code: 'invalid_argument' } });
  });
});

describe('tokens', () => {
  it('are asked for on everything but /health', async () => {
    expect((await ask(at('/health'))).status).toBe(204);
    for (const headers of [{}, { 'x-access-token': 'wrong' }] as Record<string, string>[]) {
      for (const [method, path] of [['GET', '/metrics'], ['GET', '/envs'], ['GET', '/files?path=/etc/hostname'], ['POST', '/files?path=x'], ['POST', '/process.Process/List'], ['POST', `/${starts}`]] as const) {
        const { status } = await ask(at(path), { method, headers: { ...headers, ...(method === 'POST' && { 'content-type': 'application/json' }) }, ...(method === 'POST' && { body: '{}' }) });
        expect({ path, status }).toEqual({ path, status: 401 });
      }
    }
  });

  it("of another sandbox opens nothing, nor does the key of one's tenant", async () => {
    const other = await mine.create();
    for (const key of [tokenOf(other), mine.at.apiKey]) expect((await ask(at('/metrics'), { headers: { 'x-access-token': key } })).status).toBe(401);
    await other.kill();
  });
});

describe('REST', () => {
  it('/metrics and /envs', async () => {
    const figures = JSON.parse((await ask(at('/metrics'), { headers: token() })).body.toString()) as Record<string, number>;
    for (const name of ['ts', 'cpu_count', 'cpu_used_pct', 'mem_total', 'mem_used', 'mem_cache', 'disk_used', 'disk_total']) expect({ name, is: typeof figures[name] }).toEqual({ name, is: 'number' });
    expect(figures['mem_total']).toBeGreaterThan(100 << 20);
    expect(JSON.parse((await ask(at('/envs'), { headers: token() })).body.toString())).toMatchObject({ FROM_SANDBOX: 'sandbox' });
  });

  it('/files gives a part, a compressed whole, and the codes of its refusals', async () => {
    const text = '0123456789'.repeat(1000);
    await sandbox.files.write('ranged.txt', text);
    const get = (headers: Record<string, string> = {}, path = 'ranged.txt') => ask(at(`/files?path=${encodeURIComponent(path)}`), { headers: { ...token(), ...headers } });
    expect(await get({ range: 'bytes=5-9' })).toMatchObject({ status: 206, body: Buffer.from('56789'), headers: { 'content-range': 'bytes 5-9/10000' } });
    const packed = await get({ 'accept-encoding': 'gzip' });
    expect(packed.headers['content-encoding']).toBe('gzip');
    expect(packed.body.length).toBeLessThan(text.length);
    expect(gunzipSync(packed.body).toString()).toBe(text);
    expect((await get({}, '/no')).status).toBe(404);
    expect((await get({}, '/home/user')).status).toBe(400);
    await sandbox.files.write('empty.txt', '');
    expect((await get({}, 'empty.txt')).headers['content-length']).toBe('0');
  });

  it('/files takes a form with the whole path as the name of the file, or a field without one', async () => {
    const form = (name: string): Buffer => Buffer.from(`--b\r\nContent-Disposition: form-data; name="file"${name}\r\n\r\nform\r\n--b--\r\n`);
    const post = (query: string, body: Buffer, headers: Record<string, string> = { 'content-type': 'multipart/form-data; boundary=b' }) => ask(at(`/files${query}`), { method: 'POST', headers: { ...token(), ...headers }, body });
    const named = await post('', form('; filename="/home/user/forms/named.txt"'));
    expect({ status: named.status, body: JSON.parse(named.body.toString()) as unknown }).toEqual({ status: 200, body: [expect.objectContaining({ name: 'named.txt', path: '/home/user/forms/named.txt', type: 'file' })] });
    expect((await post('?path=forms/field.txt', form(''))).status).toBe(200);
    expect((await post('?path=forms/wins.txt', form('; filename="loses.txt"'))).status).toBe(200);
    expect((await post('?path=forms/packed.txt', gzipSync('packed'), { 'content-type': 'application/octet-stream', 'content-encoding': 'gzip' })).status).toBe(200);
    expect((await sandbox.commands.run('head forms/*')).stdout.replace(/\s+/g, ' ').trim()).toBe('==> forms/field.txt <== form ==> forms/named.txt <== form ==> forms/packed.txt <== packed ==> forms/wins.txt <== form');
  });

  it('hides what is the host’s to ask', async () => {
    for (const path of ['/init', '/freeze', '/unfreeze', '/fsfreeze', '/fsthaw', '/collapse', '/upgrade']) expect({ path, status: (await ask(at(path), { method: 'POST', headers: token(), body: '{}' })).status }).toEqual({ path, status: 404 });
  });
});

describe('signed addresses', () => {
  it('give and take a file without a token', async () => {
    await sandbox.files.write('signed/a b.txt', 'signed');
    const download = await sandbox.downloadUrl('signed/a b.txt');
    expect(new URL(download).searchParams.get('signature')).toMatch(/^v1_[A-Za-z0-9+/]+$/);
    expect((await ask(download)).body.toString()).toBe('signed');
    const form = new FormData();
    form.append('file', 'uploaded by its address');
    expect((await fetch(await sandbox.uploadUrl('signed/up.txt'), { method: 'POST', body: form })).status).toBe(200);
    expect(await sandbox.files.read('signed/up.txt')).toBe('uploaded by its address');
  });

  it('without a path take the names that the form has', async () => {
    const form = new FormData();
    form.append('file', new Blob(['named']), 'signed/by-name.txt');
    expect((await fetch(await sandbox.uploadUrl(), { method: 'POST', body: form })).status).toBe(200);
    expect(await sandbox.files.read('signed/by-name.txt')).toBe('named');
  });

  it('last as long as they say, and then say so exactly', async () => {
    await sandbox.files.write('expiring.txt', 'x');
    expect((await ask(await sandbox.downloadUrl('expiring.txt', { useSignatureExpiration: 60 }))).status).toBe(200);
    const over = await ask(await sandbox.downloadUrl('expiring.txt', { useSignatureExpiration: -60 }));
    expect({ status: over.status, body: JSON.parse(over.body.toString()) as unknown }).toEqual({ status: 401, body: { code: 401, message: 'signature is already expired' } });
  });

  it('are good for one path, one user, one direction', async () => {
    await sandbox.files.write('one.txt', '1');
    await sandbox.files.write('two.txt', '2');
    const url = new URL(await sandbox.downloadUrl('one.txt', { user: 'user' }));
    expect((await ask(url.href)).status).toBe(200);
    const changed = (name: string, value: string): string => {
      const other = new URL(url);
      other.searchParams.set(name, value);
      return other.href;
    };
    for (const href of [changed('path', 'two.txt'), changed('username', 'root'), changed('signature', `v1_${createHash('sha256').update('x').digest('base64').replace(/=+$/, '')}`), changed('signature_expiration', '99999999999')]) expect((await ask(href)).status).toBe(401);
    expect((await ask(url.href, { method: 'POST', body: 'x', headers: { 'content-type': 'application/octet-stream' } })).status).toBe(401);
    expect((await ask((await sandbox.uploadUrl('one.txt')).toString())).status).toBe(401);
  });

  it('stay good over a sleep', async () => {
    await sandbox.files.write('sleeping.txt', 'still');
    const url = await sandbox.downloadUrl('sleeping.txt');
    await sandbox.pause();
    await sandbox.connect();
    expect((await ask(url)).body.toString()).toBe('still');
  });
});
