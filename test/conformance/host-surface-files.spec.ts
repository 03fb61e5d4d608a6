import { createHash } from 'node:crypto';
import { request } from 'node:https';
import { Readable } from 'node:stream';
import { gunzipSync, gzipSync } from 'node:zlib';
import { readIdentity } from './host-certificates';
import { HostProcess, readAnswer, roomName, runningOrder, until } from './host-harness';
import { boundary, form, formHeaders, SurfaceCaller } from './host-surface-calls';

const host = new HostProcess();
const room = roomName();
const base = () => `/rooms/${room}/incarnations/1`;
const surface = new SurfaceCaller(host, readIdentity(host.authority.issue('edge')), () => `${base()}/surface`);
const octets = { 'content-type': 'application/octet-stream' };

beforeAll(async () => {
  await host.start();
  await host.ready();
  await host.call('PUT', `${base()}/running`, runningOrder());
});
afterAll(() => host.stop());

const fs = (method: string, message: object, headers: Record<string, string> = {}) => surface.unary(`filesystem.Filesystem/${method}`, message, headers);
const put = (path: string, body: Buffer | string, headers: Record<string, string> = {}) => surface.call('POST', `files?path=${encodeURIComponent(path)}`, { body, headers: { ...octets, ...headers } });
const get = (path: string, headers: Record<string, string> = {}) => surface.call('GET', `files?path=${encodeURIComponent(path)}`, { headers });
const openStreams = async () => Number(/^alcove_host_streams (\d+)$/m.exec((await host.call('GET', '/metrics')).body.toString())?.[1]);

