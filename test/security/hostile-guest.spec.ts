/** A room that does its worst: the host agent stays up and small, and the neighbour is answered rightly before, during and after. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { limits } from '@alcove/base';
import { freshTenant } from '../../apps/cli/src/platform/development-key';
import { codeOf, exec, say, startPlatform, until, type ExecResult, type Platform } from '../e2e/platform';
import { testConfig } from '../e2e/e2e.config';
import { Neighbour } from './neighbour';

jest.setTimeout(900_000);
const hostMiBMax = 600;
/** Connections that the API keeps alive for a minute, one for each call that a key may make at once, and files of a moment. */
const spareFiles = limits.key.concurrent + 16;
let platform: Platform;
/** A room of its own for each case: what a fork bomb leaves behind goes on. */
let hostile: string;
let neighbour: Neighbour;
let hostPid: number;
let filesBefore: number;
beforeAll(async () => {
  platform = await startPlatform();
  const { platformKey } = JSON.parse(await readFile(join(platform.home, 'settings.json'), 'utf8')) as { platformKey: string };
  neighbour = await Neighbour.moveIn(await freshTenant(platform.url, { platformKey }, 'neighbour'));
  hostPid = await platform.pidOf('host');
});
afterAll(() => platform?.destroy());

const hostMiB = async () => Number(/^VmRSS:\s+(\d+) kB/m.exec(await readFile(`/proc/${hostPid}/status`, 'utf8'))?.[1]) / 1024;
/** Every stream into a room, and every VM, is some open files of the host agent. */
const hostFiles = async () => (await readdir(`/proc/${hostPid}/fd`)).length;

beforeEach(async () => {
  filesBefore = await hostFiles();
  hostile = (await platform.client.createRoom({ userId: 'mallory' })).id;
  await say(platform, hostile, 'count');
});

afterEach(async () => {
  const { failures } = await neighbour.watch(async () => {
    await platform.client.destroyRoom(hostile);
    await until('its VM has ended', async () => (await platform.vmOf(hostile)) === undefined);
    await until('the host agent has let go of its streams', async () => (await hostFiles()) <= filesBefore + spareFiles);
  });
  expect(failures).toEqual([]);
  expect(await platform.pidOf('host')).toBe(hostPid);
  expect(await hostMiB()).toBeLessThan(hostMiBMax);
});

/** Does it while the neighbour is talked to, and gives its outcome. Not one of the neighbour's questions may go wrong. */
async function beside<T>(attack: () => Promise<T>): Promise<T> {
  const { outcome, answers, failures } = await neighbour.watch(attack);
  expect(failures).toEqual([]);
  expect(answers).toBeGreaterThan(0);
  return outcome;
}

/** A command that may take the room's end of the channel with it: what came of it, or the code of the problem. */
const attempt = (command: string | string[], more: Record<string, unknown> = {}): Promise<ExecResult | string> =>
  exec(platform, hostile, command, more).catch((error: { code?: string }) => error.code ?? 'lost');

const answersAgain = () => until('the room answers again', () => say(platform, hostile, 'count').catch(() => undefined), 120_000);

it('cuts a command off at its output limit', async () => {
  const result = await beside(() => exec(platform, hostile, 'yes alcove', { outputBytes: 1 << 20, timeoutMs: 60_000 }));
  expect(result.truncated).toBe(true);
  expect(result.stdout.length).toBeLessThanOrEqual(1 << 20);
});

it('ends a command at its timeout, with its children', async () => {
  const result = await beside(() => exec(platform, hostile, 'sleep 1000 & sleep 1000', { timeoutMs: 500 }));
  expect(result.timedOut).toBe(true);
  expect((await exec(platform, hostile, ['pgrep', '-c', '-x', 'sleep'])).stdout.trim()).toBe('0');
});

// That its VM then ends when the room is destroyed, and what the neighbour heard, is seen after each case.
it('survives a fork bomb', async () => {
  const bombed = await beside(() => exec(platform, hostile, 'bomb() { bomb | bomb & }; bomb; sleep 5', { timeoutMs: 20_000 }));
  expect(bombed.exitCode !== null || bombed.timedOut || bombed.error !== undefined).toBe(true);
});

it('survives a full disk and says so', async () => {
  const fill = 'n=0; for size in 512M 64M 8M 1M; do while fallocate -l $size fill.$n 2>&1; do n=$((n + 1)); done; done; dd if=/dev/zero of=rest bs=64k 2>&1';
  const filled = await beside(() => exec(platform, hostile, fill, { timeoutMs: 240_000 }));
  expect(filled.stdout).toContain('No space left on device');
  const path = '/home/user/one-more';
  const put = () => platform.client.call('PUT', `/v1/rooms/${hostile}/files?path=${encodeURIComponent(path)}`, { bytes: Buffer.alloc(1 << 20, 1) });
  expect(await beside(() => codeOf(put()))).toBe('file.no_space');
  expect(await codeOf(platform.client.call('GET', `/v1/rooms/${hostile}/files?path=${encodeURIComponent(path)}`))).toBe('file.not_found');
  expect((await say(platform, hostile, 'count')).answer.counter).toBe(2);
  await exec(platform, hostile, 'rm -f fill.* rest');
  expect(await codeOf(put())).toBe('ok');
});

it('survives a guest that uses up its RAM', async () => {
  const eaten = await beside(() => attempt(['python3', '-c', 'b=[]\nwhile True: b.append(bytearray(b"x")*(1<<24))'], { timeoutMs: 60_000 }));
  expect(eaten).not.toMatchObject({ exitCode: 0 });
  await beside(answersAgain);
});

it('answers floods of streams with a limit, not with a fall', async () => {
  const call = () => attempt(['true']).then((outcome) => (typeof outcome === 'string' ? outcome : 'ok'));
  const codes = new Set(await beside(() => Promise.all(Array.from({ length: 150 }, call))));
  for (const code of codes) expect(['ok', 'guest.limit', 'request.concurrency', 'request.rate']).toContain(code);
  expect(codes.has('ok')).toBe(true);
});

it.each(testConfig().all ? ['random', 'huge', 'credit', 'opens', 'strays', 'pongs', 'half'] : ['random', 'huge', 'credit'])('suffers nothing from a guest that writes %s to the channel', async (words) => {
  const script = await readFile(join(__dirname, 'garbage.py'));
  await platform.client.call('PUT', `/v1/rooms/${hostile}/files?path=/home/user/garbage.py`, { bytes: script });
  const before = await hostMiB();
  const said = await beside(() => attempt(['python3', '/home/user/garbage.py', words], { user: 'root', timeoutMs: 20_000 }));
  if (typeof said !== 'string') expect(said.stderr).toBe('');
  await beside(answersAgain);
  expect((await hostMiB()) - before).toBeLessThan(100);
});

it('kills the room and nothing else when root in it kills the guest agent', async () => {
  const vm = await platform.vmOf(hostile);
  await beside(async () => {
    await attempt('kill -9 1; pkill -9 -x guest-agent', { user: 'root', timeoutMs: 10_000 });
    await until('its VM has ended', async () => (await platform.vmOf(hostile)) !== vm);
    expect((await answersAgain()).resumedFrom).toBe('disk');
  });
});
