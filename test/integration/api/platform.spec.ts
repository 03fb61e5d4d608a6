import { spawn, type ChildProcess } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { newId, silentLog } from '@alcove/base';
import { Room, RoomEvent, type NewApiKey, type SignedReceipt } from '@alcove/contracts';
import { openReceiptKey, verifyReceiptText } from '@alcove/vault';
import { createWorker, type Worker } from '../../../apps/worker/src/app';
import { tlsFiles } from '../../../apps/cli/src/setup/certificates';
import { firstEvents, until } from './conditions';
import { makeIdentities, removeIdentities, startRig, type Rig } from './rig';

/** The whole platform but for real VMs: API, worker and a host agent in a process of its own, with the fake driver. */
const hostMain = join(__dirname, '../../../dist/apps/host/src/main.js');
const hostId = newId('host').replace('_', '-');
let rig: Rig;
let worker: Worker;
let host: ChildProcess;
let identities: Awaited<ReturnType<typeof makeIdentities>>;
let key: NewApiKey;

function startHost(): ChildProcess {
  const tls = tlsFiles(identities.folder, hostId);
  const env = {
    PATH: '/usr/bin:/bin',
    ALCOVE_HOST_ID: hostId,
    ALCOVE_HOST_LISTEN: '127.0.0.1:0',
    ALCOVE_CONTROL_URL: rig.internalUrl,
    ALCOVE_TLS_CA: tls.ca,
    ALCOVE_TLS_CERT: tls.cert,
    ALCOVE_TLS_KEY: tls.key,
    ALCOVE_STORE_DIR: join(identities.folder, 'store'),
    ALCOVE_HOST_DIR: join(identities.folder, 'host'),
    ALCOVE_DRIVER: 'fake',
    ALCOVE_HEARTBEAT_MS: '500',
    ALCOVE_LOG_LEVEL: 'error',
  };
  return spawn(process.execPath, ['--no-warnings', hostMain], { env, stdio: 'ignore' });
}

beforeAll(async () => {
  identities = await makeIdentities([hostId]);
  rig = await startRig(identities);
  const { databaseUrl, keys, queue, tls } = rig.config;
  worker = await createWorker({ databaseUrl, keys, qdrant: null, queue, tls, logLevel: 'silent' }, { log: silentLog });
  await worker.start();
  host = startHost();
  key = (await rig.tenant({ roomsPerUser: 10 })).key;
  await until('a host offers the template', async () => (await rig.call('POST', '/v1/rooms', { key: key.key, json: { userId: 'scout', metadata: { of: hostId } } })).status === 201);
});
afterAll(async () => {
  host?.kill('SIGTERM');
  await worker?.close();
  await rig?.close();
  removeIdentities(identities);
});

const call: Rig['call'] = (method, path, options = {}) => rig.call(method, path, { key: key.key, ...options });

async function newRoom(userId: string, env: Record<string, string> = {}): Promise<string> {
  const { id } = Room.parse(await (await call('POST', '/v1/rooms', { json: { userId, env } })).json());
  return id;
}

async function ask(roomId: string, prompt: string): Promise<{ answer: unknown; resumedFrom: string | null }> {
  const answer = await call('POST', `/v1/rooms/${roomId}/invocations`, { json: { prompt } });
  expect(answer.status).toBe(200);
  return { answer: await answer.json(), resumedFrom: answer.headers.get('alcove-resumed-from') };
}

it('a room keeps what is in its memory through a sleep', async () => {
  const id = await newRoom('alice');
  const first = await ask(id, 'nonce');
  expect((await call('POST', `/v1/rooms/${id}/hibernate`)).status).toBe(200);
  const second = await ask(id, 'nonce');
  expect(second.resumedFrom).toBe('memory');
  expect(second.answer).toMatchObject({ nonce: (first.answer as { nonce: string }).nonce });
  const events = await firstEvents(await call('GET', `/v1/rooms/${id}/events`), 6);
  expect(events.map((event) => RoomEvent.parse(event.data).to)).toEqual(expect.arrayContaining(['provisioning', 'running', 'hibernating', 'hibernated', 'resuming']));
});