describe('an upload', () => {
  it('may have many small files', async () => {
    const parts = Array.from({ length: 100 }, (_, i) => ({ name: 'file', filename: `many/${i}`, body: `file ${i}` }));
    const answer = await surface.call('POST', 'files', { body: form(parts), headers: formHeaders });
    expect((answer.json as unknown[]).length).toBe(100);
    expect((await get('many/99')).body.toString()).toBe('file 99');
  });
  it('of one file is there, whole, and its user’s', async () => {
    const body = Buffer.alloc(5 << 20, 'some bytes ');
    expect(await put('~/deep/er/big', body)).toMatchObject({ status: 200, json: [{ name: 'big', path: '/home/user/deep/er/big', type: 'file' }] });
    expect((await get('deep/er/big')).body.equals(body)).toBe(true);
    expect((await fs('Stat', { path: 'deep/er' })).json).toMatchObject({ entry: { type: 'FILE_TYPE_DIRECTORY', path: '/home/user/deep/er', owner: 'user', group: 'user' } });
    await surface.call('POST', 'files?path=x&username=root', { body: 'root’s', headers: octets });
    expect((await fs('Stat', { path: '/root/x' })).json).toMatchObject({ entry: { owner: 'root', permissions: '-rw-r--r--', mode: 0o644 } });
  });
  it('is of the user whom the address names, and nobody else: that is what a signature is over', async () => {
    const root = { authorization: `Basic ${Buffer.from('root:').toString('base64')}` };
    expect(await put('whose', 'mine', root)).toMatchObject({ status: 200, json: [{ path: '/home/user/whose' }] });
    expect((await fs('Stat', { path: '/home/user/whose' })).json).toMatchObject({ entry: { owner: 'user' } });
    expect((await get('whose', root)).body.toString()).toBe('mine');
  });
  it('of a form has a file for each part, named by its path', async () => {
    const body = form([
      { name: 'file', filename: 'form/one', body: 'first' },
      { name: 'other', body: 'is no file' },
      { name: 'file', filename: '/tmp/two ü', body: Buffer.alloc(200_000, 7) },
      { name: 'file', filename: 'empty', body: '' },
    ]);
    const answer = await surface.call('POST', 'files', { body, headers: formHeaders });
    expect(answer).toMatchObject({ status: 200, json: [{ name: 'one', path: '/home/user/form/one' }, { path: '/tmp/two ü' }, { path: '/home/user/empty' }] });
    expect((await get('form/one')).body.toString()).toBe('first');
    expect((await get('/tmp/two ü')).body).toHaveLength(200_000);
    expect((await get('empty')).headers['content-length']).toBe('0');
  });
  it('of a form with one file goes where the query says, also as a plain field', async () => {
    const named = form([{ name: 'file', filename: 'ignored', body: 'a' }]);
    expect(await surface.call('POST', 'files?path=said', { body: named, headers: formHeaders })).toMatchObject({ json: [{ path: '/home/user/said' }] });
    const plain = form([{ name: 'file', body: 'x'.repeat(3 << 20) }]);
    expect(await surface.call('POST', 'files?path=plain', { body: plain, headers: formHeaders })).toMatchObject({ status: 200 });
    expect((await get('plain')).body).toHaveLength(3 << 20);
    for (const path of ['plain', 'deep']) await fs('Remove', { path });
  });
  it('may be compressed', async () => {
    const body = Buffer.alloc(1 << 20, 'zip');
    expect(await put('zipped', gzipSync(body), { 'content-encoding': 'gzip' })).toMatchObject({ status: 200 });
    expect((await get('zipped')).body.equals(body)).toBe(true);
    const whole = await surface.call('POST', 'files', { body: gzipSync(form([{ name: 'file', filename: 'both', body: 'zipped form' }])), headers: { ...formHeaders, 'content-encoding': 'gzip' } });
    expect(whole).toMatchObject({ status: 200 });
    expect((await get('both')).body.toString()).toBe('zipped form');
  });
  it('carries metadata, which replaces what was there', async () => {
    expect(await put('described', 'x', { 'X-Metadata-Author': 'mish', 'x-metadata-Purpose': 'test' })).toMatchObject({ json: [{ metadata: { author: 'mish', purpose: 'test' } }] });
    expect((await fs('Stat', { path: 'described' })).json).toMatchObject({ entry: { metadata: { author: 'mish', purpose: 'test' } } });
    expect(((await put('described', 'y')).json as object[])[0]).not.toHaveProperty('metadata');
    expect(((await fs('Stat', { path: 'described' })).json as { entry: object }).entry).not.toHaveProperty('metadata');
  });
  it.each<[string, () => Promise<unknown>, number]>([
    ['no path', () => surface.call('POST', 'files', { body: 'x', headers: octets }), 400],
    ['a folder’s path', () => put('/tmp', 'x'), 400],
    ['another type', () => surface.call('POST', 'files?path=x', { body: 'x', headers: { 'content-type': 'text/plain' } }), 415],
    ['another coding', () => put('x', 'x', { 'content-encoding': 'br' }), 400],
    ['a lie about gzip', () => put('lie', 'this is not gzip', { 'content-encoding': 'gzip' }), 400],
    ['half of gzip', () => put('half', gzipSync('x'.repeat(1000)).subarray(0, 20), { 'content-encoding': 'gzip' }), 400],
    ['no boundary', () => surface.call('POST', 'files', { body: 'x', headers: { 'content-type': 'multipart/form-data' } }), 400],
    ['half a form', () => surface.call('POST', 'files', { body: form([{ name: 'file', filename: 'torn', body: 'x'.repeat(100) }]).subarray(0, 150), headers: formHeaders }), 400],
    ['no form', () => surface.call('POST', 'files', { body: 'nothing of a form', headers: formHeaders }), 400],
    ['an empty form', () => surface.call('POST', 'files', { body: `--${boundary}--\r\n`, headers: formHeaders }), 400],
    ['two files of one path', () => surface.call('POST', 'files', { body: form([{ name: 'file', filename: 'same', body: '1' }, { name: 'file', filename: 'same', body: '2' }]), headers: formHeaders }), 400],
    ['too much metadata', () => put('x', 'x', Object.fromEntries(Array.from({ length: 5 }, (_, i) => [`x-metadata-${i}`, 'v'.repeat(1000)]))), 400],
    ['a long key of metadata', () => put('x', 'x', { [`x-metadata-${'k'.repeat(247)}`]: 'v' }), 400],
    ['a path that is too long', () => put(`/${'d/'.repeat(3000)}x`, 'x'), 400],
    ['another’s home', () => put('~root/x', 'x'), 400],
  ])('with %s is refused', async (_what, attempt, status) => {
    expect(await attempt()).toMatchObject({ status, json: { code: status, message: expect.any(String) } });
    await until(async () => (await openStreams()) === 0);
  });
  it('that is torn leaves nothing behind', async () => {
    for (const path of ['torn', 'half', 'lie']) expect(await get(path)).toMatchObject({ status: 404, json: { code: 404, message: `path '/home/user/${path}' does not exist` } });
  });
  it('says when the disk is full, before it was read to the end', async () => {
    const endless = Readable.from((function* () { for (;;) yield Buffer.alloc(1 << 20); })());
    const answer = await readAnswer(await host.upload('POST', `${base()}/surface/files?path=huge`, endless));
    expect(answer).toMatchObject({ status: 507, json: { code: 507, message: 'not enough disk space available' } });
    await until(async () => (await openStreams()) === 0);
  });
  it('whose caller leaves in the middle leaves nothing behind', async () => {
    const uploading = request({ host: '127.0.0.1', port: host.port, method: 'POST', path: `${base()}/surface/files?path=left`, headers: octets, ...host.caller, agent: false });
    uploading.on('error', () => undefined);
    uploading.write(Buffer.alloc(1000));
    await until(async () => (await openStreams()) === 1);
    uploading.destroy();
    await until(async () => (await openStreams()) === 0);
    expect(await get('left')).toMatchObject({ status: 404 });
  });
});

