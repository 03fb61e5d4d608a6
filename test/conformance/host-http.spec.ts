import { once } from 'node:events';
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { Agent } from 'node:https';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { connect } from 'node:tls';
import { ExecEvent, FileList, HostState } from '@alcove/contracts';
import { readIdentity } from './host-certificates';
import { HostProcess, readAnswer, roomName, runningOrder, sealedOrder, spawnHost, until } from './host-harness';

const host = new HostProcess();
const room = roomName();
const path = (rest: string, incarnation = 1) => `/rooms/${room}/incarnations/${incarnation}/${rest}`;
const json = { 'content-type': 'application/json' };

beforeAll(async () => {
  await host.start();
  await host.ready();
  await host.call('PUT', path('running'), runningOrder({ env: { GREETING: 'hello' } }));
});
afterAll(() => host.stop());

async function exec(order: object): Promise<ExecEvent[]> {
  const answer = await host.call('POST', path('exec'), order);
  expect(answer.headers['content-type']).toBe('application/x-ndjson');
  return answer.body.toString().trim().split('\n').map((line) => ExecEvent.parse(JSON.parse(line)));
}
const agentLog = async () => (await host.call('GET', path('logs'))).body.toString();

describe('who may call', () => {
  it('nobody without a certificate of our authority', async () => {
    const { ca } = host.caller;
    await expect(host.send('GET', '/state', { identity: { ca } })).rejects.toThrow();
  });
  it('nobody with another authority’s certificate', async () => {
    const stranger = new HostProcess();
    const identity = { ...stranger.caller, ca: host.caller.ca };
    await expect(host.send('GET', '/state', { identity })).rejects.toThrow();
    await stranger.stop();
  });
  it('no other host: the certificate must be the control plane’s', async () => {
    const identity = readIdentity(host.authority.issue('host-2'));
    const answer = await readAnswer(await host.send('GET', '/state', { identity }));
    expect(answer).toMatchObject({ status: 403, json: { code: 'auth.scope' } });
  });
});

describe('requests that are not right', () => {
  it.each([
    ['GET', '/nothing', undefined, 404, 'request.unknown_route'],
    ['POST', '/state', {}, 405, 'request.method'],
    ['PUT', '/rooms/room_1/incarnations/1/running', runningOrder(), 400, 'request.invalid'],
    ['PUT', `/rooms/${room}/incarnations/0/running`, runningOrder(), 400, 'request.invalid'],
    ['PUT', `/rooms/${room}/incarnations/1e3/running`, runningOrder(), 400, 'request.invalid'],
    ['PUT', path('running'), { ...runningOrder(), surprise: 1 }, 400, 'request.invalid'],
    ['PUT', path('running', 2), runningOrder({ keys: { image: 'AAAA', disk: 'AAAA' } }), 400, 'request.invalid'],
    ['GET', path('files?path=a&path=b'), undefined, 400, 'request.invalid'],
    ['GET', path('files/stat'), undefined, 400, 'request.invalid'],
    ['GET', path('logs', 7), undefined, 409, 'room.not_running'],
    ['GET', `/rooms/${roomName({ bytes: (n) => Buffer.alloc(n, 9), below: () => 0 })}/incarnations/1/logs`, undefined, 409, 'room.not_running'],
  ])('%s %s', async (method, where, body, status, code) => {
    expect(await host.call(method, where, body)).toMatchObject({ status, json: { code } });
  });
  it('a body that is not JSON, or not called so', async () => {
    expect(await readAnswer(await host.send('PUT', path('running'), { body: '{', headers: json }))).toMatchObject({ status: 400 });
    expect(await readAnswer(await host.send('PUT', path('running'), { body: '{}', headers: { 'content-type': 'text/plain' } }))).toMatchObject({ status: 415 });
  });
  it('a body that is too large gets its answer', async () => {
    const body = Buffer.alloc(5 << 20, 32);
    expect(await readAnswer(await host.send('PUT', path('running'), { body, headers: json }))).toMatchObject({ status: 413, json: { code: 'request.too_large' } });
    const large = Buffer.alloc(9 << 20, 32);
    expect(await readAnswer(await host.send('POST', path('invocations'), { body: large, headers: json }))).toMatchObject({ status: 413 });
    expect(await readAnswer(await host.send('POST', path('invocations'), { body: large, headers: { ...json, 'transfer-encoding': 'chunked' } }))).toMatchObject({ status: 413 });
  });
  it('garbage instead of HTTP', async () => {
    const socket = connect({ host: '127.0.0.1', port: host.port, ...host.caller });
    await once(socket, 'secureConnect');
    socket.write('\0\0\0 what is this\r\n\r\n');
    await once(socket, 'close');
    expect((await host.call('GET', '/state')).status).toBe(200);
  });
});

