/** Large files go in and out of a room as streams: whole, at any size up to the limit, and through little memory of every process on the way. */
import { createCipheriv, createHash, type Hash } from 'node:crypto';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { request, type ClientRequest, type IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { limits } from '@alcove/base';
import { exec, startPlatform, until, type Platform } from './platform';
import { testConfig } from './e2e.config';

const { all } = testConfig();
const MiB = 1 << 20;
const bytes = all ? limits.http.fileBytes : 64 * MiB;
/** How much more memory than at its beginning a process may have at any moment of a transfer: what it collects late, not the file. */
const growthMax = 128 * MiB;

jest.setTimeout(3_600_000);
let platform: Platform;
let room: string;
beforeAll(async () => {
  platform = await startPlatform();
  room = (await platform.client.createRoom({ userId: 'large' })).id;
  await platform.client.wake(room);
});
afterAll(() => platform?.destroy());

/** Bytes that no one can compress or guess, the same at every run: AES-CTR of zeros. Added to the hash as they are made. */
function* generated(length: number, hash?: Hash): Generator<Buffer> {
  const cipher = createCipheriv('aes-128-ctr', Buffer.alloc(16, 'large'), Buffer.alloc(16));
  const zeros = Buffer.alloc(64 << 10);
  for (let left = length; left > 0; left -= zeros.length) {
    const chunk = cipher.update(zeros.subarray(0, Math.min(left, zeros.length)));
    hash?.update(chunk);
    yield chunk;
  }
}

function open(method: 'GET' | 'PUT', query: Record<string, string>, headers: Record<string, string> = {}): ClientRequest {
  const url = `${platform.url}/v1/rooms/${room}/files?${new URLSearchParams(query).toString()}`;
  return request(url, { method, headers: { authorization: `Bearer ${platform.key}`, 'content-type': 'application/octet-stream', ...headers }, agent: false });
}

async function answerOf(call: ClientRequest): Promise<IncomingMessage> {
  const [answer] = (await once(call, 'response')) as [IncomingMessage];
  return answer;
}

async function jsonOf(answer: IncomingMessage): Promise<{ status: number; body: unknown }> {
  const chunks = (await answer.toArray()) as Buffer[];
  return { status: answer.statusCode ?? 0, body: JSON.parse(Buffer.concat(chunks).toString('utf8')) };
}

/** The SHA-256 of the answer's body, read piece by piece. */
async function hashOf(answer: IncomingMessage): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of answer as AsyncIterable<Buffer>) hash.update(chunk);
  return hash.digest('hex');
}

async function inRoom(command: string): Promise<string> {
  const { stdout, stderr, exitCode } = await exec(platform, room, command, { user: 'root', timeoutMs: 1_800_000 });
  expect({ stderr, exitCode }).toEqual({ stderr: '', exitCode: 0 });
  return stdout.trim();
}

/** What a write leaves beside its file until it is whole. */
const unfinished = () => inRoom('find /home/user -name ".alcove-write-*"');
/** How many processes in the room have the file open. */
const readers = async (path: string) => Number(await inRoom(`find /proc/[0-9]*/fd -lname ${path} 2>/dev/null | wc -l`));
/** How far the one process in the room that reads the file has come. proc_pid_fdinfo(5). */
const position = async (path: string) => Number(await inRoom(`sed -n 's/^pos:[[:space:]]*//p' $(find /proc/[0-9]*/fd -lname ${path} 2>/dev/null | sed s,/fd/,/fdinfo/,)`));
const usedBytes = async () => Number(await inRoom('df --output=used -B1 /home | tail -1'));

/**
 * How much memory the processes on the way took at most while the work was done, beyond what they had at its beginning. In bytes, from the peak that the kernel
 * keeps, which 5 in clear_refs sets back: proc_pid_status(5), proc_pid_clear_refs(5).
 */
async function growthDuring(work: () => Promise<void>): Promise<Record<string, number>> {
  const processes = await Promise.all(['api', 'host'].map(async (name) => ({ name, folder: `/proc/${await platform.pidOf(name)}` })));
  const peakOf = async (folder: string) => Number(/^VmHWM:\s+(\d+) kB$/m.exec(await readFile(join(folder, 'status'), 'utf8'))?.[1]) * 1024;
  const before = new Map<string, number>();
  for (const { name, folder } of processes) {
    await writeFile(join(folder, 'clear_refs'), '5');
    before.set(name, await peakOf(folder));
  }
  await work();
  const growth: Record<string, number> = {};
  for (const { name, folder } of processes) growth[name] = (await peakOf(folder)) - (before.get(name) ?? 0);
  return growth;
}

