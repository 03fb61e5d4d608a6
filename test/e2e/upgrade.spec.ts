/**
 * What a person does to upgrade: `git pull && ./alcove up` in a clone, while rooms run and sleep. And the same with every cache gone and another default template.
 * One clone, one home and one cache serve both, because making them is most of the work.
 */
import { chmod, cp, mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { environment } from '../test.config';
import { testConfig } from './e2e.config';
import { run, say, startPlatform, type Platform } from './platform';

jest.setTimeout(600_000);
const root = resolve(__dirname, '../..');
let folder: string;
let origin: string;
let checkout: string;
let cache: string;
let platform: Platform;
/** Both have a nonce and a counter that are nowhere but in RAM. One sleeps through the upgrade, the other runs through it. */
let asleep: Kept;
let running: Kept;

interface Kept {
  id: string;
  nonce: string | undefined;
}

interface UpAnswer {
  url: string;
  key: string;
  tenantId: string;
  platformKey: string;
  startedNow: boolean;
}

beforeAll(async () => {
  await mkdir(testConfig().temporary, { recursive: true, mode: 0o755 });
  folder = await mkdtemp(join(testConfig().temporary, 'alcove-up-'));
  // The database's user passes through to its programs, which are in the cache.
  await chmod(folder, 0o755);
  [origin, checkout, cache] = [join(folder, 'origin'), join(folder, 'alcove'), join(folder, 'cache')];
  await makeOrigin();
  await makeClone();
  await fillCache(['build', 'artefacts']);
  platform = await startPlatform({ checkout, env: { ALCOVE_CACHE: cache } });
  asleep = await newRoom('sleeper');
  await platform.client.hibernate(asleep.id);
  running = await newRoom('runner');
});
afterAll(async () => {
  await platform?.destroy();
  await rm(folder, { recursive: true, force: true });
});

it('upgrades by git pull and up while a room runs and another one sleeps', async () => {
  const vm = await platform.vmOf(running.id);
  const before = await platform.status();
  expect(await titleOf(platform)).toBe('Alcove');
  await release('apps/api/src/openapi/document.ts', "title: 'Alcove'", "title: 'Alcove, the next'");
  const { answer, said } = await upgrade();
  expect(answer).toMatchObject({ url: platform.url, key: platform.key, tenantId: platform.tenantId, startedNow: true });
  expect(said).toContain('restarting it');
  expect(await titleOf(platform)).toBe('Alcove, the next');
  const after = await platform.status();
  expect(after.platform?.url).toBe(before.platform?.url);
  for (const service of after.platform?.services ?? []) expect(before.platform?.services.map(({ pid }) => pid)).not.toContain(service.pid);
  expect(await platform.vmOf(running.id)).toBe(vm);
  await expectKept(running, 2, 'new');
  await expectKept(asleep, 2, 'memory');
  expect((await platform.operator.json<{ tenants: unknown[] }>('GET', '/v1/tenants')).tenants).toHaveLength(1);
});

it('wakes rooms from their memory when every cache is gone and the template is another', async () => {
  const template = (await platform.client.room(asleep.id)).templateId;
  await platform.client.hibernate(asleep.id);
  expect(await platform.alcove('down')).toMatchObject({ code: 0 });
  await rm(cache, { recursive: true });
  // What a machine of its own would download and compile again in minutes. What the rooms were made of is not in it.
  await fillCache(['build']);
  await release('rootfs/templates/default/agent/commands.ts', "'I understand: ", "'I have learned more: ");
  await upgrade();
  const fresh = await newRoom('newcomer');
  expect((await platform.client.room(fresh.id)).templateId).not.toBe(template);
  expect((await say(platform, fresh.id, 'help')).answer.reply).toContain('I have learned more');
  await platform.client.hibernate(fresh.id);
  for (const room of [asleep, running]) {
    await expectKept(room, 3, 'memory');
    expect((await say(platform, room.id, 'help')).answer.reply).toContain('I understand');
    await platform.client.hibernate(room.id);
    await expectKept(room, 4, 'memory');
    expect((await platform.client.room(room.id)).templateId).toBe(template);
    await platform.client.hibernate(room.id);
  }
});

async function newRoom(userId: string): Promise<Kept> {
  const { id } = await platform.client.createRoom({ userId });
  const { nonce } = (await say(platform, id, 'nonce')).answer;
  expect((await say(platform, id, 'count')).answer.counter).toBe(1);
  return { id, nonce };
}

async function expectKept(room: Kept, counter: number, resumedFrom: 'memory' | 'new'): Promise<void> {
  expect(await say(platform, room.id, 'count')).toMatchObject({ resumedFrom, answer: { counter } });
  expect((await say(platform, room.id, 'nonce')).answer.nonce).toBe(room.nonce);
}

async function titleOf({ client }: Platform): Promise<string> {
  return (await client.json<{ info: { title: string } }>('GET', '/openapi.json')).info.title;
}

/** A repository with the sources as they are here, committed or not. */
async function makeOrigin(): Promise<void> {
  const names = (await runOrFail('git', ['-C', root, 'ls-files', '-z', '--cached', '--others', '--exclude-standard'])).split('\0');
  for (const name of names.filter(Boolean)) {
    // One that was deleted and not yet committed.
    if (!(await stat(join(root, name)).catch(() => null))) continue;
    await mkdir(dirname(join(origin, name)), { recursive: true });
    await cp(join(root, name), join(origin, name));
  }
  await runOrFail('git', ['init', '--quiet', '--initial-branch=main', origin]);
  await commit('The sources as they are');
}

/** A clone with its packages in place, and with what was compiled of the same sources: fetching and compiling is what `./alcove setup` has done here. */
async function makeClone(): Promise<void> {
  await runOrFail('git', ['clone', '--quiet', origin, checkout]);
  await link(join(root, 'node_modules'), join(checkout, 'node_modules'));
  // Written in place, and these are links.
  await rm(join(checkout, 'node_modules/.cache'), { recursive: true, force: true });
  for (const made of ['dist', 'libs/db/src/generated']) await cp(join(root, made), join(checkout, made), { recursive: true });
}

async function fillCache(parts: string[]): Promise<void> {
  await mkdir(cache, { mode: 0o755 });
  for (const part of parts) await link(join(environment.cacheFolder, part), join(cache, part));
}

/** By hard links where that can be had. */
async function link(from: string, to: string): Promise<void> {
  const linked = await run('cp', ['-al', from, to], {});
  if (linked.code !== 0) await runOrFail('cp', ['-a', from, to]);
}

/** A new version of the program: one text of one file is another. */
async function release(path: string, text: string, newText: string): Promise<void> {
  const file = join(origin, path);
  const before = await readFile(file, 'utf8');
  expect(before).toContain(text);
  await writeFile(file, before.replace(text, newText));
  await commit(`Change ${path}`);
}

async function commit(message: string): Promise<void> {
  await runOrFail('git', ['-C', origin, 'add', '--all']);
  await runOrFail('git', ['-C', origin, '-c', 'user.name=Somebody', '-c', 'user.email=somebody@example.org', '-c', 'commit.gpgsign=false', 'commit', '--quiet', '-m', message]);
}

/** `git pull && ./alcove up`. */
async function upgrade(): Promise<{ answer: UpAnswer; said: string }> {
  await runOrFail('git', ['-C', checkout, 'pull', '--quiet', '--ff-only']);
  const { code, stdout, stderr } = await platform.alcove('up', '--yes', '--json');
  if (code !== 0) throw new Error(`./alcove up ended with ${code}:\n${stderr}`);
  return { answer: JSON.parse(stdout) as UpAnswer, said: stderr };
}

async function runOrFail(program: string, args: string[]): Promise<string> {
  const { code, stdout, stderr } = await run(program, args, {});
  if (code !== 0) throw new Error(`${program} ${args.join(' ')} ended with ${code}:\n${stderr}`);
  return stdout;
}