it('files of some size go in and come out whole', async () => {
  const id = await newRoom('bob');
  const bytes = randomBytes(5 << 20);
  const digest = (data: Uint8Array) => createHash('sha256').update(data).digest('hex');
  const written = await call('PUT', `/v1/rooms/${id}/files?path=deep/er/data.bin`, { body: bytes });
  expect(await written.json()).toEqual({ size: bytes.length });
  const read = await call('GET', `/v1/rooms/${id}/files?path=deep/er/data.bin`);
  expect(read.headers.get('content-length')).toBe(String(bytes.length));
  expect(digest(new Uint8Array(await read.arrayBuffer()))).toBe(digest(bytes));
  expect((await call('POST', `/v1/rooms/${id}/files/move`, { json: { from: 'deep/er/data.bin', to: 'moved' } })).status).toBe(204);
  expect(await (await call('GET', `/v1/rooms/${id}/files/list?path=.`)).json()).toMatchObject({ entries: expect.arrayContaining([expect.objectContaining({ name: 'moved' })]) });
  expect((await call('DELETE', `/v1/rooms/${id}/files?path=moved`)).status).toBe(204);
  expect((await call('GET', `/v1/rooms/${id}/files/stat?path=moved`)).status).toBe(404);
});

it('a command runs, with the room’s variables', async () => {
  const id = await newRoom('carol', { GREETING: 'hi' });
  const events = await firstEvents(await call('POST', `/v1/rooms/${id}/exec`, { json: { command: ['echo', 'hello'] } }), Infinity);
  expect(events.at(-1)).toMatchObject({ event: 'exit', data: { exitCode: 0 } });
  const out = events.filter((event) => event.event === 'stdout').map((event) => Buffer.from((event.data as { data: string }).data, 'base64').toString());
  expect(out.join('')).toBe('hello\n');
});

it('rooms outlive their host agent, and calls go on once it is back', async () => {
  const id = await newRoom('dave');
  const before = await ask(id, 'nonce');
  const ended = new Promise((resolve) => host.once('exit', resolve));
  host.kill('SIGKILL');
  await ended;
  const meanwhile = await call('POST', `/v1/rooms/${id}/invocations`, { json: { prompt: 'x' } });
  expect([502, 503]).toContain(meanwhile.status);
  host = startHost();
  const after = await until('the host answers again', async () => {
    const answer = await call('POST', `/v1/rooms/${id}/invocations`, { json: { prompt: 'nonce' } });
    const body = (await answer.json()) as { nonce?: string };
    return answer.status === 200 && body;
  });
  expect(after.nonce).toBe((before.answer as { nonce: string }).nonce);
});

it('a user goes with everything it had', async () => {
  const id = await newRoom('erin');
  await ask(id, 'nonce');
  expect((await call('GET', '/v1/users/erin/erasure')).status).toBe(404);
  await call('POST', `/v1/rooms/${id}/hibernate`);
  await until('the room sleeps', async () => ((await (await call('GET', `/v1/rooms/${id}`)).json()) as { state: string }).state === 'hibernated');
  const source = { kind: 'message', trust: 'user' };
  for (const [method, path, json] of [['POST', '', { kind: 'fact', content: 'x', source }], ['POST', '/events', { session: 's', role: 'user', content: 'x', source }], ['PUT', '/blocks/persona', { content: 'x', source }]] as const) {
    expect((await call(method, `/v1/users/erin/memory${path}`, { json })).status).toBeLessThan(300);
  }
  const answer = await call('DELETE', '/v1/users/erin');
  expect(answer.status).toBe(202);
  const { erasureId } = (await answer.json()) as { erasureId: string };
  await until('the room is gone', async () => (await call('GET', `/v1/rooms/${id}`)).status === 410);
  await until('the user is', async () => ((await (await call('GET', '/v1/users/erin')).json()) as { state: string }).state === 'destroyed');
  const erasure = (await (await call('GET', '/v1/users/erin/erasure')).json()) as { receipt: unknown };
  expect(erasure).toMatchObject({ id: erasureId, state: 'done' });
  const { objects } = (erasure.receipt as SignedReceipt).receipt;
  expect([...new Set(objects.map(({ kind }) => kind))].sort()).toEqual(['block', 'disk', 'event', 'memory_image', 'record', 'vectors']);
  const { publicKeyPem } = await openReceiptKey(rig.config.keys.receiptKeyFile);
  const file = Buffer.from(await (await call('GET', '/v1/users/erin/erasure/receipt')).arrayBuffer());
  expect(verifyReceiptText(file, publicKeyPem)).toMatchObject({ verdict: 'genuine', receipt: { id: erasureId, subject: { userId: 'erin' } } });
  expect((await call('POST', '/v1/rooms', { json: { userId: 'erin' } })).status).toBe(410);
});
