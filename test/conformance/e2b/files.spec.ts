/** Files of a real room through the SDK: reading and writing. */
import { createHash, randomBytes } from 'node:crypto';
import type { Sandbox } from 'e2b';
import { failureOf, Tenancy } from './sdk';

jest.setTimeout(180_000);
let mine: Tenancy;
let sandbox: Sandbox;
beforeAll(async () => {
  mine = await Tenancy.open('qemu');
  sandbox = await mine.create();
});
afterAll(() => mine?.close());

const sh = async (command: string, user?: string): Promise<string> => (await sandbox.commands.run(command, user === undefined ? {} : { user })).stdout;
const sha256 = (data: Uint8Array | string): string => createHash('sha256').update(data).digest('hex');
const streamOf = (chunks: Uint8Array[]): ReadableStream<Uint8Array> => new ReadableStream({ pull: (controller) => { const next = chunks.shift(); if (next) controller.enqueue(next); else controller.close(); } });

describe('write', () => {
  it('makes a file of the user with the folders above it, and tells of it', async () => {
    expect(await sandbox.files.write('/home/user/a/b/c.txt', 'hello')).toMatchObject({ name: 'c.txt', path: '/home/user/a/b/c.txt', type: 'file' });
    expect(await sh('stat -c "%U:%G %a" a/b/c.txt a/b; cat a/b/c.txt')).toBe('user:user 644\nuser:user 755\nhello');
  });

  it('replaces what was there', async () => {
    await sandbox.files.write('twice.txt', 'a longer text than the second');
    await sandbox.files.write('twice.txt', 'short');
    expect(await sandbox.files.read('/home/user/twice.txt')).toBe('short');
  });

  it("takes a path from the user's home, with ~ and without", async () => {
    expect((await sandbox.files.write('relative.txt', '1')).path).toBe('/home/user/relative.txt');
    expect((await sandbox.files.write('~/tilde.txt', '2')).path).toBe('/home/user/tilde.txt');
    expect(await sandbox.files.read('tilde.txt')).toBe('2');
  });

  it('writes as root where the user may not, and says so where the user asks', async () => {
    await sandbox.files.write('/root/secret.txt', 'r', { user: 'root' });
    expect(await sh('stat -c %U /root/secret.txt', 'root')).toBe('root\n');
    expect(await sandbox.files.read('/root/secret.txt', { user: 'root' })).toBe('r');
  });

  it('takes every kind of data', async () => {
    const bytes = randomBytes(70_000);
    const buffer = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) as ArrayBuffer;
    await sandbox.files.write('buffer.bin', buffer);
    await sandbox.files.write('blob.bin', new Blob([buffer]));
    await sandbox.files.write('stream.bin', streamOf([bytes.subarray(0, 1), bytes.subarray(1, 50_000), bytes.subarray(50_000)]));
    await sandbox.files.write('octet.bin', buffer, { useOctetStream: true });
    for (const name of ['buffer', 'blob', 'stream', 'octet']) expect({ name, sha: sha256(await sandbox.files.read(`${name}.bin`, { format: 'bytes' })) }).toEqual({ name, sha: sha256(bytes) });
  });

  it('takes many files at once, with the folder in their names', async () => {
    const entries = Array.from({ length: 10 }, (_, i) => ({ path: `many/${i}/file.txt`, data: `text ${i}` }));
    expect(await sandbox.files.write(entries)).toHaveLength(10);
    expect(await sh('cat many/*/file.txt')).toBe(entries.map(({ data }) => data).join(''));
    expect(await sandbox.files.write([])).toEqual([]);
  });

  it('takes an empty file', async () => {
    await sandbox.files.write('empty.txt', '');
    expect(await sandbox.files.read('empty.txt')).toBe('');
    expect((await sandbox.files.read('empty.txt', { format: 'bytes' })).length).toBe(0);
  });

  it('takes names with any characters', async () => {
    const name = `odd/ä ü & ? # % + "'.txt`;
    await sandbox.files.write(name, 'odd');
    expect(await sandbox.files.read(name)).toBe('odd');
    expect((await sandbox.files.list('odd')).map((entry) => entry.name)).toEqual([name.slice(4)]);
  });

  it('takes 20 MB both ways', async () => {
    const bytes = randomBytes(20_000_000);
    const buffer = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) as ArrayBuffer;
    await sandbox.files.write('/tmp/large.bin', buffer);
    expect(await sh('sha256sum < /tmp/large.bin')).toContain(sha256(bytes));
    const hash = createHash('sha256');
    for await (const chunk of (await sandbox.files.read('/tmp/large.bin', { format: 'stream' })) as unknown as AsyncIterable<Uint8Array>) hash.update(chunk);
    expect(hash.digest('hex')).toBe(sha256(bytes));
  });

  it('compresses on the way when asked, and keeps what was meant', async () => {
    const text = 'the same again and again\n'.repeat(20_000);
    await sandbox.files.write('gzip.txt', text, { gzip: true });
    expect(await sh('wc -c < gzip.txt')).toBe(`${text.length}\n`);
    expect(await sandbox.files.read('gzip.txt', { gzip: true })).toBe(text);
  });

  it('leaves no half of a file behind when its client goes away', async () => {
    await sandbox.files.write('whole.txt', 'the whole');
    const stuck = new ReadableStream<Uint8Array>({ start: (controller) => controller.enqueue(randomBytes(300_000)) });
    const enough = new AbortController();
    const upload = failureOf(sandbox.files.write('whole.txt', stuck, { signal: enough.signal }));
    enough.abort();
    await upload;
    expect(await sandbox.files.read('whole.txt')).toBe('the whole');
    expect(await sh('ls -a | grep -c "whole" || true')).toBe('1\n');
  });

  it('refuses to write over a folder', async () => {
    await sandbox.files.makeDir('a-folder');
    expect((await failureOf(sandbox.files.write('a-folder', 'x'))).name).toBe('InvalidArgumentError');
  });
});

