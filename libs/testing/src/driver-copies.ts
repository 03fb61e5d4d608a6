import { text } from 'node:stream/consumers';
import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { newId, Secret } from '@alcove/base';
import type { ImageRef, ProblemCode } from '@alcove/contracts';
import type { Driver, GuestSession, RoomSpec, Template } from '@alcove/runtime';
import type { DriverBench } from './driver-conformance';
import { ask, codeOf, nonceOf, run } from './in-guest';

export interface CopiesBench extends DriverBench {
  /** What there is of a room on this machine: names of folders, files or records. */
  tracesOf(roomId: string): Promise<string[]>;
}

const neverAborted = new AbortController().signal;

/** The promises of `Driver.copy` and of a start with a new identity, tested on any engine: one family of rooms told in order. Eight starts and four seals in all. */
export function describeCopies(name: string, make: () => Promise<CopiesBench>, options: { verbMs: number }): void {
  describe(`copies by the ${name} driver`, () => {
    const story = new FamilyStory(make);
    const step = (title: string, work: () => Promise<void>) => it(title, () => story.step(work), 4 * options.verbMs);
    beforeAll(() => story.begin(), 4 * options.verbMs);
    afterAll(() => story.bench?.close(), 4 * options.verbMs);
    describeRefusals(story, step);
    describeCopy(story, step);
    describeLater(story, step);
    describeOnFork(story, step);
  });
}

type Step = (title: string, work: () => Promise<void>) => void;

class FamilyStory {
  bench!: CopiesBench;
  readonly origin = newId('room');
  readonly copy = newId('room');
  readonly grandchild = newId('room');
  nonce = '';
  guest!: GuestSession;
  images: ImageRef[] = [];
  copies: ImageRef[] = [];
  #broken = false;
  constructor(private readonly make: () => Promise<CopiesBench>) {}

