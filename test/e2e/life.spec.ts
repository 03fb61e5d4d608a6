/** One room's life on real VMs: sleep and wake a hundred times, asked for in every order, with what was only in RAM still there. */
import { randomBytes } from 'node:crypto';
import { seededRandom } from '@alcove/base';
import { codeOf, exec, say, startPlatform, until, type Platform } from './platform';
import { testConfig } from './e2e.config';

jest.setTimeout(900_000);
const cycles = testConfig().all ? 100 : 15;
/** How often the checksum over what fills the RAM is asked for. */
const cyclesPerChecksum = 5;
let platform: Platform;
beforeAll(async () => {
  platform = await startPlatform();
});
afterAll(() => platform?.destroy());

const newRoom = async (user: string): Promise<string> => (await platform.client.createRoom({ userId: user })).id;
const stateIs = (id: string, state: string) => until(`${id} is ${state}`, async () => (await platform.client.room(id)).state === state);

it(`keeps RAM and files through ${cycles} sleeps under random writes`, async () => {
  const room = await newRoom('cycles');
  const random = seededRandom(20_261);
  const nonce = (await say(platform, room, 'nonce')).answer.nonce;
  await say(platform, room, 'fill 3');
  expect(await platform.vmOf(room)).toBeGreaterThan(0);
  const checksum = (await say(platform, room, 'checksum')).answer['sha256'];
  expect(checksum).toMatch(/^[0-9a-f]{64}$/);
  const written = new Map<string, string>();
  for (let cycle = 1; cycle <= cycles; cycle++) {
    const path = `/home/user/f${random.below(8)}`;
    const text = randomBytes(1 + random.below(200)).toString('hex');
    await say(platform, room, `write ${path} ${text}`);
    written.set(path, text);
    expect((await platform.client.hibernate(room)).state).toBe('hibernated');
    expect(await platform.vmOf(room)).toBeUndefined();
    const counted = await say(platform, room, 'count');
    expect(counted).toMatchObject({ resumedFrom: 'memory', answer: { counter: cycle } });
    if (cycle % cyclesPerChecksum === 0) expect({ cycle, sha256: (await say(platform, room, 'checksum')).answer['sha256'] }).toEqual({ cycle, sha256: checksum });
    const [at, kept] = [...written][random.below(written.size)] ?? ['', ''];
    expect((await say(platform, room, `read ${at}`)).answer['content']).toBe(kept);
  }
  expect((await say(platform, room, 'nonce')).answer.nonce).toBe(nonce);
  for (const [path, text] of written) expect((await exec(platform, room, ['cat', path])).stdout).toBe(text);
});

it('honours moves that are asked for in the middle of others', async () => {
  const room = await newRoom('rapid');
  const nonce = (await say(platform, room, 'nonce')).answer.nonce;
  for (let round = 0; round < 5; round++) {
    const asked = [platform.client.hibernate(room), platform.client.wake(room), platform.client.hibernate(room), platform.client.wake(room)];
    for (const call of asked) expect(['ok', 'room.busy']).toContain(await codeOf(call));
    expect((await say(platform, room, 'nonce')).answer.nonce).toBe(nonce);
  }
  const falling = platform.client.hibernate(room);
  await until('the room falls asleep', async () => (await platform.client.room(room)).state !== 'running');
  await platform.client.wake(room);
  await codeOf(falling);
  await stateIs(room, 'running');
  expect((await say(platform, room, 'nonce')).answer.nonce).toBe(nonce);
});

it('answers from the disk when the VM was killed, and says so', async () => {
  const room = await newRoom('killed');
  const nonce = (await say(platform, room, 'nonce')).answer.nonce;
  await say(platform, room, 'write /home/user/kept on disk');
  expect((await exec(platform, room, 'sync')).exitCode).toBe(0);
  await platform.killVm(room);
  const next = await say(platform, room, 'nonce');
  expect(next.resumedFrom).toBe('disk');
  expect(next.answer.nonce).not.toBe(nonce);
  expect((await say(platform, room, 'read /home/user/kept')).answer['content']).toBe('on disk');
});

it('keeps users apart and forgets a destroyed room', async () => {
  const [mine, theirs] = [await newRoom('anna'), await newRoom('ben')];
  await say(platform, mine, 'remember the garden gate code is 4711');
  await say(platform, mine, 'count');
  expect((await say(platform, theirs, 'recall gate')).answer['notes']).toEqual([]);
  expect((await say(platform, theirs, 'count')).answer.counter).toBe(1);
  expect((await exec(platform, theirs, 'grep -rs 4711 /home /var/log /run | wc -l')).stdout.trim()).toBe('0');
  for (const room of [mine, theirs]) {
    await platform.client.destroyRoom(room);
    expect(await codeOf(platform.client.invoke(room, { prompt: 'count' }))).toBe('room.gone');
    await until('its VM has ended', async () => (await platform.vmOf(room)) === undefined);
  }
});