describe('invocations', () => {
  it('pass the session and the contract’s headers, and nothing else', async () => {
    const headers = { ...json, 'X-Amzn-Bedrock-AgentCore-Runtime-Session-Id': 'session-1', authorization: 'Bearer secret', cookie: 'a=b' };
    const answer = await readAnswer(await host.send('POST', path('invocations'), { body: JSON.stringify({ prompt: 'headers' }), headers }));
    const seen = (answer.json as { headers: Record<string, string> }).headers;
    expect(seen).toMatchObject({ 'x-amzn-bedrock-agentcore-runtime-session-id': 'session-1', 'content-type': 'application/json' });
    expect(Object.keys(seen).sort()).toEqual(['connection', 'content-length', 'content-type', 'host', 'x-amzn-bedrock-agentcore-runtime-session-id']);
  });
  it('pass the agent’s own failures as the agent’s', async () => {
    const answer = await host.call('POST', path('invocations'), { prompt: 'status 503' });
    expect(answer).toMatchObject({ status: 503, json: { error: 'as asked' } });
    expect(answer.headers['alcove-source']).toBe('agent');
  });
  it('know the room’s environment', async () => {
    expect((await host.call('POST', path('invocations'), { prompt: 'env GREETING' })).json).toMatchObject({ reply: 'hello' });
  });
  it('end in the room when the caller goes away', async () => {
    const leaving = new AbortController();
    const answer = host.send('POST', path('invocations'), { body: JSON.stringify({ prompt: 'hang' }), headers: json, signal: leaving.signal });
    await until(async () => (await agentLog()).includes('hang'));
    leaving.abort();
    await expect(answer).rejects.toThrow();
    await until(async () => (await agentLog()).includes('cancelled'));
  });
  it('stream a long answer with back-pressure', async () => {
    const answer = await host.send('POST', path('invocations'), { body: JSON.stringify({ prompt: 'stream 20000' }), headers: { ...json, accept: 'text/event-stream' } });
    const all = await text(answer);
    expect(all).toContain('part19999');
    expect(all.split('\n\n').length).toBeGreaterThan(20_000);
  });
});

describe('an agent that breaks HTTP', () => {
  const say = async (kind: string) => readAnswer(await host.send('POST', path('invocations'), { body: JSON.stringify({ prompt: `raw ${kind}` }), headers: json }));
  it.each(['garbage', 'headers', 'upgrade', 'split', 'nothing'])('with %s is unreachable', async (kind) => {
    const answer = await say(kind);
    expect(answer).toMatchObject({ status: 502, json: { code: 'agent.unreachable' } });
    expect(answer.headers['alcove-source']).toBeUndefined();
  });
  it('with an answer that is shorter than it said is seen to be cut', async () => {
    await expect(say('short')).rejects.toThrow();
  });
  it('with thousands of early hints is heard to the end', async () => {
    expect(await say('early')).toMatchObject({ status: 200, body: Buffer.from('ok') });
  });
  it('cannot pass for the host', async () => {
    const answer = await say('forged');
    expect(answer).toMatchObject({ status: 500, headers: { 'alcove-source': 'agent' } });
    expect(answer.headers['set-cookie']).toBeUndefined();
  });
  it('does the room no harm', async () => {
    expect((await host.call('POST', path('invocations'), { prompt: 'echo fine' })).json).toMatchObject({ reply: 'fine' });
    await until(async () => (await openStreams()) === 0);
  });
});