/** Does it through little memory, and says how fast it was. */
async function measured(what: string, work: () => Promise<void>): Promise<void> {
  const started = performance.now();
  const growth = await growthDuring(work);
  const seconds = (performance.now() - started) / 1000;
  const memory = Object.entries(growth).map(([name, more]) => `${name} +${Math.round(more / MiB)} MiB`);
  process.stdout.write(`${what} ${bytes / MiB} MiB in ${seconds.toFixed(1)} s, ${(bytes / MiB / seconds).toFixed(1)} MiB/s; ${memory.join(', ')}\n`);
  for (const more of Object.values(growth)) expect(more).toBeLessThan(growthMax);
}

it(`takes ${bytes / MiB} MiB and gives them back after a sleep, through little memory`, async () => {
  const path = '/home/user/large';
  const hash = createHash('sha256');
  await measured('written', async () => {
    const put = open('PUT', { path }, { 'content-length': String(bytes) });
    const [written] = await Promise.all([answerOf(put).then(jsonOf), pipeline(Readable.from(generated(bytes, hash), { objectMode: false }), put)]);
    expect(written).toEqual({ status: 200, body: { size: bytes } });
  });
  const sha256 = hash.digest('hex');
  expect((await inRoom(`sha256sum ${path}`)).slice(0, sha256.length)).toBe(sha256);
  await platform.client.hibernate(room);
  await platform.client.wake(room);
  await measured('read', async () => {
    const answer = await answerOf(open('GET', { path }).end());
    expect(answer.headers['content-length']).toBe(String(bytes));
    expect(await hashOf(answer)).toBe(sha256);
  });
});

it('refuses to write one byte more than the limit, before the first is sent', async () => {
  const put = open('PUT', { path: '/home/user/too-large' }, { 'content-length': String(limits.http.fileBytes + 1) });
  put.flushHeaders();
  expect(await jsonOf(await answerOf(put))).toMatchObject({ status: 413, body: { code: 'request.too_large' } });
  put.destroy();
  expect(await unfinished()).toBe('');
});

it('refuses to read one byte more than the limit, but gives parts', async () => {
  const path = '/home/user/sparse';
  await inRoom(`truncate -s ${limits.http.fileBytes} ${path} && printf '!' >> ${path}`);
  expect(await jsonOf(await answerOf(open('GET', { path }).end()))).toMatchObject({ status: 413, body: { code: 'request.too_large' } });
  const end = await answerOf(open('GET', { path, offset: String(limits.http.fileBytes - 1), length: '2' }).end());
  expect(end.headers).toMatchObject({ 'content-length': '2', 'alcove-file-size': String(limits.http.fileBytes + 1) });
  expect(Buffer.concat((await end.toArray()) as Buffer[])).toEqual(Buffer.from('\0!'));
  await until('nobody has it open', async () => (await readers(path)) === 0);
});

it('waits for a slow reader, and lets go of the file when the reader leaves', async () => {
  const path = '/home/user/abandoned';
  await inRoom(`truncate -s ${limits.http.fileBytes} ${path}`);
  const answer = await answerOf(open('GET', { path }).end());
  await once(answer, 'readable');
  let before = NaN;
  const stopped = await until('the room reads no further', async () => {
    const now = await position(path);
    const stands = now === before;
    before = now;
    return stands && now;
  });
  expect(stopped).toBeLessThan(64 * MiB);
  expect(await readers(path)).toBe(1);
  answer.destroy();
  await until('nobody has it open', async () => (await readers(path)) === 0);
});

it('leaves nothing of a file whose writer left', async () => {
  const path = '/home/user/half';
  const put = open('PUT', { path }, { 'content-length': String(bytes) });
  put.on('error', () => undefined);
  for (const chunk of generated(4 * MiB)) put.write(chunk);
  await until('the room has begun to write', async () => (await unfinished()) !== '');
  put.destroy();
  await until('it has removed what it wrote', async () => (await unfinished()) === '');
  expect(await inRoom(`ls ${path} 2>/dev/null || echo none`)).toBe('none');
});

if (all) {
  it('refuses one byte more than the limit also when nobody said how many would come', async () => {
    const usedBefore = await usedBytes();
    const put = open('PUT', { path: '/home/user/too-large' });
    put.on('error', () => undefined);
    const answered = answerOf(put).then(jsonOf);
    await Promise.all([answered, pipeline(Readable.from(generated(limits.http.fileBytes + 1), { objectMode: false }), put).catch(() => undefined)]);
    expect(await answered).toMatchObject({ status: 413, body: { code: 'request.too_large' } });
    await until('it has removed what it wrote', async () => (await unfinished()) === '');
    await until('its room on the disk is free again', async () => (await usedBytes()) < usedBefore + 64 * MiB);
  });
}
