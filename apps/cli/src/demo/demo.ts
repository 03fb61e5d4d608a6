import type { Room } from '@alcove/contracts';
import { systemClock } from '@alcove/base';
import { ApiProblem, type ApiClient } from '../api-client';
import type { Context } from '../context';
import { CliFailure, exitCodes, messageOf } from '../failure';
import { freshTenant } from '../platform/development-key';
import { stopPlatform } from '../platform/down';
import { startPlatform } from '../platform/up';
import { virtualMachines } from '../platform/virtual-machines';
import { setUp } from '../setup/setup';
import { startTicksOf } from '../supervisor/status-file';
import { duration, size, styleFor } from '../terminal';
import { ask, askAloud, type Heard } from './conversation';
import { ClaimFailed, Stage } from './stage';

const destroyTimeoutMs = 60_000;
const patienceMs = 10_000;
const note = 'The kettle is blue.';
const plan = 'water the plants on Sunday';

/** What the scenes hand on to each other. */
interface Play {
  context: Context;
  stage: Stage;
  client: ApiClient;
  ada: Room;
  ben: Room;
  counter: number;
  nonce: string;
}

/**
 * The main job of Alcove, for real, through the public API only: two users get rooms, talk, sleep, wake with their memory intact, survive a crash, and are
 * destroyed. Every claim is checked; exit code 1 when one of them is not so. A platform that was started for it is stopped afterwards.
 */
export async function playDemo(context: Context, options: { yes: boolean }): Promise<number> {
  if (context.config.driver === 'fake') throw new CliFailure('the demo needs real rooms', { mend: 'unset ALCOVE_DRIVER' });
  const started = performance.now();
  const stage = new Stage((text) => void process.stdout.write(text), styleFor(context.config.colour));
  context.progress.title('Alcove: one private computer per user, that sleeps and wakes in milliseconds');
  const settings = await setUp(context, options);
  const { status, startedNow } = await startPlatform(context, settings);
  const rooms: string[] = [];
  const stop = async (): Promise<void> => {
    if (startedNow) await context.progress.step('stop the platform', () => stopPlatform(context, status));
    else context.progress.say('The platform was up before and stays up.');
  };
  const settled = context.onInterrupt('the platform', stop);
  try {
    const client = await freshTenant(status.url, settings, 'demo');
    await play(context, stage, client, rooms);
    stage.plain('');
    stage.plain(`${stage.claims} claims checked, all of them so. ${duration(performance.now() - started)} in all.`);
    return exitCodes.ok;
  } catch (error) {
    if (!(error instanceof ClaimFailed)) stage.plain(`the demo could not go on: ${messageOf(error)}`);
    context.progress.say();
    context.progress.warn('the demo failed: ./alcove logs shows what the platform says, ./alcove doctor looks at this machine');
    return exitCodes.failed;
  } finally {
    settled();
    await stop();
  }
}

async function play(context: Context, stage: Stage, client: ApiClient, rooms: string[]): Promise<void> {
  const settled = context.onInterrupt('rooms of the demo', () => tidyUp(client, rooms));
  try {
    const scene = await moveIn(context, stage, client, rooms);
    await talk(scene);
    await sleepAndWake(scene);
    await keepApart(scene);
    await crash(scene);
    await moveOut(scene);
  } catch (error) {
    await tidyUp(client, rooms);
    throw error;
  } finally {
    settled();
  }
}

/** After a failure: nothing of the demo stays, as far as that can be had. */
async function tidyUp(client: ApiClient, rooms: string[]): Promise<void> {
  for (const id of rooms) await client.destroyRoom(id).catch(() => undefined);
  for (const id of rooms) await finalState(client, id).catch(() => undefined);
}

async function moveIn(context: Context, stage: Stage, client: ApiClient, rooms: string[]): Promise<Play> {
  stage.scene('Two users move in');
  const made: Room[] = [];
  for (const userId of ['ada', 'ben']) {
    const started = performance.now();
    const room = await client.createRoom({ userId });
    rooms.push(room.id);
    await ask(client, room.id, 'help');
    const ms = performance.now() - started;
    const now = await client.room(room.id);
    made.push(now);
    stage.step(`${userId}: create a room, first answer`, ms, `${now.size.memoryMiB} MiB, own kernel, ${now.isolation ?? 'unknown'} isolation`);
  }
  const [ada, ben] = made as [Room, Room];
  return { context, stage, client, ada, ben, counter: 0, nonce: '' };
}

async function talk(play: Play): Promise<void> {
  const { stage, client, ada } = play;
  stage.scene('A conversation, streamed');
  const hello = await askAloud(stage, client, ada.id, 'ada', 'Good morning!');
  stage.step('first word, whole answer', hello.firstMs, duration(hello.ms));
  stage.claim('the answer came in parts, while it was made', hello.parts > 1, `${hello.parts} part`);
  await askAloud(stage, client, ada.id, 'ada', 'run: uname -sr; hostname; id -un');
  await askAloud(stage, client, ada.id, 'ada', `remember ${note}`);

  stage.scene('Something on the disk, something only in memory');
  const written = await ask(client, ada.id, `write plan.txt ${plan}`);
  stage.step('the agent writes a file', written.ms, String(written.reply['path'] ?? ''));
  await ask(client, ada.id, 'count');
  await ask(client, ada.id, 'count');
  const counted = await ask(client, ada.id, 'count');
  const nonce = await ask(client, ada.id, 'nonce');
  play.counter = counted.reply.counter ?? 0;
  play.nonce = nonce.reply.nonce ?? '';
  stage.step('the agent counts', counted.ms, `counter ${play.counter}, random nonce ${play.nonce.slice(0, 8)}…, both in RAM only`);
  stage.claim('the counter is at 3 and there is a nonce', play.counter === 3 && play.nonce.length >= 8, `${play.counter}, "${play.nonce}"`);
}