  async begin(): Promise<void> {
    this.bench = await this.make();
  }
  get driver(): Driver {
    return this.bench.driver;
  }
  async step(work: () => Promise<void>): Promise<void> {
    if (this.#broken) throw new Error('an earlier step of this story failed');
    this.#broken = true;
    await work();
    this.#broken = false;
  }
  /** Every room has keys of its own. */
  keys(roomId: string): RoomSpec['keys'] {
    const key = (use: string) => new Secret(createHash('sha256').update(`${use} ${roomId}`).digest());
    return { image: key('image'), disk: key('disk') };
  }
  spec(roomId: string, incarnation: number, change: Partial<RoomSpec> = {}): RoomSpec {
    return { roomId, incarnation, template: this.bench.template, keys: this.keys(roomId), env: {}, hasDisk: true, ...change };
  }
  image(index: number): ImageRef {
    return needed(this.images[index]);
  }
  source(image: ImageRef): { image: ImageRef; keys: RoomSpec['keys'] } {
    return { image, keys: this.keys(image.roomId) };
  }
  /** The copy is refused with one of these codes, and leaves nothing. */
  async refused(source: { image: ImageRef; keys: RoomSpec['keys'] }, codes: ProblemCode[], change: Partial<RoomSpec> = {}): Promise<void> {
    const roomId = newId('room');
    expect(codes).toContain(await codeOf(this.driver.copy(source, this.spec(roomId, 1, change), { generation: 1 })));
    expect(await this.bench.tracesOf(roomId)).toEqual([]);
  }
  async read(path: string): Promise<string> {
    return text((await this.guest.readFile({ path }, neverAborted)).body);
  }
  async write(path: string, content: string): Promise<void> {
    await this.guest.writeFile({ path, makeParents: true }, Readable.from([Buffer.from(content)]), neverAborted);
  }
  async count(): Promise<unknown> {
    return (await ask(this.guest, 'count'))['counter'];
  }
  withOnFork(command: string[]): Template {
    const { template } = this.bench;
    return { ...template, manifest: { ...template.manifest, onFork: { command, user: 'user', cwd: '/home/user' } } };
  }
}

function describeRefusals(story: FamilyStory, step: Step): void {
  step('there is a room with something in its memory and on its disk, and it sleeps', async () => {
    story.guest = (await story.driver.restore(story.spec(story.origin, 1, { hasDisk: false }), { kind: 'template' })).guest;
    story.nonce = await nonceOf(story.guest);
    expect(await story.count()).toBe(1);
    await story.write('kept/file', 'of the first day');
    story.images.push((await story.driver.seal(story.spec(story.origin, 1), { generation: 3 })).image);
  });
  step('refuses a wrong key, another image, another room’s, another template, a room over itself', async () => {
    const source = story.source(story.image(0));
    await story.refused({ ...source, keys: story.keys(story.copy) }, ['image.wrong_key']);
    await story.refused({ ...source, image: { ...source.image, id: newId('img') } }, ['image.missing']);
    await story.refused({ ...source, image: { ...source.image, roomId: newId('room') } }, ['image.missing', 'image.wrong_room']);
    await story.refused({ ...source, image: { ...source.image, generation: 9 } }, ['image.stale']);
    const { template } = story.bench;
    const other = { ...template, manifest: { ...template.manifest, id: `tpl_${'9'.repeat(20)}` } };
    await story.refused(source, ['image.incompatible'], { template: other });
    expect(await codeOf(story.driver.copy(source, story.spec(story.origin, 2), { generation: 4 }))).toBe('request.invalid');
  });
  step('makes nothing that is not wanted any more', async () => {
    const gone = new AbortController();
    gone.abort(new Error('not wanted'));
    const roomId = newId('room');
    await expect(story.driver.copy(story.source(story.image(0)), story.spec(roomId, 1), { generation: 1 }, gone.signal)).rejects.toThrow('not wanted');
    expect(await story.bench.tracesOf(roomId)).toEqual([]);
  });
}

function describeCopy(story: FamilyStory, step: Step): void {
  step('copies a sleeping room, and a repeat finds the copy', async () => {
    const image = story.image(0);
    const target = story.spec(story.copy, 4);
    const copied = await story.driver.copy(story.source(image), target, { generation: 7 });
    const { compatibility, templateId, pages } = image;
    expect(copied).toMatchObject({ roomId: story.copy, incarnation: 4, generation: 7, compatibility, templateId, pages });
    expect([copied.id, copied.diskState, copied.sha256]).not.toEqual(expect.arrayContaining([image.id, image.diskState, image.sha256]));
    expect(await story.driver.copy(story.source(image), target, { generation: 7 })).toEqual(copied);
    expect(await story.driver.inspect()).toEqual([]);
    story.copies.push(copied);
  });
  step('replaces a copy that never ran', async () => {
    const again = await story.driver.copy(story.source(story.image(0)), story.spec(story.copy, 5), { generation: 8 });
    expect(await codeOf(story.driver.restore(story.spec(story.copy, 6), { kind: 'image', image: needed(story.copies.pop()) }))).toBe('image.missing');
    story.copies.push(again);
  });
  step('wakes the copy with memory and files of its source, under its own keys only', async () => {
    const [image] = story.copies;
    const theirs = story.spec(story.copy, 6, { newIdentity: true, keys: story.keys(story.origin) });
    expect(await codeOf(story.driver.restore(theirs, { kind: 'image', image: needed(image) }))).toBe('image.wrong_key');
    story.guest = (await story.driver.restore(story.spec(story.copy, 6, { newIdentity: true }), { kind: 'image', image: needed(image) })).guest;
    expect(await nonceOf(story.guest)).toBe(story.nonce);
    expect(await story.count()).toBe(2);
    expect(await story.count()).toBe(3);
    expect(await story.read('kept/file')).toBe('of the first day');
    await story.write('kept/file', 'of the copy');
  });
  step('refuses to copy from what runs, over what runs, and over what has run', async () => {
    const [image] = story.copies;
    expect(await codeOf(story.driver.copy(story.source(needed(image)), story.spec(story.grandchild, 1), { generation: 1 }))).toBe('room.busy');
    expect(await codeOf(story.driver.copy(story.source(story.image(0)), story.spec(story.copy, 7), { generation: 9 }))).toBe('room.busy');
    expect(await story.bench.tracesOf(story.grandchild)).toEqual([]);
    story.copies.push((await story.driver.seal(story.spec(story.copy, 6), { generation: 10 })).image);
    const before = await story.bench.tracesOf(story.copy);
    expect(await codeOf(story.driver.copy(story.source(story.image(0)), story.spec(story.copy, 7), { generation: 11 }))).toBe('incarnation.stale');
    expect(await story.bench.tracesOf(story.copy)).toEqual(before);
  });
  step('wakes the source as if nothing had been', async () => {
    story.guest = (await story.driver.restore(story.spec(story.origin, 2), { kind: 'image', image: story.image(0) })).guest;
    expect(await nonceOf(story.guest)).toBe(story.nonce);
    expect(await story.count()).toBe(2);
    expect(await story.read('kept/file')).toBe('of the first day');
    await story.write('kept/file', 'of the second day');
    await story.driver.stop({ roomId: story.origin, incarnation: 2 });
  });
}

function describeLater(story: FamilyStory, step: Step): void {
  step('copies a copy that has lived on', async () => {
    const image = await story.driver.copy(story.source(needed(story.copies[1])), story.spec(story.grandchild, 1), { generation: 1 });
    story.guest = (await story.driver.restore(story.spec(story.grandchild, 2, { newIdentity: true }), { kind: 'image', image })).guest;
    expect(await nonceOf(story.guest)).toBe(story.nonce);
    expect(await story.count()).toBe(4);
    expect(await story.read('kept/file')).toBe('of the copy');
    await story.driver.stop({ roomId: story.grandchild, incarnation: 2 });
  });
  step('copies the disk as it was when the image was taken, though it has moved on', async () => {
    const roomId = newId('room');
    await story.driver.copy(story.source(story.image(0)), story.spec(roomId, 1), { generation: 1 });
    story.guest = (await story.driver.boot(story.spec(roomId, 2))).guest;
    expect(await story.read('kept/file')).toBe('of the first day');
    await story.driver.stop({ roomId, incarnation: 2 });
    await story.driver.discard(roomId);
    expect(await story.bench.tracesOf(roomId)).toEqual([]);
  });
  step('copies the newest image of a disk that has moved on since', async () => {
    story.guest = (await story.driver.boot(story.spec(story.origin, 3))).guest;
    expect(await story.read('kept/file')).toBe('of the second day');
    const { image } = await story.driver.seal(story.spec(story.origin, 3), { generation: 5 });
    story.images.push(image);
    story.guest = (await story.driver.restore(story.spec(story.origin, 4), { kind: 'image', image })).guest;
    await story.driver.prune(story.origin, [image.id]);
    await story.driver.stop({ roomId: story.origin, incarnation: 4 });
    await story.refused(story.source(story.image(0)), ['image.missing']);
  });
  step('refuses a damaged image', async () => {
    if (!story.bench.damageImage) return;
    const image = needed(story.copies[1]);
    await story.bench.damageImage(image);
    await story.refused(story.source(image), ['image.corrupt', 'image.wrong_key']);
  });
}

function describeOnFork(story: FamilyStory, step: Step): void {
  // It can be run once only: the second time, the folder is there.
  const command = ['mkdir', 'forked'];
  step('runs the template’s command in a copy, once, and in nothing else', async () => {
    const template = story.withOnFork(command);
    const roomId = newId('room');
    const [image] = story.images.slice(-1);
    const copied = await story.driver.copy(story.source(needed(image)), story.spec(roomId, 1), { generation: 1 });
    const started = await story.driver.restore(story.spec(roomId, 2, { template, newIdentity: true }), { kind: 'image', image: copied });
    story.guest = started.guest;
    expect(await story.guest.statFile('forked', neverAborted)).toMatchObject({ kind: 'directory' });
    const sealed = await story.driver.seal(story.spec(roomId, 2, { template }), { generation: 2 });
    // Not a copy that has never run, any more: it would fail.
    story.guest = (await story.driver.restore(story.spec(roomId, 3, { template }), { kind: 'image', image: sealed.image })).guest;
    expect(await nonceOf(story.guest)).not.toBe('');
    await story.driver.stop({ roomId, incarnation: 3 });
    await story.driver.discard(roomId);
  });
  step('does not start a copy whose command fails, and can try again', async () => {
    const roomId = newId('room');
    const [image] = story.images.slice(-1);
    const copied = await story.driver.copy(story.source(needed(image)), story.spec(roomId, 1), { generation: 1 });
    for (const [words, detail] of [[['sh', '-c', 'mkdir forked; exit 3'], 'code 3'], [['no-such-program'], 'no such command']] as const) {
      const start = story.driver.restore(story.spec(roomId, 2, { template: story.withOnFork([...words]), newIdentity: true }), { kind: 'image', image: copied });
      await expect(start).rejects.toMatchObject({ code: 'template.on_fork', detail: expect.stringContaining(detail) as string });
      expect(await story.driver.inspect()).toEqual([]);
    }
    // What the first one made is undone with it.
    story.guest = (await story.driver.restore(story.spec(roomId, 2, { template: story.withOnFork(command), newIdentity: true }), { kind: 'image', image: copied })).guest;
    expect((await run(story.guest, ['cat', 'kept/file'])).stdout).toBe('of the second day');
    await story.driver.stop({ roomId, incarnation: 2 });
  });
  step('refuses an image whose disk has moved on and does not keep that state', async () => {
    // Another disk in its place.
    await story.driver.restore(story.spec(story.origin, 5, { hasDisk: false }), { kind: 'template' });
    await story.driver.stop({ roomId: story.origin, incarnation: 5 });
    await story.refused(story.source(story.image(1)), ['image.disk_mismatch']);
  });
}

function needed<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('this was never made');
  return value;
}