describe('commands', () => {
  it('tell what they do, event by event', async () => {
    const events = await exec({ command: 'echo $GREETING; echo oops >&2; exit 3' });
    expect(events).toMatchObject([{ event: 'start' }, { event: 'stdout' }, { event: 'stderr' }, { event: 'exit', exitCode: 3 }]);
    expect(Buffer.from((events[1] as { data: string }).data, 'base64').toString()).toBe('hello\n');
  });
  it('that do not exist are a problem, not an event', async () => {
    expect(await host.call('POST', path('exec'), { command: ['no-such-program'] })).toMatchObject({ status: 404, json: { code: 'exec.not_found' } });
  });
  it('are ended by their limits', async () => {
    expect((await exec({ command: ['sleep', '60'], timeoutMs: 30 })).at(-1)).toMatchObject({ event: 'exit', timedOut: true });
    expect((await exec({ command: ['yes'], outputBytes: 100_000 })).at(-1)).toMatchObject({ event: 'exit', truncated: true });
  });
  it('are ended when the caller goes away', async () => {
    const leaving = new AbortController();
    const answer = await host.send('POST', path('exec'), { body: JSON.stringify({ command: ['yes'], outputBytes: 1 << 30 }), headers: json, signal: leaving.signal });
    await once(answer, 'data');
    leaving.abort();
    await until(async () => (await openStreams()) === 0);
  });
});

/** Streams that the host still has open into its rooms. */
async function openStreams(): Promise<number> {
  const metrics = (await host.call('GET', '/metrics')).body.toString();
  return Number(/^alcove_host_streams (\d+)$/m.exec(metrics)?.[1] ?? 'NaN');
}

describe('files', () => {
  const digest = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');
  it('come back as they were sent, whole or in part', async () => {
    const body = Buffer.alloc(10 << 20, 'some bytes ');
    const sent = await host.send('PUT', path('files?path=big&mode=600'), { body, headers: { 'content-type': 'application/octet-stream' } });
    expect(await readAnswer(sent)).toMatchObject({ status: 200, json: { size: body.length } });
    const whole = await host.call('GET', path('files?path=big'));
    expect(whole.headers).toMatchObject({ 'content-length': String(body.length), 'alcove-file-size': String(body.length), 'alcove-file-mode': '0600' });
    expect(digest(whole.body)).toBe(digest(body));
    const part = await host.call('GET', path('files?path=big&offset=11&length=4'));
    expect(part).toMatchObject({ status: 200, headers: { 'content-length': '4' }, body: Buffer.from('some') });
  });
  it('are listed, moved, removed', async () => {
    expect((await host.call('POST', path('files/folder'), { path: 'docs' })).status).toBe(204);
    expect((await host.call('POST', path('files/move'), { from: 'big', to: 'docs/big' })).status).toBe(204);
    expect(FileList.parse((await host.call('GET', path('files/list?path=docs'))).json)).toMatchObject({ entries: [{ name: 'big' }], truncated: false });
    expect((await host.call('GET', path('files/stat?path=docs/big'))).json).toMatchObject({ kind: 'file' });
    expect(await host.call('DELETE', path('files?path=docs'))).toMatchObject({ status: 409, json: { code: 'file.not_empty' } });
    expect((await host.call('DELETE', path('files?path=docs&recursive=true'))).status).toBe(204);
    expect(await host.call('GET', path('files?path=docs/big'))).toMatchObject({ status: 404, json: { code: 'file.not_found' } });
  });
  it.each([
    ['shrinks', Buffer.alloc(1000), null],
    ['grows', Buffer.alloc(20 << 20), 16 << 20],
  ])('that %s while it is read is not waited for, nor sent beyond its length', async (_what, later, bytes) => {
    const put = async (body: Buffer) => readAnswer(await host.send('PUT', path('files?path=changing'), { body, headers: { 'content-type': 'application/octet-stream' } }));
    // More than the connection holds while nobody reads.
    expect(await put(Buffer.alloc(16 << 20))).toMatchObject({ status: 200 });
    // The control plane keeps its connections: the end of one is not what ends an answer.
    const agent = new Agent({ keepAlive: true });
    const reading = await host.send('GET', path('files?path=changing'), { agent });
    expect(await put(later)).toMatchObject({ status: 200 });
    expect(await readAnswer(reading).then(({ body }) => body.length, () => null)).toBe(bytes);
    agent.destroy();
    await host.call('DELETE', path('files?path=changing'));
    await until(async () => (await openStreams()) === 0);
  });
  it('say when the disk is full, before the whole body was read', async () => {
    const endless = Readable.from((function* () { for (;;) yield Buffer.alloc(1 << 20); })());
    const answer = await new Promise<{ status: number; json: unknown }>((resolve, reject) => {
      host.upload('PUT', path('files?path=huge'), endless).then((incoming) => readAnswer(incoming).then(resolve, reject), reject);
    });
    expect(answer).toMatchObject({ status: 507, json: { code: 'file.no_space' } });
  });
});

