/** E2B_DEBUG: one room's surface on localhost:49983, without a key or a token, for programs of this machine only. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { request } from 'node:http';
import { join, resolve } from 'node:path';
import { Sandbox } from 'e2b';
import { roomIdOf, Tenancy } from './sdk';

jest.setTimeout(180_000);
let mine: Tenancy;
let room: Sandbox;
let edge: ChildProcess;
beforeAll(async () => {
  mine = await Tenancy.open('qemu');
  room = await mine.create();
  edge = await openDebugEdge(mine.world.home, mine.at.domain, roomIdOf(room.sandboxId));
});
afterAll(async () => {
  edge?.kill('SIGTERM');
  await mine?.close();
});

/** A second edge of the same platform that opens this room; resolves when it listens. */
async function openDebugEdge(home: string, domain: string, roomId: string): Promise<ChildProcess> {
  const { ports } = JSON.parse(await readFile(join(home, 'settings.json'), 'utf8')) as { ports: { api: number; internal: number } };
  const tls = (name: string): string => join(home, 'tls', name);
  const env = {
    ALCOVE_EDGE_LISTEN: '127.0.0.1:0',
    ALCOVE_EDGE_DOMAIN: domain,
    ALCOVE_EDGE_CERT: tls('public.crt'),
    ALCOVE_EDGE_KEY: tls('public.key'),
    ALCOVE_API_URL: `http://127.0.0.1:${ports.api}`,
    ALCOVE_CONTROL_URL: `https://127.0.0.1:${ports.internal}`,
    ALCOVE_EDGE_DEBUG_ROOM: roomId,
    ALCOVE_TLS_CA: tls('ca.crt'),
    ALCOVE_TLS_CERT: tls('edge.crt'),
    ALCOVE_TLS_KEY: tls('edge.key'),
  };
  const child = spawn(process.execPath, ['--no-warnings', resolve(__dirname, '../../../dist/apps/edge/src/main.js')], { env, stdio: ['ignore', 'pipe', 'inherit'] });
  let said = '';
  for await (const chunk of child.stdout as AsyncIterable<Buffer>) {
    said += chunk.toString();
    if (said.includes('"listening"')) {
      child.stdout.resume();
      return child;
    }
  }
  const [code] = (await once(child, 'exit')) as [number | null];
  throw new Error(`the edge ended with ${code}: ${said}`);
}

it('serves commands, files and terminals of the room to the SDK in debug mode', async () => {
  const sandbox = await Sandbox.create({ debug: true });
  expect(await sandbox.isRunning()).toBe(true);
  expect((await sandbox.commands.run('whoami; echo $HOME')).stdout).toBe('user\n/home/user\n');
  await sandbox.files.write('debug.txt', 'written');
  expect(await room.files.read('debug.txt')).toBe('written');
  expect((await sandbox.files.list('.')).map(({ name }) => name)).toContain('debug.txt');
  const terminal = await sandbox.pty.create({ cols: 80, rows: 24, onData: () => undefined });
  expect(await sandbox.pty.kill(terminal.pid)).toBe(true);
  expect(await sandbox.kill()).toBe(true);
});

it('is not for pages of other sites, by whatever name they come', async () => {
  const ask = (headers: Record<string, string>): Promise<number | undefined> =>
    new Promise((done, failed) => request({ host: '127.0.0.1', port: 49_983, path: '/metrics', headers }, (answer) => (answer.resume(), done(answer.statusCode))).once('error', failed).end());
  expect(await ask({ host: 'localhost:49983' })).toBe(200);
  expect(await ask({ host: 'evil.example:49983' })).toBeGreaterThanOrEqual(400);
  expect(await ask({ host: 'localhost:49983', origin: 'https://evil.example' })).toBeGreaterThanOrEqual(400);
  expect(await ask({ host: 'localhost:49983', 'sec-fetch-site': 'cross-site' })).toBeGreaterThanOrEqual(400);
});