describe('a download', () => {
  beforeAll(() => put('letters', 'abcdefghij'));
  it.each([
    ['bytes=2-4', 206, 'cde', 'bytes 2-4/10'],
    ['bytes=7-', 206, 'hij', 'bytes 7-9/10'],
    ['bytes=-2', 206, 'ij', 'bytes 8-9/10'],
    ['bytes=0-99', 206, 'abcdefghij', 'bytes 0-9/10'],
    ['bytes=0-1,3-4', 200, 'abcdefghij', undefined],
    ['bytes=4-2', 200, 'abcdefghij', undefined],
    ['lines=1-2', 200, 'abcdefghij', undefined],
  ])('of %s', async (range, status, body, contentRange) => {
    const answer = await get('letters', { range });
    expect([answer.status, answer.body.toString(), answer.headers['content-range'], answer.headers['content-length']]).toEqual([status, body, contentRange, String(body.length)]);
  });
  it('outside of the file is refused', async () => {
    expect(await get('letters', { range: 'bytes=10-' })).toMatchObject({ status: 416 });
  });
  it('is compressed for who asks for nothing else', async () => {
    const zipped = await get('letters', { 'accept-encoding': 'gzip' });
    expect(zipped.headers['content-encoding']).toBe('gzip');
    expect(gunzipSync(zipped.body).toString()).toBe('abcdefghij');
    for (const accepted of ['br, gzip, deflate', 'identity', '*', 'gzip;q=0', 'deflate']) {
      const plain = await get('letters', { 'accept-encoding': accepted });
      expect([plain.headers['content-encoding'], plain.body.toString()]).toEqual([undefined, 'abcdefghij']);
    }
    expect(await get('letters', { 'accept-encoding': 'identity;q=0, br' })).toMatchObject({ status: 406 });
  });
  it.each([
    ['/no/such', 404, "path '/no/such' does not exist"],
    ['/tmp', 400, "path '/tmp' is a directory"],
    ['', 400, "path '/home/user' is a directory"],
  ])('of %s is refused', async (path, code, message) => {
    expect(await get(path)).toMatchObject({ status: code, json: { code, message } });
    expect(await get(path, { range: 'bytes=0-1' })).toMatchObject({ status: code });
  });
  it('streams a large file to a slow reader', async () => {
    const body = Buffer.alloc(8 << 20, 'large');
    await put('large', body);
    const hash = createHash('sha256');
    for await (const chunk of await surface.send('GET', 'files?path=large')) {
      hash.update(chunk as Buffer);
      await new Promise((next) => setImmediate(next));
    }
    expect(hash.digest('hex')).toBe(createHash('sha256').update(body).digest('hex'));
  });
});