describe('logs', () => {
  it('can be tailed', async () => {
    const answer = await host.call('GET', path('logs?tailBytes=10'));
    expect(answer.body).toHaveLength(10);
  });
  it('are followed until the room ends', async () => {
    const other = roomName({ bytes: (n) => Buffer.alloc(n, 3), below: () => 0 });
    await host.call('PUT', `/rooms/${other}/incarnations/1/running`, runningOrder());
    await host.call('POST', `/rooms/${other}/incarnations/1/invocations`, { prompt: 'echo hi' });
    const following = await host.send('GET', `/rooms/${other}/incarnations/1/logs?follow=true`);
    await once(following, 'data');
    const ended = once(following, 'end');
    await host.call('PUT', `/rooms/${other}/incarnations/1/gone`, { operationId: 'op', reason: 'test', discard: true });
    following.resume();
    await ended;
    expect(following.complete).toBe(true);
  });
});

describe('the process', () => {
  it('says what runs on it, to people and to Prometheus', async () => {
    expect(HostState.parse((await host.call('GET', '/state')).json)).toMatchObject({ hostId: 'host-1', fenced: false, incarnations: [{ roomId: room, phase: 'running' }], capacity: { roomsUsed: 1 } });
    expect((await host.call('GET', '/metrics')).body.toString()).toMatch(/^alcove_host_rooms 1$/m);
  });
  it('refuses settings that are not right with one line and exit code 78', async () => {
    const child = spawnHost(host.settings({ ALCOVE_HOST_LISTEN: 'nonsense' }));
    const [said, [code]] = await Promise.all([text(child.stderr ?? Readable.from([])), once(child, 'exit') as Promise<[number]>]);
    expect(code).toBe(78);
    expect(said).toBe('alcove-host: ALCOVE_HOST_LISTEN: must be host:port\n');
  });
  it('comes up where no room can run, and says so to whoever wants one', async () => {
    const bare = new HostProcess();
    await bare.start({ ALCOVE_DRIVER: 'qemu', ALCOVE_QEMU: '/nonexistent/qemu', ALCOVE_HOST_DIR: join(bare.folder, 'host') });
    await bare.ready();
    expect((await bare.call('GET', '/state')).json).toMatchObject({ capacity: { roomsMax: 0 }, description: { templates: [] } });
    expect(await bare.call('PUT', path('running'), runningOrder())).toMatchObject({ status: 404, json: { code: 'template.not_found' } });
    await bare.stop();
  });
  it('refuses a folder that another agent works in with exit code 75', async () => {
    const child = spawnHost(host.settings());
    expect(await once(child, 'exit')).toEqual([75, null]);
  });
  it('keeps no key and no environment in its files', async () => {
    await host.call('PUT', path('sealed'), sealedOrder());
    const journal = readFileSync(join(host.folder, 'host/journal.ndjson'), 'utf8');
    expect(journal).toContain(room);
    for (const secret of ['hello', Buffer.alloc(32, 1).toString('base64'), Buffer.alloc(32, 1).toString('hex')]) expect(journal).not.toContain(secret);
  });
  it('takes a journal whose last line is torn', async () => {
    await host.kill();
    const file = join(host.folder, 'host/journal.ndjson');
    writeFileSync(file, `${readFileSync(file, 'utf8')}0badc0de {"roomId":"room_`);
    await host.start();
    await host.ready();
    expect(await host.call('PUT', path('running'), runningOrder())).toMatchObject({ status: 409, json: { code: 'incarnation.stale' } });
  });
  it('leaves rooms running when it is asked to stop, and takes them over when it starts again', async () => {
    expect((await host.call('PUT', path('running', 2), runningOrder({ hasDisk: true }))).status).toBe(200);
    const before = (await host.call('POST', path('invocations', 2), { prompt: 'nonce' })).json as { nonce: string };
    expect(await host.kill('SIGTERM')).toBe(0);
    await host.start();
    expect((await host.call('POST', path('invocations', 2), { prompt: 'nonce' })).json).toMatchObject({ nonce: before.nonce });
    await host.ready();
    const sealed = await host.call('PUT', path('sealed', 2), sealedOrder({ generation: 2 }));
    expect(sealed).toMatchObject({ status: 200, json: { image: { generation: 2, incarnation: 2 } } });
  });
});
