import { text } from 'node:stream/consumers';
import { Readable } from 'node:stream';
import { newId, Secret } from '@alcove/base';
import type { ImageRef, ProblemCode } from '@alcove/contracts';
import type { Driver, GuestSession, RoomKey, RoomSpec, Started, Template } from '@alcove/runtime';
import { beginSleepers, describeFileOptions, describeProcesses, describeTerminals, describeWatches, expectSleepers, type Sleepers } from './guest-conformance';
import { codeOf, nonceOf, run } from './in-guest';

/** A machine with a driver on it, for one conformance run. What is optional is tested only where it is given. */
export interface DriverBench {
  driver: Driver;
  template: Template;
  /** Closes `driver` and makes another over the same machine, as a restart of the host agent does. */
  restart(): Promise<Driver>;
  /** Ends the VM as a crash does. */
  killVm(room: RoomKey): Promise<void>;
  /** Makes the next seal of this room fail before its image is durable. */
  failNextSeal?(room: RoomKey): Promise<void>;
  /** Changes some bytes of a stored image. */
  damageImage?(image: ImageRef): Promise<void>;
  /** Ends whatever is left. */
  close(): Promise<void>;
}

export interface ConformanceOptions {
  /** Milliseconds for one start or seal of this engine. */
  verbMs: number;
  /** The driver can put a disk back to the state of the image before (`rollBackDisk`). */
  checkpoints: boolean;
}

const neverAborted = new AbortController().signal;

/**
 * The promises of `Driver` and of its guests, tested on any engine: one room's life told in order (each test goes on from the one before), with a second room beside it. Six
 * starts and four seals in all, because on a real engine they take seconds.
 */
export function describeDriver(name: string, make: () => Promise<DriverBench>, options: ConformanceOptions): void {
  describe(`the ${name} driver`, () => {
    const story = new RoomStory(make);
    const step = (title: string, work: () => Promise<void>, when = true) => (when ? it : it.skip)(title, () => story.step(work), 4 * options.verbMs);
    beforeAll(() => story.begin(), 4 * options.verbMs);
    afterAll(() => story.end(), 4 * options.verbMs);
    describeStart(story, step);
    for (const describeGuest of [describeProcesses, describeTerminals, describeWatches, describeFileOptions]) describeGuest((title, work) => step(title, () => work(story.guest)));
    step('begins processes that are to outlive what comes', async () => void (story.sleepers = await beginSleepers(story.guest)));
    describeSeal(story, step);
    describeImages(story, step);
    describeCrash(story, step, options);
    describeDiscard(story, step);
  });
}

type Step = (title: string, work: () => Promise<void>, when?: boolean) => void;

/** What the tests of one run hand on to each other. */
class RoomStory {
  bench!: DriverBench;
  driver!: Driver;
  readonly roomId = newId('room');
  readonly neighbourId = newId('room');
  readonly exits: { room: RoomKey; reason: string }[] = [];
  guest!: GuestSession;
  nonce = '';
  images: ImageRef[] = [];
  sleepers!: Sleepers;
  #broken = false;
  constructor(private readonly make: () => Promise<DriverBench>) {}

