/** Sealed images that were tampered with on the host's disk: refused by code, and the fall-back is announced. */
import { copyFile, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { checksum, decodeStart, encodePrologue } from '../../libs/runtime/src/image/image-header';
import { serverSentEvents } from '../../apps/cli/src/api-client';
import { say, startPlatform, until, type Platform } from '../e2e/platform';

jest.setTimeout(600_000);
let platform: Platform;
beforeAll(async () => {
  platform = await startPlatform();
});
afterAll(() => platform?.destroy());
/** Rooms of the case at hand: one that stays awake takes its share of a processor from the next boot. */
const made: string[] = [];
afterEach(async () => {
  for (const room of made.splice(0)) await platform.client.destroyRoom(room);
});

const imagesOf = (room: string) => join(platform.home, 'store/rooms', room, 'images');

/** A room that sleeps, and the path of its newest image. */
async function asleep(user: string): Promise<{ room: string; nonce: string | undefined; image: string }> {
  const room = (await platform.client.createRoom({ userId: user })).id;
  made.push(room);
  const nonce = (await say(platform, room, 'nonce')).answer.nonce;
  await say(platform, room, 'write /home/user/kept yes');
  await platform.client.hibernate(room);
  return { room, nonce, image: await newest(room) };
}

async function newest(room: string): Promise<string> {
  const folder = imagesOf(room);
  const names = await readdir(folder);
  const aged = await Promise.all(names.map(async (name) => ({ name, at: (await stat(join(folder, name))).mtimeMs })));
  return join(folder, aged.sort((a, b) => b.at - a.at)[0]?.name ?? '');
}

async function fallbackCodes(room: string): Promise<string[]> {
  const found: string[] = [];
  const enough = new AbortController();
  const answer = await platform.client.call('GET', `/v1/rooms/${room}/events`, { signal: enough.signal });
  for await (const event of serverSentEvents(answer)) {
    const body = JSON.parse(event.data) as { type: string; to: string; resumedFrom: string | null; reason: string; detail?: unknown };
    found.push(JSON.stringify(body));
    if (body.to === 'running' && body.resumedFrom === 'disk') break;
  }
  enough.abort();
  return found.filter((line) => line.includes('"fallback"') || line.includes('fallbacks'));
}

/** Wakes the room, which must fall back to its disk, keep its files, and say which code made it do so. */
async function expectDisk(room: string, nonce: string | undefined, code: string): Promise<void> {
  const woken = await say(platform, room, 'nonce');
  expect(woken.resumedFrom).toBe('disk');
  expect(woken.answer.nonce).not.toBe(nonce);
  expect((await say(platform, room, 'read /home/user/kept')).answer['content']).toBe('yes');
  expect((await fallbackCodes(room)).join('\n')).toContain(code);
}

it('refuses a flipped bit', async () => {
  const { room, nonce, image } = await asleep('bits');
  const bytes = await readFile(image);
  const at = Math.floor(bytes.length / 2);
  bytes[at] = (bytes[at] ?? 0) ^ 1;
  await writeFile(image, bytes);
  await expectDisk(room, nonce, 'image.corrupt');
});

it('refuses a truncated image', async () => {
  const { room, nonce, image } = await asleep('short');
  await truncate(image, (await stat(image)).size - 100);
  await expectDisk(room, nonce, 'image.corrupt');
});

it("refuses another room's image", async () => {
  const other = await asleep('other');
  const { room, nonce, image } = await asleep('mine');
  await copyFile(other.image, image);
  await expectDisk(room, nonce, 'image.wrong_room');
});

it('refuses an older image in the place of the newest', async () => {
  const { room, nonce, image: first } = await asleep('older');
  const kept = await readFile(first);
  await say(platform, room, 'count');
  await platform.client.hibernate(room);
  await writeFile(await newest(room), kept);
  await expectDisk(room, nonce, 'image.stale');
});

it("refuses an image that was sealed with another user's key, though it names this room", async () => {
  const other = await asleep('other-key');
  const { room, nonce, image } = await asleep('my-key');
  const mine = decodeStart(await readFile(image));
  const bytes = await readFile(other.image);
  const theirs = decodeStart(bytes);
  const forged = Buffer.concat([mine.prologue, theirs.preamble, checksum(mine.prologue, theirs.preamble), bytes.subarray(theirs.bytes)]);
  await writeFile(image, forged);
  await expectDisk(room, nonce, 'image.wrong_key');
});

it('refuses an image that names another compatibility key', async () => {
  const { room, nonce, image } = await asleep('engine');
  const bytes = await readFile(image);
  const { header, preamble, bytes: start } = decodeStart(bytes);
  const prologue = encodePrologue({ ...header, compatibility: header.compatibility.replace(/./g, (digit) => (digit === '0' ? '1' : '0')) });
  await writeFile(image, Buffer.concat([prologue, preamble, checksum(prologue, preamble), bytes.subarray(start)]));
  await expectDisk(room, nonce, 'image.incompatible');
});

it('wakes from the disk when the image is gone', async () => {
  const { room, nonce, image } = await asleep('missing');
  await rm(image);
  await expectDisk(room, nonce, 'image.missing');
  await until('the room runs', async () => (await platform.client.room(room)).state === 'running');
});
