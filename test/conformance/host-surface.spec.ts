import { readIdentity } from './host-certificates';
import { HostProcess, roomName, runningOrder, until } from './host-harness';
import { enveloped, type Envelope, SurfaceCaller, textOf } from './host-surface-calls';

const host = new HostProcess();
const room = roomName();
let incarnation = 1;
const base = () => `/rooms/${room}/incarnations/${incarnation}`;
const surface = new SurfaceCaller(host, readIdentity(host.authority.issue('edge')), () => `${base()}/surface`);

beforeAll(async () => {
  await host.start();
  await host.ready();
  await host.call('PUT', `${base()}/running`, runningOrder({ env: { GREETING: 'hello' } }));
});
afterAll(() => host.stop());

const bash = (command: string, more: object = {}) => ({ process: { cmd: '/bin/bash', args: ['-l', '-c', command] }, stdin: false, ...more });
const as = (user: string) => ({ authorization: `Basic ${Buffer.from(`${user}:`).toString('base64')}` });
const run = (command: string, more: object = {}, headers: Record<string, string> = {}) => surface.streamed('process.Process/Start', bash(command, more), headers);
const event = (envelope: Envelope | null | undefined) => (envelope?.message as { event: Record<string, Record<string, unknown>> }).event;
const pidOf = (envelope: Envelope | null) => event(envelope)['start']?.['pid'] as number;
const running = async () => ((await surface.unary('process.Process/List', {})).json as { processes: { pid: number }[] }).processes.map(({ pid }) => pid);