  async begin(): Promise<void> {
    this.bench = await this.make();
    this.use(this.bench.driver);
  }
  async end(): Promise<void> {
    await this.bench?.close();
  }
  /** A story that broke off is not told further: one failure, not twenty. */
  async step(work: () => Promise<void>): Promise<void> {
    if (this.#broken) throw new Error('an earlier step of this story failed');
    this.#broken = true;
    await work();
    this.#broken = false;
  }
  use(driver: Driver): void {
    this.driver = driver;
    driver.onExit((room, reason) => this.exits.push({ room: { roomId: room.roomId, incarnation: room.incarnation }, reason }));
  }
  spec(incarnation: number, change: Partial<RoomSpec> = {}): RoomSpec {
    const keys = { image: new Secret(Buffer.alloc(32, 7)), disk: new Secret(Buffer.alloc(32, 8)) };
    return { roomId: this.roomId, incarnation, template: this.bench.template, keys, env: { CONFORMANCE: 'yes' }, hasDisk: incarnation > 1, ...change };
  }
  image(index: number): ImageRef {
    const image = this.images[index];
    if (!image) throw new Error(`image ${index} was never made`);
    return image;
  }
  async found(roomId = this.roomId): Promise<{ incarnation: number; whole: boolean }[]> {
    return (await this.driver.inspect()).filter((vm) => vm.roomId === roomId).map(({ incarnation, whole }) => ({ incarnation, whole }));
  }
  async refused(source: ImageRef, codes: ProblemCode[], change: Partial<RoomSpec> = {}): Promise<void> {
    const spec = this.spec(900, { hasDisk: true, ...change });
    expect(codes).toContain(await codeOf(this.driver.restore(spec, { kind: 'image', image: source })));
    await this.driver.stop(spec);
  }
}

function describeStart(story: RoomStory, step: Step): void {
  step('says what it can do, and finds out that it can', async () => {
    expect(story.driver.capabilities).toMatchObject({ memoryImage: true, detached: true });
    expect(await story.driver.probe()).toMatchObject({ ok: true });
    expect(await story.found()).toEqual([]);
    expect(await story.driver.stop({ roomId: story.roomId, incarnation: 1 })).toEqual({ wasRunning: false });
  });
  step('does not start what is not wanted any more', async () => {
    const gone = new AbortController();
    gone.abort(new Error('not wanted'));
    await expect(story.driver.restore(story.spec(1), { kind: 'template' }, gone.signal)).rejects.toThrow();
    expect(await story.found()).toEqual([]);
  });
  step('starts a new room from the template', async () => {
    const started: Started = await story.driver.restore(story.spec(1), { kind: 'template' });
    story.guest = started.guest;
    expect(started.steps).toEqual(expect.any(Object));
    expect(await story.found()).toEqual([{ incarnation: 1, whole: true }]);
    story.nonce = await nonceOf(story.guest);
    expect(story.nonce).not.toBe('');
  });
  step('starting it again changes nothing', async () => {
    story.guest = (await story.driver.restore(story.spec(1), { kind: 'template' })).guest;
    expect(await story.found()).toHaveLength(1);
    expect(await nonceOf(story.guest)).toBe(story.nonce);
  });
  step('runs commands: output, errors, codes, environment, limits', async () => {
    expect(await run(story.guest, ['echo', 'hello there'])).toMatchObject({ stdout: 'hello there\n', exitCode: 0 });
    expect(await run(story.guest, 'echo oops >&2; exit 3')).toMatchObject({ stderr: 'oops\n', exitCode: 3 });
    expect(await run(story.guest, ['cat'], { stdin: 'from the host' })).toMatchObject({ stdout: 'from the host', exitCode: 0 });
    expect(await run(story.guest, 'echo "$CONFORMANCE $MORE"', { env: { MORE: 'too' } })).toMatchObject({ stdout: 'yes too\n' });
    expect(await run(story.guest, ['sleep', '60'], { timeoutMs: 50 })).toMatchObject({ exitCode: null, timedOut: true });
    expect(await run(story.guest, ['yes'], { outputBytes: 10_000 })).toMatchObject({ truncated: true });
    expect(await codeOf(run(story.guest, ['no-such-program']))).toBe('exec.not_found');
  });
  step('keeps files', async () => {
    const { guest } = story;
    const body = Buffer.alloc(300_000, 'alcove ');
    expect(await guest.writeFile({ path: 'notes/first', makeParents: true }, Readable.from([body]), neverAborted)).toEqual({ size: body.length });
    const whole = await guest.readFile({ path: 'notes/first' }, neverAborted);
    expect(whole.size).toBe(body.length);
    expect(await text(whole.body)).toBe(body.toString());
    const part = await guest.readFile({ path: 'notes/first', offset: 7, length: 6 }, neverAborted);
    expect(await text(part.body)).toBe('alcove');
    expect((await guest.listFiles({ path: 'notes', limit: 10 }, neverAborted)).entries).toMatchObject([{ name: 'first', kind: 'file', size: body.length }]);
    await guest.makeFolder('kept', {}, neverAborted);
    await guest.moveFile('notes/first', 'kept/second', neverAborted);
    expect(await guest.statFile('kept/second', neverAborted)).toMatchObject({ name: 'second', size: body.length });
    expect(await codeOf(guest.removeFile('kept', false, neverAborted))).toBe('file.not_empty');
    await guest.removeFile('notes', true, neverAborted);
    expect(await codeOf(guest.statFile('notes', neverAborted))).toBe('file.not_found');
  });
  step('has a second room beside it that shares nothing', async () => {
    const spec = story.spec(1, { roomId: story.neighbourId });
    const { guest } = await story.driver.restore(spec, { kind: 'template' });
    expect(await nonceOf(guest)).not.toBe(story.nonce);
    expect(await codeOf(guest.statFile('kept/second', neverAborted))).toBe('file.not_found');
    expect(await story.driver.stop(spec)).toEqual({ wasRunning: true });
    expect(await nonceOf(story.guest)).toBe(story.nonce);
    await story.driver.discard(story.neighbourId);
  });
  step('refuses a second incarnation beside the first, and to discard what runs', async () => {
    await expect(story.driver.restore(story.spec(2, { hasDisk: false }), { kind: 'template' })).rejects.toThrow();
    await expect(story.driver.discard(story.roomId)).rejects.toThrow();
    expect(await story.found()).toEqual([{ incarnation: 1, whole: true }]);
    expect(await nonceOf(story.guest)).toBe(story.nonce);
  });
}

function describeSeal(story: RoomStory, step: Step): void {
  step('goes on running when a seal fails', async () => {
    if (!story.bench.failNextSeal) return;
    await story.bench.failNextSeal({ roomId: story.roomId, incarnation: 1 });
    await expect(story.driver.seal(story.spec(1), { generation: 1 })).rejects.toThrow();
    expect(await story.found()).toEqual([{ incarnation: 1, whole: true }]);
    expect(await nonceOf(story.guest)).toBe(story.nonce);
    story.sleepers = await expectSleepers(story.guest, story.sleepers);
  });
  step('seals to a durable image, and the VM is gone without an exit being reported', async () => {
    const sealed = await story.driver.seal(story.spec(1), { generation: 2 });
    expect(sealed.image).toMatchObject({ roomId: story.roomId, incarnation: 1, generation: 2, templateId: story.bench.template.manifest.id });
    expect(sealed.image.bytes).toBeGreaterThan(0);
    story.images.push(sealed.image);
    expect(await story.found()).toEqual([]);
    await expect(story.guest.ping(1000)).rejects.toThrow();
    expect(story.exits).toEqual([]);
  });
  step('sealing it again tells of the same image', async () => {
    expect((await story.driver.seal(story.spec(1), { generation: 2 })).image).toEqual(story.image(0));
    expect(await story.driver.stop({ roomId: story.roomId, incarnation: 1 })).toEqual({ wasRunning: false });
  });
}

function describeImages(story: RoomStory, step: Step): void {
  step('refuses an image that is missing, of another room, of another generation, under another key', async () => {
    const image = story.image(0);
    await story.refused({ ...image, id: newId('img') }, ['image.missing']);
    await story.refused(image, ['image.wrong_room'], { roomId: story.neighbourId });
    await story.refused({ ...image, roomId: story.neighbourId }, ['image.wrong_room', 'image.missing'], { roomId: story.neighbourId });
    await story.refused({ ...image, generation: 9 }, ['image.stale', 'image.corrupt']);
    await story.refused(image, ['image.wrong_key'], { keys: { ...story.spec(1).keys, image: new Secret(Buffer.alloc(32, 9)) } });
    expect(await story.found()).toEqual([]);
  });
  step('restores the image with its memory and its disk', async () => {
    story.guest = (await story.driver.restore(story.spec(2), { kind: 'image', image: story.image(0) })).guest;
    expect(await nonceOf(story.guest)).toBe(story.nonce);
    expect(await story.guest.statFile('kept/second', neverAborted)).toMatchObject({ size: 300_000 });
    story.sleepers = await expectSleepers(story.guest, story.sleepers);
  });
  step('finds and recovers it after a restart of the host agent', async () => {
    story.use(await story.bench.restart());
    const found = (await story.driver.inspect()).filter((vm) => vm.roomId === story.roomId);
    expect(found).toMatchObject([{ incarnation: 2, whole: true, templateId: story.bench.template.manifest.id }]);
    for (const vm of found) story.guest = (await story.driver.recover(vm)).guest;
    expect(await nonceOf(story.guest)).toBe(story.nonce);
    expect(await run(story.guest, ['echo', 'still here'])).toMatchObject({ stdout: 'still here\n' });
    story.sleepers = await expectSleepers(story.guest, story.sleepers);
  });
  step('seals what was recovered, and prunes what is older', async () => {
    story.images.push((await story.driver.seal(story.spec(2), { generation: 3 })).image);
    await story.driver.prune(story.roomId, [story.image(0).id, story.image(1).id]);
    await story.driver.prune(story.roomId, [story.image(1).id]);
    await story.driver.prune(story.roomId, [story.image(1).id]);
    await story.refused(story.image(0), ['image.missing']);
  });
}

function describeCrash(story: RoomStory, step: Step, options: ConformanceOptions): void {
  step('reports a VM that ends by itself, once', async () => {
    const { guest } = await story.driver.restore(story.spec(3), { kind: 'image', image: story.image(1) });
    expect(await nonceOf(guest)).toBe(story.nonce);
    await guest.writeFile({ path: 'kept/third', makeParents: false }, Readable.from([Buffer.from('written before the crash')]), neverAborted);
    await story.bench.killVm({ roomId: story.roomId, incarnation: 3 });
    await guest.closed;
    while (story.exits.length === 0) await new Promise((next) => setTimeout(next, 5));
    expect(story.exits).toEqual([{ room: { roomId: story.roomId, incarnation: 3 }, reason: 'vmm_exited' }]);
    await story.driver.stop({ roomId: story.roomId, incarnation: 3 });
    await story.driver.stop({ roomId: story.roomId, incarnation: 3 });
    expect(await story.found()).toEqual([]);
  });
  step('refuses an image whose disk has moved on', () => story.refused(story.image(1), ['image.disk_mismatch']));
  step('boots from the disk: new memory, all files', async () => {
    const { guest } = await story.driver.boot(story.spec(4));
    expect(await nonceOf(guest)).not.toBe(story.nonce);
    expect(await guest.listProcesses(neverAborted)).toEqual([]);
    expect(await text((await guest.readFile({ path: 'kept/third' }, neverAborted)).body)).toBe('written before the crash');
    expect(await story.driver.stop({ roomId: story.roomId, incarnation: 4 })).toEqual({ wasRunning: true });
    expect(await story.driver.stop({ roomId: story.roomId, incarnation: 4 })).toEqual({ wasRunning: false });
    expect(story.exits).toHaveLength(1);
  });
  step(
    'puts the disk back to a checkpoint when it is asked to',
    async () => {
      const { guest } = await story.driver.restore(story.spec(5), { kind: 'image', image: story.image(1), rollBackDisk: true });
      expect(await nonceOf(guest)).toBe(story.nonce);
      expect(await codeOf(guest.statFile('kept/third', neverAborted))).toBe('file.not_found');
      story.images.push((await story.driver.seal(story.spec(5), { generation: 5 })).image);
    },
    options.checkpoints,
  );
  step(
    'refuses a damaged image',
    async () => {
      if (!story.bench.damageImage) return;
      await story.bench.damageImage(story.image(2));
      await story.refused(story.image(2), ['image.corrupt', 'image.wrong_key']);
    },
    options.checkpoints,
  );
}

function describeDiscard(story: RoomStory, step: Step): void {
  step('discards everything of a room', async () => {
    await story.driver.discard(story.roomId);
    await story.driver.discard(story.roomId);
    await story.refused(story.image(1), ['image.missing']);
    expect(await story.found()).toEqual([]);
  });
}