describe('read', () => {
  it('gives text, bytes, a blob and a stream', async () => {
    await sandbox.files.write('forms.txt', 'zażółć');
    expect(await sandbox.files.read('forms.txt')).toBe('zażółć');
    expect(Buffer.from(await sandbox.files.read('forms.txt', { format: 'bytes' })).toString()).toBe('zażółć');
    expect(await (await sandbox.files.read('forms.txt', { format: 'blob' })).text()).toBe('zażółć');
    const chunks: Uint8Array[] = [];
    for await (const chunk of (await sandbox.files.read('forms.txt', { format: 'stream' })) as unknown as AsyncIterable<Uint8Array>) chunks.push(chunk);
    expect(Buffer.concat(chunks).toString()).toBe('zażółć');
  });

  it('FileNotFoundError for what is not there, InvalidArgumentError for a folder', async () => {
    expect((await failureOf(sandbox.files.read('no/such/file'))).name).toBe('FileNotFoundError');
    expect((await failureOf(sandbox.files.read('/home/user'))).name).toBe('InvalidArgumentError');
  });

  it('AuthenticationError for a user that is not there', async () => {
    expect((await failureOf(sandbox.files.read('/etc/hostname', { user: 'nobody-here' }))).name).toBe('AuthenticationError');
    expect((await failureOf(sandbox.files.write('x', 'x', { user: 'nobody-here' }))).name).toBe('AuthenticationError');
  });

  it('reads files of no length of their own without hanging', async () => {
    expect(await sandbox.files.read('/proc/version')).toMatch(/^Linux version \S+ .*\n$/);
  });
});

describe('metadata', () => {
  it('is kept with the file and shown by getInfo, list and rename', async () => {
    expect((await sandbox.files.write('meta.txt', 'x', { metadata: { Author: 'Anna', purpose: 'a test' } })).metadata).toEqual({ author: 'Anna', purpose: 'a test' });
    expect((await sandbox.files.getInfo('meta.txt')).metadata).toEqual({ author: 'Anna', purpose: 'a test' });
    expect((await sandbox.files.list('.')).find(({ name }) => name === 'meta.txt')?.metadata).toEqual({ author: 'Anna', purpose: 'a test' });
    expect((await sandbox.files.rename('meta.txt', 'renamed.txt')).metadata).toEqual({ author: 'Anna', purpose: 'a test' });
    expect(await sh('python3 -c "import os; print(os.getxattr(\'renamed.txt\', \'user.e2b.author\').decode())"')).toBe('Anna\n');
  });

  it('is replaced as a whole by the next upload', async () => {
    await sandbox.files.write('replaced.txt', 'x', { metadata: { one: '1', two: '2' } });
    await sandbox.files.write('replaced.txt', 'y', { metadata: { three: '3' } });
    expect((await sandbox.files.getInfo('replaced.txt')).metadata).toEqual({ three: '3' });
    await sandbox.files.write('replaced.txt', 'z');
    expect((await sandbox.files.getInfo('replaced.txt')).metadata).toBeUndefined();
  });

  it('comes with an upload as a stream of octets and with every file of several', async () => {
    await sandbox.files.write('octet-meta.txt', 'x', { useOctetStream: true, metadata: { k: 'octet' } });
    expect((await sandbox.files.getInfo('octet-meta.txt')).metadata).toEqual({ k: 'octet' });
    await sandbox.files.write([{ path: 'm1.txt', data: '1' }, { path: 'm2.txt', data: '2' }], { metadata: { k: 'both' } });
    for (const name of ['m1.txt', 'm2.txt']) expect((await sandbox.files.getInfo(name)).metadata).toEqual({ k: 'both' });
  });

  it('shows what was set in the room itself, and refuses more than 4 KiB', async () => {
    await sandbox.files.write('own.txt', 'x');
    await sh('python3 -c "import os; os.setxattr(\'own.txt\', \'user.e2b.own\', b\'yes\')"');
    expect((await sandbox.files.getInfo('own.txt')).metadata).toEqual({ own: 'yes' });
    expect((await failureOf(sandbox.files.write('big.txt', 'x', { metadata: { big: 'x'.repeat(5000) } }))).name).toBe('InvalidArgumentError');
  });
});
