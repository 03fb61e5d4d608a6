/**
 * kill -9 of each process of the platform in the middle of each move, over a real VM: the room ends in a right state, its RAM is still there, there is at
 * most one VM of it, and no image is lost. (Every step of every saga is crashed on the fake driver by the saga harness.)
 */
import { codeOf, say, startPlatform, until, type Platform } from '../e2e/platform';

jest.setTimeout(900_000);
let platform: Platform;
let room: string;
let nonce: string | undefined;
beforeAll(async () => {
  platform = await startPlatform();
});
afterAll(() => platform?.destroy());
// A room of its own for each case: what one of them loses, the next one does not miss.
beforeEach(async () => {
  room = (await platform.client.createRoom({ userId: 'survivor' })).id;
  nonce = (await say(platform, room, 'nonce')).answer.nonce;
});
afterEach(async () => {
  await platform.client.destroyRoom(room);
  await until('no VM is left that belongs to no room', async () => (await platform.status()).virtualMachines.length === 0);
});

const readyAgain = () => until('everything is ready again', async () => (await platform.alcove('status', '--json')).code === 0);
const stateOf = async () => (await platform.client.room(room)).state;

/** Kills the service and waits until the supervisor has brought another process up. */
async function kill(service: string): Promise<void> {
  const pid = await platform.pidOf(service);
  process.kill(pid, 'SIGKILL');
  await until(`${service} is another process`, async () => {
    const now = (await platform.status()).platform?.services.find((s) => s.name === service);
    return now?.state === 'ready' && now.pid !== pid;
  });
}

/** The events of a room so far, a line each. */
async function historyOf(id: string): Promise<string[]> {
  const lines: string[] = [];
  const enough = AbortSignal.timeout(2000);
  try {
    for await (const { data } of platform.client.roomEvents(id, null, enough)) lines.push(data);
  } catch (error) {
    if (!enough.aborted) throw error;
  }
  return lines;
}

/** The room answers, its RAM never went away, and only one VM of it lives. */
async function expectIntact(): Promise<void> {
  await readyAgain();
  const answer = await until('the room answers', () => say(platform, room, 'nonce').catch(() => undefined));
  if (answer.answer.nonce !== nonce) throw new Error(`the RAM of the room is lost:\n${(await historyOf(room)).join('\n')}`);
  expect((await platform.status()).virtualMachines.filter((vm) => vm.roomId === room)).toHaveLength(1);
}

describe.each(['host', 'api', 'worker', 'postgres'])('kill -9 of %s', (service) => {
  it('while a room runs', async () => {
    const vm = await platform.vmOf(room);
    expect(vm).toBeGreaterThan(0);
    await kill(service);
    await expectIntact();
    expect(await platform.vmOf(room)).toBe(vm);
  });

  it('while a room falls asleep', async () => {
    const falling = codeOf(platform.client.hibernate(room)).catch(() => 'lost');
    await until('the move has begun', async () => (await stateOf()) !== 'running');
    await kill(service);
    await falling;
    await expectIntact();
  });

  it('while a room wakes', async () => {
    await platform.client.hibernate(room);
    const waking = codeOf(platform.client.wake(room)).catch(() => 'lost');
    await until('the move has begun', async () => (await stateOf()) !== 'hibernated');
    await kill(service);
    await waking;
    await expectIntact();
  });
});
