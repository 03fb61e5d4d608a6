/**
 * kill -9 of each process of the platform in the middle of each move, over a real VM: the room ends in a right state, its RAM is still there, there is at
 * most one VM of it, and no image is lost. When it is the VM itself that is killed, or the host agent in the middle of a wake, the room is there again from its
 * memory or from its disk, and says which. (Every step of every saga is crashed on the fake driver by the saga harness.)
 */
import { join } from 'node:path';
import { virtualMachines } from '../../apps/cli/src/platform/virtual-machines';
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
async function moveIn(): Promise<void> {
  room = (await platform.client.createRoom({ userId: 'survivor' })).id;
  nonce = (await say(platform, room, 'nonce')).answer.nonce;
}
afterEach(async () => {
  expect(['ok', 'room.gone']).toContain(await codeOf(platform.client.destroyRoom(room)));
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

/** The room answers: with its RAM, or from its disk when the room says so. */
async function expectHonest(): Promise<void> {
  await readyAgain();
  const answer = await until('the room answers', () => say(platform, room, 'nonce').catch(() => undefined));
  const { resumedFrom, state } = await platform.client.room(room);
  expect({ state, resumedFrom }).toEqual({ state: 'running', resumedFrom: answer.answer.nonce === nonce ? 'memory' : 'disk' });
  expect((await platform.status()).virtualMachines.filter((vm) => vm.roomId === room)).toHaveLength(1);
}

/** Counts the room's VMs over and over; `most` ends that and gives the highest count. */
function watchVms(): { most(): Promise<number> } {
  let over = false;
  let highest = 0;
  const counting = (async () => {
    while (!over) {
      const now = (await virtualMachines(join(platform.home, 'host'))).filter((vm) => vm.roomId === room);
      highest = Math.max(highest, now.length);
      await new Promise((later) => setTimeout(later, 25));
    }
  })();
  return {
    most: async () => {
      over = true;
      await counting;
      return highest;
    },
  };
}

describe.each(['host', 'api', 'worker', 'postgres', 'keys'])('kill -9 of %s', (service) => {
  it('while a room runs', async () => {
    await moveIn();
    const vm = await platform.vmOf(room);
    expect(vm).toBeGreaterThan(0);
    await kill(service);
    await expectIntact();
    expect(await platform.vmOf(room)).toBe(vm);
  });

  it('while a room falls asleep', async () => {
    await moveIn();
    const falling = codeOf(platform.client.hibernate(room)).catch(() => 'lost');
    await until('the move has begun', async () => (await stateOf()) !== 'running');
    await kill(service);
    await falling;
    await expectIntact();
  });

  it('while a room wakes', async () => {
    await moveIn();
    await platform.client.hibernate(room);
    const waking = codeOf(platform.client.wake(room)).catch(() => 'lost');
    await until('the move has begun', async () => (await stateOf()) !== 'hibernated');
    await kill(service);
    await waking;
    await expectIntact();
  });

  it('while a room is made, and while it is destroyed', async () => {
    room = (await platform.client.createRoom({ userId: 'survivor' })).id;
    await kill(service);
    await readyAgain();
    const first = await until('the room answers', () => say(platform, room, 'nonce').catch(() => undefined));
    nonce = first.answer.nonce;
    await expectIntact();
    await platform.client.destroyRoom(room);
    await kill(service);
    await readyAgain();
    await until('the room is destroyed', async () => (await codeOf(platform.client.room(room)).catch(() => 'lost')) === 'room.gone');
    await until('its VM has ended', async () => (await platform.vmOf(room)) === undefined);
  });
});

describe('kill -9 of edge', () => {
  it('while a room runs and while it sleeps: neither notices', async () => {
    await moveIn();
    const vm = await platform.vmOf(room);
    await kill('edge');
    await expectIntact();
    expect(await platform.vmOf(room)).toBe(vm);
    await platform.client.hibernate(room);
    await kill('edge');
    await expectIntact();
  });
});

describe('kill -9 of the VM itself', () => {
  it('while its room falls asleep', async () => {
    await moveIn();
    const vms = watchVms();
    const falling = codeOf(platform.client.hibernate(room));
    await until('the move has begun', async () => (await stateOf()) !== 'running');
    await platform.killVm(room);
    await falling;
    await expectHonest();
    expect(await vms.most()).toBe(1);
  });

  it('while its room wakes', async () => {
    await moveIn();
    await platform.client.hibernate(room);
    const vms = watchVms();
    const waking = codeOf(platform.client.wake(room));
    await until('a VM is there to be killed', async () => platform.killVm(room).then(() => true, () => false));
    await waking;
    await expectHonest();
    expect(await vms.most()).toBe(1);
  });
});
