/** A room that does its worst: the host agent stays up and small, and the neighbour answers all the while. */
import { readFile } from 'node:fs/promises';
import { exec, say, startPlatform, until, type Platform } from '../e2e/platform';

jest.setTimeout(900_000);
let platform: Platform;
/** A room of its own for each case: what a fork bomb leaves behind goes on. */
let hostile: string;
let neighbour: string;
let hostPid: number;
beforeAll(async () => {
  platform = await startPlatform();
  neighbour = (await platform.client.createRoom({ userId: 'neighbour' })).id;
  await say(platform, neighbour, 'count');
  hostPid = await platform.pidOf('host');
});
afterAll(() => platform?.destroy());

const hostMiB = async () => Number(/^VmRSS:\s+(\d+) kB/m.exec(await readFile(`/proc/${hostPid}/status`, 'utf8'))?.[1]) / 1024;

beforeEach(async () => {
  hostile = (await platform.client.createRoom({ userId: 'mallory' })).id;
  await say(platform, hostile, 'count');
});

afterEach(async () => {
  await platform.client.destroyRoom(hostile);
  await until('its VM has ended', async () => (await platform.vmOf(hostile)) === undefined);
  expect((await say(platform, neighbour, 'count')).answer.counter).toBeGreaterThan(1);
  expect(await platform.pidOf('host')).toBe(hostPid);
  expect(await hostMiB()).toBeLessThan(600);
});

it('cuts a command off at its output limit', async () => {
  const result = await exec(platform, hostile, 'yes alcove', { outputBytes: 1 << 20, timeoutMs: 60_000 });
  expect(result.truncated).toBe(true);
  expect(result.stdout.length).toBeLessThanOrEqual(1 << 20);
});

it('ends a command at its timeout, with its children', async () => {
  const result = await exec(platform, hostile, 'sleep 1000 & sleep 1000', { timeoutMs: 500 });
  expect(result.timedOut).toBe(true);
  expect((await exec(platform, hostile, ['pgrep', '-c', '-x', 'sleep'])).stdout.trim()).toBe('0');
});

it('survives a fork bomb', async () => {
  const bombed = await exec(platform, hostile, 'ulimit -u 2000; bomb() { bomb | bomb & }; bomb; sleep 2', { timeoutMs: 10_000 }).catch(() => undefined);
  expect(bombed === undefined || bombed.exitCode !== undefined).toBe(true);
});

it('survives a full disk and says so', async () => {
  const filled = await exec(platform, hostile, 'head -c 64M /dev/urandom > a; fallocate -l 100G b 2>&1; df --output=size / | tail -1', { timeoutMs: 120_000 });
  expect(filled.stdout).toMatch(/No space|not supported|\d+/);
});

it('survives a guest that uses up its RAM', async () => {
  const eaten = await exec(platform, hostile, ['python3', '-c', 'b=[]\nwhile True: b.append(bytearray(b"x")*(1<<24))'], { timeoutMs: 60_000 }).catch(() => undefined);
  expect(eaten?.exitCode === 0).toBe(false);
  await until('the room answers again', () => say(platform, hostile, 'count').catch(() => undefined), 120_000);
});

it('answers floods of streams with a limit, not with a fall', async () => {
  const calls = Array.from({ length: 150 }, () => exec(platform, hostile, ['true']).then(() => 'ok', (error: { code?: string }) => error.code ?? 'lost'));
  const codes = new Set(await Promise.all(calls));
  for (const code of codes) expect(['ok', 'guest.limit', 'request.concurrency', 'request.rate']).toContain(code);
  expect(codes.has('ok')).toBe(true);
});

it('kills the room and nothing else when root in it kills the guest agent', async () => {
  const vm = await platform.vmOf(hostile);
  await exec(platform, hostile, 'kill -9 1; pkill -9 -x guest-agent', { user: 'root', timeoutMs: 10_000 }).catch(() => undefined);
  await until('its VM has ended', async () => (await platform.vmOf(hostile)) !== vm);
  expect((await say(platform, hostile, 'count')).resumedFrom).toBe('disk');
});
