import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { QmpClient, QmpRefusal } from './qmp';

let folder: string;
let server: Server;
let path: string;
let peer: Socket;
let answer: (command: { execute: string; id: number; arguments: unknown }) => unknown;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'alcove-qmp-'));
  path = join(folder, 'qmp.sock');
  answer = () => ({ return: {} });
  server = createServer((socket) => {
    peer = socket;
    socket.write('{"QMP": {"version": {}, "capabilities": []}}\r\n');
    socket.on('error', () => undefined);
    let text = '';
    socket.on('data', (data: Buffer) => {
      text += data.toString();
      for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n')) {
        const command = JSON.parse(text.slice(0, end)) as { execute: string; id: number; arguments: unknown };
        text = text.slice(end + 1);
        const reply = command.execute === 'qmp_capabilities' ? { return: {} } : answer(command);
        if (reply !== undefined) socket.write(`${JSON.stringify({ id: command.id, ...(reply as object) })}\r\n`);
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
});
afterEach(async () => {
  server.close();
  await rm(folder, { recursive: true, force: true });
});

describe('the control connection', () => {
  it('runs commands and tells answers apart, whatever their order', async () => {
    const held: { id: number; arguments: unknown }[] = [];
    answer = (command) => {
      held.push(command);
      if (held.length === 2) for (const one of held.reverse()) peer.write(`${JSON.stringify({ id: one.id, return: one.arguments })}\n`);
      return undefined;
    };
    const client = await QmpClient.connect(path);
    const [first, second] = await Promise.all([
      client.execute('migrate-incoming', { uri: 'first' }),
      client.execute('migrate-incoming', { uri: 'second' }),
    ]);
    expect([first, second]).toEqual([{ uri: 'first' }, { uri: 'second' }]);
    client.close();
  });

  it('tells of a refusal and of events, in pieces of any size', async () => {
    answer = () => ({ error: { class: 'GenericError', desc: 'not now' } });
    const client = await QmpClient.connect(path);
    const refused = client.execute('cont', {});
    await expect(refused).rejects.toThrow(QmpRefusal);
    await expect(refused).rejects.toMatchObject({ command: 'cont', description: 'not now' });
    const seen = new Promise<unknown>((resolve) => client.onEvent(resolve));
    for (const piece of ['{"event": "SHUT', 'DOWN", "data": {"guest": tr', 'ue}}\r', '\n']) peer.write(piece);
    expect(await seen).toEqual({ event: 'SHUTDOWN', data: { guest: true } });
    client.close();
  });

  it('refuses what waits when the VMM ends', async () => {
    answer = () => {
      peer.destroy();
      return undefined;
    };
    const client = await QmpClient.connect(path);
    await expect(client.execute('stop', {})).rejects.toMatchObject({ code: 'engine.failed' });
    await client.closed;
    await expect(client.execute('stop', {})).rejects.toMatchObject({ code: 'engine.failed' });
  });

  it.each([
    ['a line without an end', () => Buffer.alloc(5 << 20, 'x')],
    ['something that is not JSON', () => Buffer.from('{"return"\n')],
  ])('ends when it is sent %s', async (_, bytes) => {
    const client = await QmpClient.connect(path);
    peer.write(bytes());
    await client.closed;
    await expect(client.execute('stop', {})).rejects.toMatchObject({ code: 'engine.failed' });
  });

  it('says with the system error that nobody listens', async () => {
    await expect(QmpClient.connect(join(folder, 'nobody'))).rejects.toMatchObject({ code: 'ENOENT' });
  });
});
