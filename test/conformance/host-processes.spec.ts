import { Agent } from 'node:https';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { ExecEvent, ProcessList, RoomFiguresList } from '@alcove/contracts';
import { HostProcess, readAnswer, roomName, runningOrder, sealedOrder, until } from './host-harness';

const host = new HostProcess();
const room = roomName();
const path = (rest: string, incarnation = 1) => `/rooms/${room}/incarnations/${incarnation}/${rest}`;
const json = { 'content-type': 'application/json' };

beforeAll(async () => {
  await host.start();
  await host.ready();
  await host.call('PUT', path('running'), runningOrder());
});
afterAll(() => host.stop());

/** The lines of an answer that goes on, one at a time. */
async function lines(method: string, where: string, body?: object, signal?: AbortSignal): Promise<() => Promise<unknown>> {
  const answer = await host.send(method, where, { ...(body ? { body: JSON.stringify(body), headers: json } : {}), ...(signal ? { signal } : {}), agent: new Agent() });
  expect([answer.statusCode, answer.headers['content-type']]).toEqual([200, 'application/x-ndjson']);
  const read = createInterface({ input: answer as Readable })[Symbol.asyncIterator]();
  return async () => {
    const next = await read.next();
    return next.done ? null : JSON.parse(next.value);
  };
}
const event = async (next: () => Promise<unknown>) => ExecEvent.parse(await next());
const list = async () => ProcessList.parse((await host.call('GET', path('processes'))).json).processes;
const input = async (pid: number, body: string, query = '') => host.send('POST', path(`processes/${pid}/input${query}`), { body, headers: { 'content-type': 'application/octet-stream' } }).then(readAnswer);

describe('processes', () => {
  it('live on when their caller leaves, take input, and tell their end to who joins', async () => {
    const leaving = new AbortController();
    const started = await lines('POST', path('processes'), { command: ['/bin/bash', '-c', 'cat'], stdin: true, tag: 'cat' }, leaving.signal);
    const start = await event(started);
    const pid = start.event === 'start' ? start.pid : 0;
    leaving.abort();
    await started().catch(() => undefined);
    const joined = await lines('GET', path(`processes/${pid}/output`));
    expect(await event(joined)).toEqual({ event: 'start', pid });
    expect(await list()).toMatchObject([{ pid, tag: 'cat', pty: false, user: 'user' }]);
    expect(await input(pid, 'text')).toMatchObject({ status: 204 });
    expect(await event(joined)).toEqual({ event: 'stdout', data: Buffer.from('text').toString('base64') });
    expect(await input(pid, '', '?close=true')).toMatchObject({ status: 204 });
    expect(await event(joined)).toMatchObject({ event: 'exit', exitCode: 0 });
    expect(await joined()).toBeNull();
    await until(async () => (await list()).length === 0);
  });
  it('take signals by name and number, and sizes of their terminals', async () => {
    for (const signal of ['SIGTERM', 9]) {
      const started = await lines('POST', path('processes'), { command: ['/bin/bash', '-c', 'sleep 1000'], pty: { cols: 80, rows: 24 } });
      const start = await event(started);
      const pid = start.event === 'start' ? start.pid : 0;
      expect(await host.call('POST', path(`processes/${pid}/size`), { cols: 100, rows: 50 })).toMatchObject({ status: 204 });
      expect(await host.call('POST', path(`processes/${pid}/signal`), { signal })).toMatchObject({ status: 204 });
      expect(await event(started)).toMatchObject({ event: 'exit', signal: signal === 9 ? 'SIGKILL' : 'SIGTERM' });
    }
  });
  it.each<[string, string, object | undefined, number, string]>([
    ['POST', 'processes/999999/signal', { signal: 'SIGTERM' }, 404, 'exec.not_found'],
    ['POST', 'processes/1/signal', { signal: 'SIGNONE' }, 400, 'request.invalid'],
    ['POST', 'processes/1/signal', { signal: 65 }, 400, 'request.invalid'],
    ['POST', 'processes/x/signal', { signal: 9 }, 400, 'request.invalid'],
    ['POST', 'processes/999999/size', { cols: 1, rows: 1 }, 404, 'exec.not_found'],
    ['POST', 'processes/999999/size', { cols: 0, rows: 1 }, 400, 'request.invalid'],
    ['GET', 'processes/999999/output', undefined, 404, 'exec.not_found'],
    ['POST', 'processes', { command: 'a string' }, 400, 'request.invalid'],
    ['POST', 'processes', { command: ['no-such-program'] }, 404, 'exec.not_found'],
    ['GET', 'processes/1', undefined, 404, 'request.unknown_route'],
  ])('%s %s %j', async (method, where, body, status, code) => {
    expect(await host.call(method, path(where), body)).toMatchObject({ status, json: { code } });
  });
  it('take a bounded input at once', async () => {
    expect(await input(1, 'x'.repeat((1 << 20) + 1))).toMatchObject({ status: 413 });
  });
});

describe('watches', () => {
  it('say when they stand, and then what happens', async () => {
    const leaving = new AbortController();
    const told = await lines('GET', path('files/watch?path=/tmp&recursive=true'), undefined, leaving.signal);
    expect(await told()).toEqual({ watching: true });
    await host.send('PUT', path('files?path=/tmp/a/b'), { body: 'x' }).then(readAnswer);
    for (;;) if (((await told()) as { name: string }).name === 'a/b') break;
    leaving.abort();
  });
  it.each([
    ['/no/such', 404, 'file.not_found'],
    ['/etc/passwd', 409, 'file.kind'],
  ])('of %s there are none', async (where, status, code) => {
    expect(await host.call('GET', path(`files/watch?path=${where}`))).toMatchObject({ status, json: { code } });
  });
});

describe('figures', () => {
  it('are there from the first question on', async () => {
    const { figures } = RoomFiguresList.parse((await host.call('GET', path('figures'))).json);
    expect(figures.length).toBeGreaterThan(0);
    expect(figures.at(-1)).toMatchObject({ cpuCount: 1, memTotal: 512 << 20 });
  });
  it('are of rooms that run', async () => {
    expect(await host.call('GET', path('figures', 7))).toMatchObject({ status: 409, json: { code: 'room.not_running' } });
  });
});

describe('a sleep', () => {
  it('ends the listening with a word, and not the process', async () => {
    const started = await lines('POST', path('processes'), { command: ['/bin/bash', '-c', 'sleep 1000'], tag: 'sleeper' });
    expect(await event(started)).toMatchObject({ event: 'start' });
    const sealed = await host.call('PUT', path('sealed'), sealedOrder());
    expect(await started()).toMatchObject({ event: 'error', code: 'guest.closed' });
    const { image } = sealed.json as { image: ReturnType<typeof runningOrder>['image'] };
    expect(await host.call('PUT', path('running', 2), runningOrder({ image, hasDisk: true }))).toMatchObject({ status: 200, json: { resumedFrom: 'memory' } });
    expect(await host.call('GET', path('processes', 2))).toMatchObject({ json: { processes: [{ tag: 'sleeper' }] } });
  });
});
