/** What `/v1` offers inside a room, on real VMs: terminals, background processes, watched folders, ports and figures, and what of them a sleep leaves. */
import { WebSocket } from 'ws';
import { RoomFiguresList } from '@alcove/contracts';
import { serverSentEvents } from '../../apps/cli/src/api-client';
import { startPlatform, until, type Platform } from './platform';

jest.setTimeout(300_000);
let platform: Platform;
let room: string;
beforeAll(async () => {
  platform = await startPlatform();
  room = (await platform.client.createRoom({ userId: 'inside' })).id;
});
afterAll(() => platform?.destroy());

const call = (method: string, path: string, options: { json?: unknown; body?: string; signal?: AbortSignal } = {}): Promise<Response> =>
  fetch(`${platform.url}/v1/rooms/${room}${path}`, {
    method,
    headers: { authorization: `Bearer ${platform.key}`, ...(options.json === undefined ? {} : { 'content-type': 'application/json' }) },
    ...(options.json === undefined ? {} : { body: JSON.stringify(options.json) }),
    ...(options.body === undefined ? {} : { body: options.body }),
    ...(options.signal ? { signal: options.signal } : {}),
  });

async function start(command: string[], more: Record<string, unknown> = {}): Promise<number> {
  const answer = await call('POST', '/processes', { json: { command, ...more } });
  expect(answer.status).toBe(201);
  return ((await answer.json()) as { pid: number }).pid;
}

/** What a process writes, as it comes, until its end. */
function listen(pid: number): { text: () => string; exit: Promise<unknown> } {
  let text = '';
  const exit = (async () => {
    for await (const { event, data } of serverSentEvents(await call('GET', `/processes/${pid}/output`))) {
      const said = JSON.parse(data) as { data?: string };
      if (event === 'stdout') text += Buffer.from(said.data ?? '', 'base64').toString();
      if (event === 'exit' || event === 'error') return said;
    }
    return 'the stream ended';
  })();
  return { text: () => text, exit };
}

it('opens a terminal: keys go in, a size is changed, and its end is told', async () => {
  const socket = new WebSocket(`${platform.url.replace('http', 'ws')}/v1/rooms/${room}/pty?cols=90&rows=20`, { headers: { authorization: `Bearer ${platform.key}` } });
  let shown = '';
  const words: { pid?: number; exit?: { exitCode: number } }[] = [];
  socket.on('message', (data: Buffer, isBinary) => (isBinary ? void (shown += data.toString()) : void words.push(JSON.parse(data.toString()) as object)));
  const closed = new Promise<number>((resolve) => socket.once('close', resolve));
  await until('its process is named', async () => words[0]?.pid);
  socket.send(Buffer.from('stty size\r'));
  await until('it has its size', async () => shown.includes('20 90'));
  socket.send(JSON.stringify({ resize: { cols: 70, rows: 33 } }));
  await until('it has its new size', async () => {
    socket.send(Buffer.from('stty size\r'));
    return shown.includes('33 70');
  });
  socket.send(Buffer.from('exit 7\r'));
  await closed;
  expect(words.at(-1)?.exit?.exitCode).toBe(7);
});

it('keeps a process over a sleep: the same one goes on, is listened to again, and is ended', async () => {
  const pid = await start(['bash', '-c', 'read word; i=0; while true; do i=$((i+1)); echo "$word $i"; sleep 0.2; done'], { stdin: true, tag: 'counter' });
  const before = listen(pid);
  expect((await call('POST', `/processes/${pid}/input`, { body: 'turn\n' })).status).toBe(204);
  await until('it counts', async () => /turn 3\n/.test(before.text()));
  expect((await call('POST', '/hibernate')).status).toBe(200);
  await before.exit;
  expect((await call('POST', '/wake')).status).toBe(200);
  const { processes } = (await (await call('GET', '/processes')).json()) as { processes: { pid: number; tag: string }[] };
  expect(processes).toContainEqual(expect.objectContaining({ pid, tag: 'counter' }));
  const after = listen(pid);
  await until('it counts on', async () => /turn \d+\n/.test(after.text()));
  expect(Number(/turn (\d+)/.exec(after.text())?.[1])).toBeGreaterThan(3);
  expect((await call('POST', `/processes/${pid}/signal`, { json: { signal: 'SIGKILL' } })).status).toBe(204);
  expect(await after.exit).toMatchObject({ event: 'exit', signal: 'SIGKILL' });
});

it('tells what changes in a folder, also in one that is made later', async () => {
  const ending = new AbortController();
  const told: string[] = [];
  const watching = (async () => {
    for await (const { event, data } of serverSentEvents(await call('GET', '/files/watch?path=/home/user&recursive=true', { signal: ending.signal }))) told.push(`${event} ${(JSON.parse(data) as { name?: string }).name ?? ''}`);
  })();
  await until('the watch stands', async () => told.includes('watching '));
  expect((await call('PUT', '/files?path=/home/user/made/later.txt', { body: 'hello' })).status).toBe(200);
  await until('the new file is told', async () => told.includes('create made/later.txt'));
  ending.abort();
  await watching.catch(() => undefined);
});

it('asks a server in the room, and says when there is none', async () => {
  await call('PUT', '/files?path=/home/user/site/index.html', { body: 'from inside' });
  await start(['python3', '-m', 'http.server', '3000', '--directory', '/home/user/site']);
  const answer = await until('it serves', async () => {
    const one = await call('GET', '/ports/3000/index.html');
    return one.status === 200 && one;
  });
  expect(await answer.text()).toBe('from inside');
  expect((await call('GET', '/ports/3999/')).status).toBe(502);
});

it('tells what the room uses', async () => {
  const newest = await until('there is a sample', async () => RoomFiguresList.parse(await (await call('GET', '/figures')).json()).figures.at(-1));
  expect(newest).toMatchObject({ cpuCount: 1, processes: expect.any(Number) });
  expect(newest.memUsed).toBeGreaterThan(0);
  expect(newest.memTotal).toBeGreaterThan(newest.memUsed);
  expect(newest.diskTotal).toBeGreaterThan(newest.diskUsed);
});