async function sleepAndWake(play: Play): Promise<void> {
  const { context, stage, client, ada } = play;
  stage.scene('Asleep');
  const started = performance.now();
  const asleep = await client.hibernate(ada.id);
  stage.step('ada: hibernate', performance.now() - started, `sealed image: ${size(asleep.image?.bytes ?? 0)}, ${asleep.image?.pages ?? 0} pages`);
  stage.claim('no process is left of her room', !(await virtualMachines(context.paths.host)).some(({ roomId }) => roomId === ada.id));

  stage.scene('Awake, by simply sending the next message');
  const woken = await ask(client, ada.id, 'count');
  stage.step('ada: message to a sleeping room, answer', woken.ms, `waking took ${duration(woken.wokenMs ?? 0)}`);
  stage.claim('the room says that it woke from memory', woken.resumedFrom === 'memory', String(woken.resumedFrom));
  stage.claim('the counter went on', woken.reply.counter === play.counter + 1, `${woken.reply.counter}, not ${play.counter + 1}`);
  const nonce = await ask(client, ada.id, 'nonce');
  stage.claim('the nonce is the same', nonce.reply.nonce === play.nonce, nonce.reply.nonce);
  const recalled = await askAloud(stage, client, ada.id, 'ada', 'recall kettle');
  stage.claim('the conversation goes on where it was', recalled.text.includes(note), recalled.text);
}

async function keepApart(play: Play): Promise<void> {
  const { stage, client, ben, ada } = play;
  stage.scene("Ben's room sees none of it");
  const [nonce, recalled, counted] = [await ask(client, ben.id, 'nonce'), await ask(client, ben.id, 'recall kettle'), await ask(client, ben.id, 'count')];
  stage.claim('another nonce', nonce.reply.nonce !== play.nonce && (nonce.reply.nonce ?? '').length >= 8, nonce.reply.nonce);
  stage.claim('no note', !recalled.reply.reply.includes(note), recalled.reply.reply);
  stage.claim('a counter of its own', counted.reply.counter === 1, String(counted.reply.counter));
  const file = await client.call('GET', `/v1/rooms/${ben.id}/files?path=${encodeURIComponent('/home/user/plan.txt')}`).then(
    () => 'a file',
    (error: unknown) => (error instanceof ApiProblem ? error.code : messageOf(error)),
  );
  stage.claim('no file', file === 'file.not_found', file);
  const mine = await client.call('GET', `/v1/rooms/${ada.id}/files?path=${encodeURIComponent('/home/user/plan.txt')}`);
  stage.claim("while ada's file is in hers", (await mine.text()).includes(plan));
}

async function crash(play: Play): Promise<void> {
  const { context, stage, client, ada } = play;
  stage.scene('A crash');
  const machine = (await virtualMachines(context.paths.host)).find(({ roomId }) => roomId === ada.id);
  stage.claim('her room is a process of this machine', machine !== undefined);
  const pid = machine?.pid ?? 0;
  process.kill(pid, 'SIGKILL');
  while ((await startTicksOf(pid)) !== null) await systemClock.sleep(10);
  stage.plain(`kill -9 ${pid}`);
  const restarted = await askPatiently(client, ada.id, 'count');
  stage.step('ada: next message, answer', restarted.ms, 'a boot from the disk');
  stage.claim('the answer says so openly: resumedFrom "disk"', restarted.resumedFrom === 'disk', String(restarted.resumedFrom));
  const read = await ask(client, ada.id, 'read plan.txt');
  stage.claim('the file is still there', (read.reply.content ?? '').includes(plan), read.reply.reply);
  const nonce = await ask(client, ada.id, 'nonce');
  stage.claim('what was only in memory is gone, and nothing pretends otherwise', nonce.reply.nonce !== play.nonce && restarted.reply.counter === 1, `counter ${restarted.reply.counter}`);
}

/** As a careful client does: a 409 means that the room is between two states, and is asked again. The time counts from the first attempt. */
async function askPatiently(client: ApiClient, roomId: string, prompt: string): Promise<Heard> {
  const started = performance.now();
  for (;;) {
    try {
      const heard = await ask(client, roomId, prompt);
      return { ...heard, ms: performance.now() - started };
    } catch (error) {
      const between = error instanceof ApiProblem && error.status === 409 && performance.now() - started < patienceMs;
      if (!between) throw error;
      await systemClock.sleep(50);
    }
  }
}

async function moveOut(play: Play): Promise<void> {
  const { context, stage, client } = play;
  stage.scene('Both move out');
  for (const room of [play.ada, play.ben]) {
    const started = performance.now();
    await client.destroyRoom(room.id);
    const state = await finalState(client, room.id);
    stage.step(`${room.userId}: destroy`, performance.now() - started, state);
    stage.claim(`${room.userId}'s room is gone`, state === 'room.gone' || state === 'destroyed', state);
  }
  const left = (await virtualMachines(context.paths.host)).filter(({ roomId }) => roomId === play.ada.id || roomId === play.ben.id);
  stage.claim('no process is left of either', left.length === 0, `${left.length}`);
}

/** Asks until the room is destroyed; the API answers 410 `room.gone` for it then. */
async function finalState(client: ApiClient, id: string): Promise<string> {
  const deadline = systemClock.monotonic() + destroyTimeoutMs;
  let state = '';
  while (systemClock.monotonic() < deadline) {
    try {
      state = (await client.room(id)).state;
      if (state === 'destroyed') return state;
    } catch (error) {
      if (error instanceof ApiProblem) return error.code;
      throw error;
    }
    await systemClock.sleep(50);
  }
  return state;
}