describe('process.Process', () => {
  it('starts a command and tells what it does', async () => {
    const events = await run('echo $GREETING; echo oops >&2; exit 3');
    expect(events[0]).toMatchObject({ flags: 0, message: { event: { start: { pid: expect.any(Number) } } } });
    expect([textOf(events), textOf(events, 'stderr')]).toEqual(['hello\n', 'oops\n']);
    expect(events.at(-2)?.message).toEqual({ event: { end: { exitCode: 3, exited: true, status: 'exit status 3', error: 'exit status 3' } } });
    expect(events.at(-1)).toEqual({ flags: 2, message: {} });
    expect((await run('true')).at(-2)?.message).toEqual({ event: { end: { exitCode: 0, exited: true, status: 'exit status 0' } } });
  });
  it('takes environment, folder and user', async () => {
    const process = { cmd: '/bin/bash', args: ['-l', '-c', 'echo $A; pwd'], envs: { A: 'b' }, cwd: '/tmp' };
    expect(textOf(await surface.streamed('process.Process/Start', { process }))).toBe('b\n/tmp\n');
    expect(textOf(await run('pwd', {}, as('root')))).toBe('/root\n');
    const missing = await surface.streamed('process.Process/Start', { process: { ...process, cwd: '/no/such' } });
    expect(missing).toMatchObject([{ flags: 2, message: { error: { code: 'invalid_argument', message: "cwd '/no/such' does not exist" } } }]);
  });
  it.each(['nobody-here', 'Not A Name', '../etc', 'x'.repeat(300)])('knows no user %s', async (name) => {
    const [last] = await run('true', {}, as(name));
    expect(last).toMatchObject({ flags: 2, message: { error: { code: 'unauthenticated', message: expect.stringMatching(/^invalid username: '/) } } });
    expect(await surface.unary('filesystem.Filesystem/Stat', { path: '/tmp' }, as(name))).toMatchObject({ status: 401, json: { code: 'unauthenticated' } });
    expect(await surface.call('GET', `files?path=/tmp/x&username=${encodeURIComponent(name)}`)).toMatchObject({ status: 401, json: { code: 401, message: expect.stringMatching(/^invalid username: '/) } });
  });
  it('lets a process live when its caller leaves, and others join it', async () => {
    const leaving = new AbortController();
    const started = await surface.stream('process.Process/Start', bash('cat', { stdin: true, tag: 'mine' }), {}, leaving.signal);
    const pid = pidOf(await started.next());
    leaving.abort();
    const joined = await surface.stream('process.Process/Connect', { process: { pid } });
    expect(pidOf(await joined.next())).toBe(pid);
    expect((await surface.unary('process.Process/List', {})).json).toMatchObject({ processes: [{ pid, tag: 'mine', config: { cmd: '/bin/bash', args: ['-l', '-c', 'cat'], envs: {} } }] });
    expect((await surface.unary('process.Process/SendInput', { process: { tag: 'mine' }, input: { stdin: Buffer.from('text\n').toString('base64') } })).json).toEqual({});
    expect(Buffer.from(event(await joined.next())['data']?.['stdout'] as string, 'base64').toString()).toBe('text\n');
    expect((await surface.unary('process.Process/CloseStdin', { process: { pid } })).json).toEqual({});
    expect(event(await joined.next())).toMatchObject({ end: { exitCode: 0 } });
    expect((await surface.streamed('process.Process/Connect', { process: { pid } })).at(-2)?.message).toMatchObject({ event: { end: { exitCode: 0 } } });
    await until(async () => (await running()).length === 0);
  });
  it('ends a process by signal, and says how it ended', async () => {
    const started = await surface.stream('process.Process/Start', bash('sleep 1000'));
    const pid = pidOf(await started.next());
    expect((await surface.unary('process.Process/SendSignal', { process: { pid }, signal: 'SIGNAL_SIGKILL' })).json).toEqual({});
    expect((await started.next())?.message).toEqual({ event: { end: { exitCode: -1, exited: false, status: 'signal: killed', error: 'signal: killed' } } });
    expect(await surface.unary('process.Process/SendSignal', { process: { pid }, signal: 'SIGNAL_SIGKILL' })).toMatchObject({ status: 404, json: { code: 'not_found' } });
    expect(await surface.unary('process.Process/SendSignal', { process: { pid }, signal: 'SIGNAL_UNSPECIFIED' })).toMatchObject({ status: 400, json: { code: 'invalid_argument' } });
  });
  it('ends a process when its time is over, and keeps one that has none', async () => {
    const late = await run('sleep 1000', {}, { 'connect-timeout-ms': '50' });
    expect(late.at(-1)).toMatchObject({ flags: 2, message: { error: { code: 'deadline_exceeded' } } });
    await until(async () => (await running()).length === 0);
    const joined = await surface.stream('process.Process/Start', bash('sleep 1000'), { 'connect-timeout-ms': '0' });
    const pid = pidOf(await joined.next());
    // Who only listens may stop listening: the process lives.
    expect((await surface.streamed('process.Process/Connect', { process: { pid } }, { 'connect-timeout-ms': '30' })).at(-1)).toMatchObject({ message: { error: { code: 'deadline_exceeded' } } });
    expect(await running()).toEqual([pid]);
    await surface.unary('process.Process/SendSignal', { process: { pid }, signal: 15 });
    expect(event(await joined.next())).toMatchObject({ end: { status: 'signal: terminated' } });
  });
  it('gives a terminal, resizes it, and takes what is typed', async () => {
    const started = await surface.stream('process.Process/Start', { process: { cmd: '/bin/bash', args: ['-i', '-l'] }, pty: { size: { cols: 80, rows: 24 } } });
    const pid = pidOf(await started.next());
    expect((await surface.unary('process.Process/Update', { process: { pid }, pty: { size: { cols: 100, rows: 30 } } })).json).toEqual({});
    await surface.unary('process.Process/SendInput', { process: { pid }, input: { pty: Buffer.from('echo typed; exit 7\n').toString('base64') } });
    const seen: Envelope[] = [];
    for (let next = await started.next(); next !== null; next = await started.next()) seen.push(next);
    expect(textOf(seen, 'pty')).toContain('typed');
    expect(seen.at(-2)?.message).toMatchObject({ event: { end: { exitCode: 7 } } });
  });
  it('says that it is there while it has nothing to say', async () => {
    const leaving = new AbortController();
    const started = await surface.stream('process.Process/Start', bash('sleep 1000'), { 'keepalive-ping-interval': '1' }, leaving.signal);
    const pid = pidOf(await started.next());
    expect((await started.next())?.message).toEqual({ event: { keepalive: {} } });
    leaving.abort();
    await surface.unary('process.Process/SendSignal', { process: { pid }, signal: 'SIGNAL_SIGKILL' });
  });
  it.each([
    ['Connect', { process: { pid: 999999 } }],
    ['Connect', { process: { tag: 'nobody' } }],
  ])('%s finds nobody', async (method, message) => {
    expect(await surface.streamed(`process.Process/${method}`, message)).toMatchObject([{ flags: 2, message: { error: { code: 'not_found' } } }]);
  });
});

describe('hostile and wrong calls', () => {
  const json = { 'content-type': 'application/json' };
  const connect = { 'content-type': 'application/connect+json' };
  it.each([
    ['protobuf', { 'content-type': 'application/proto' }, 415],
    ['streamed protobuf', { 'content-type': 'application/connect+proto' }, 415],
    ['gRPC', { 'content-type': 'application/grpc' }, 415],
    ['nothing said of it', {}, 415],
  ])('%s', async (_what, headers, status) => {
    expect(await surface.call('POST', 'process.Process/List', { body: '{}', headers })).toMatchObject({ status });
    expect(await surface.call('POST', 'process.Process/Start', { body: '{}', headers })).toMatchObject({ status });
  });
  it.each<[string, string, Record<string, string>, number, string]>([
    ['List', '{', json, 400, 'invalid_argument'],
    ['List', '[]'.repeat(3 << 20), json, 413, 'resource_exhausted'],
    ['SendInput', '{"process":{"pid":"1"},"input":{}}', json, 400, 'invalid_argument'],
    ['SendInput', '{"process":{"pid":1},"input":{"stdin":"%%%"}}', json, 400, 'invalid_argument'],
    ['SendInput', '{"process":{},"input":{"stdin":"AA=="}}', json, 400, 'invalid_argument'],
    ['SendSignal', '{"process":{"pid":1},"signal":"SIGNAL_SIGSTOP"}', json, 400, 'invalid_argument'],
    ['List', '{}', { ...json, 'content-encoding': 'gzip' }, 501, 'unimplemented'],
    ['List', '{}', { ...json, 'connect-timeout-ms': 'soon' }, 400, 'invalid_argument'],
    ['Nothing', '{}', json, 404, 'unimplemented'],
    ['constructor', '{}', json, 404, 'unimplemented'],
    ['Start', '{}', json, 404, 'unimplemented'],
  ])('%s with %.40s', async (method, body, headers, status, code) => {
    expect(await surface.call('POST', `process.Process/${method}`, { body, headers })).toMatchObject({ status, json: { code } });
  });
  it.each<[string, Buffer]>([
    ['nothing', Buffer.alloc(0)],
    ['half a head', Buffer.alloc(3)],
    ['half a message', enveloped({ process: {} }).subarray(0, 9)],
    ['a length that lies', Buffer.from([0, 0xff, 0xff, 0xff, 0xff, 0x7b, 0x7d])],
    ['two messages', Buffer.concat([enveloped({}), enveloped({})])],
    ['compressed', Buffer.concat([Buffer.from([1]), enveloped({}).subarray(1)])],
    ['an end', Buffer.concat([Buffer.from([2]), enveloped({}).subarray(1)])],
    ['no JSON', Buffer.from([0, 0, 0, 0, 1, 0x7b])],
    ['no command', enveloped({ process: { cmd: 'no-such-program', args: [] } })],
    ['too many arguments', enveloped({ process: { cmd: 'echo', args: Array(1000).fill('x') } })],
    ['a list', enveloped([])],
  ])('a stream of %s', async (_what, body) => {
    const answer = await surface.call('POST', 'process.Process/Start', { body, headers: connect });
    expect(answer).toMatchObject({ status: 200, headers: { 'content-type': 'application/connect+json' } });
    expect(answer.body[0]).toBe(2);
    expect(JSON.parse(answer.body.subarray(5).toString())).toMatchObject({ error: { code: expect.stringMatching(/^(invalid_argument|unimplemented|not_found)$/) } });
  });
  it.each([
    ['GET', 'process.Process/List', 405],
    ['POST', 'init', 404],
    ['POST', 'freeze', 404],
    ['POST', 'upgrade', 404],
    ['POST', 'files/compose', 404],
    ['GET', '', 404],
    ['PUT', 'files?path=x', 404],
    ['GET', '__proto__', 404],
  ])('%s %s', async (method, path, status) => {
    expect(await surface.call(method, path)).toMatchObject({ status });
  });
});

describe('the rest', () => {
  it('is healthy while it runs', async () => {
    expect(await surface.call('GET', 'health')).toMatchObject({ status: 204, body: Buffer.alloc(0) });
  });
  it('says what the room uses', async () => {
    const { status, json } = await surface.call('GET', 'metrics');
    expect(status).toBe(200);
    expect(json).toEqual({ ts: expect.any(Number), cpu_count: 1, cpu_used_pct: expect.any(Number), mem_total: 512 << 20, mem_used: expect.any(Number), mem_cache: expect.any(Number), disk_used: expect.any(Number), disk_total: expect.any(Number) });
  });
  it('says its environment', async () => {
    expect(await surface.call('GET', 'envs')).toMatchObject({ status: 200 });
  });
});