describe('filesystem.Filesystem', () => {
  it('makes, lists, moves and removes', async () => {
    expect(await fs('MakeDir', { path: 'a/b/c' })).toMatchObject({ status: 200, json: { entry: { name: 'c', path: '/home/user/a/b/c', type: 'FILE_TYPE_DIRECTORY', permissions: 'drwxr-xr-x', mode: 0o755 } } });
    await put('a/f', 'text');
    expect((await fs('ListDir', { path: 'a' })).json).toMatchObject({ entries: [{ path: '/home/user/a/b' }, { path: '/home/user/a/f', size: '4', type: 'FILE_TYPE_FILE' }] });
    expect(((await fs('ListDir', { path: '/home/user/a', depth: 2 })).json as { entries: { path: string }[] }).entries.map(({ path }) => path)).toEqual(['/home/user/a/b', '/home/user/a/b/c', '/home/user/a/f']);
    expect((await fs('Move', { source: 'a/f', destination: 'new/place/g' })).json).toMatchObject({ entry: { name: 'g', path: '/home/user/new/place/g', size: '4' } });
    expect(await fs('Stat', { path: 'a/f' })).toMatchObject({ status: 404, json: { code: 'not_found' } });
    expect((await fs('Remove', { path: 'a' })).json).toEqual({});
    expect((await fs('Remove', { path: 'a' })).json).toEqual({});
    expect(await fs('ListDir', { path: 'a' })).toMatchObject({ status: 404 });
    expect(await fs('ListDir', { path: 'new/place/g' })).toMatchObject({ status: 400, json: { code: 'invalid_argument' } });
  });
  it('says what is there already', async () => {
    await fs('MakeDir', { path: 'there' });
    expect(await fs('MakeDir', { path: 'there' })).toMatchObject({ status: 409, json: { code: 'already_exists', message: 'directory already exists: /home/user/there' } });
    await put('file', 'x');
    expect(await fs('MakeDir', { path: 'file' })).toMatchObject({ status: 400, json: { code: 'invalid_argument' } });
  });
  it('watches, and tells what came of it', async () => {
    await fs('MakeDir', { path: 'watched' });
    const leaving = new AbortController();
    const watch = await surface.stream('filesystem.Filesystem/WatchDir', { path: 'watched', recursive: true, includeEntry: true }, {}, leaving.signal);
    expect((await watch.next())?.message).toEqual({ start: {} });
    await put('watched/sub/new', 'x');
    for (;;) {
      const event = (await watch.next())?.message as { filesystem: { name: string; type: string; entry?: { path: string } } };
      if (event.filesystem.name !== 'sub/new') continue;
      expect(event.filesystem).toMatchObject({ type: expect.stringMatching(/^EVENT_TYPE_(CREATE|WRITE)$/), entry: { path: '/home/user/watched/sub/new' } });
      break;
    }
    leaving.abort();
    await until(async () => (await openStreams()) === 0);
  });
  it.each([
    ['no/such', 'not_found'],
    ['letters', 'invalid_argument'],
  ])('watches no %s', async (path, code) => {
    expect(await surface.streamed('filesystem.Filesystem/WatchDir', { path })).toMatchObject([{ flags: 2, message: { error: { code } } }]);
    expect(await fs('CreateWatcher', { path })).toMatchObject({ json: { code } });
  });
  it('ends a watch when its time is over', async () => {
    expect((await surface.streamed('filesystem.Filesystem/WatchDir', { path: '/tmp' }, { 'connect-timeout-ms': '50' })).at(-1)).toMatchObject({ message: { error: { code: 'deadline_exceeded' } } });
  });
  it('keeps what a watcher saw until it is asked', async () => {
    const { watcherId } = (await fs('CreateWatcher', { path: '/tmp', include_entry: true })).json as { watcherId: string };
    await put('/tmp/seen', 'x');
    const seen: unknown[] = [];
    await until(async () => {
      seen.push(...((await fs('GetWatcherEvents', { watcherId })).json as { events: unknown[] }).events);
      return seen.length > 0;
    });
    expect(seen[0]).toMatchObject({ name: 'seen', entry: { path: '/tmp/seen' } });
    expect((await fs('RemoveWatcher', { watcher_id: watcherId })).json).toEqual({});
    for (const method of ['GetWatcherEvents', 'RemoveWatcher']) expect(await fs(method, { watcherId })).toMatchObject({ status: 404, json: { code: 'not_found', message: `watcher with id ${watcherId} not found` } });
    await until(async () => (await openStreams()) === 0);
  });
  it('keeps a bounded number of watchers: the one that was not asked for longest goes', async () => {
    const ids: string[] = [];
    for (let i = 0; i < 33; i += 1) ids.push(((await fs('CreateWatcher', { path: '/tmp' })).json as { watcherId: string }).watcherId);
    expect(await openStreams()).toBe(32);
    expect(await fs('GetWatcherEvents', { watcherId: ids[0] })).toMatchObject({ status: 404 });
    for (const watcherId of ids.slice(1)) expect(await fs('RemoveWatcher', { watcherId })).toMatchObject({ status: 200 });
  });
});

describe('when the room goes', () => {
  it('open answers are cut, not ended, and the next one is sent elsewhere', async () => {
    const process = await surface.stream('process.Process/Start', { process: { cmd: '/bin/bash', args: ['-l', '-c', 'sleep 1000'] } });
    await process.next();
    const watch = await surface.stream('filesystem.Filesystem/WatchDir', { path: '/tmp' });
    await watch.next();
    await fs('CreateWatcher', { path: '/tmp' });
    const endless = await surface.stream('process.Process/Start', { process: { cmd: '/bin/bash', args: ['-l', '-c', 'yes'] } });
    await host.call('PUT', `${base()}/gone`, { operationId: 'op', reason: 'test', discard: false });
    await Promise.all([process.cut(), watch.cut(), endless.cut()]);
    expect(await surface.call('GET', 'health')).toMatchObject({ status: 409, json: { code: 'room.not_running' }, headers: { 'alcove-room': 'elsewhere' } });
    expect(await openStreams()).toBe(0);
  });
});
