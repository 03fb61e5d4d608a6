import { limits, seededRandom } from '@alcove/base';
import { isProblem, type ProblemCode, type SealedReport } from '@alcove/contracts';
import { roomName, runningOrder, sealedOrder } from './host-harness';
import { TestMachine, type TestMachineOptions } from './host-in-process';
import { settle, VirtualClock } from './host-virtual-clock';

const room = roomName();
const other = roomName(seededRandom(2));
const goneOrder = { operationId: 'op-3', reason: 'destroyed', discard: false };

async function machineOf(options: TestMachineOptions = {}): Promise<{ machine: TestMachine; clock: VirtualClock }> {
  const clock = new VirtualClock();
  const machine = new TestMachine({ clock, ...options });
  await machine.start();
  return { machine, clock };
}
async function codeOf(promise: Promise<unknown>): Promise<ProblemCode | 'resolved'> {
  return promise.then(
    () => 'resolved' as const,
    (error: unknown) => {
      if (isProblem(error)) return error.code;
      throw error;
    },
  );
}

describe('idempotence and fencing by incarnation', () => {
  it('answers a second start of the same incarnation with the first report, also when both race', async () => {
    const { machine } = await machineOf();
    const runner = machine.runner(room);
    const [first, second] = await Promise.all([runner.ensureRunning(1, runningOrder()), runner.ensureRunning(1, runningOrder())]);
    expect(second).toEqual(first);
    expect(await runner.ensureRunning(1, runningOrder({ operationId: 'again' }))).toEqual(first);
    expect(machine.world.vmsOf(room)).toHaveLength(1);
  });

  it('refuses a lower incarnation, also after a restart', async () => {
    const { machine } = await machineOf();
    await machine.runner(room).ensureRunning(3, runningOrder());
    expect(await codeOf(machine.runner(room).ensureRunning(2, runningOrder()))).toBe('incarnation.stale');
    expect(await codeOf(machine.runner(room).ensureGone(2, goneOrder))).toBe('incarnation.stale');
    await machine.runner(room).ensureGone(3, { ...goneOrder, discard: true });
    await machine.crash();
    await machine.start();
    expect(await codeOf(machine.runner(room).ensureRunning(2, runningOrder()))).toBe('incarnation.stale');
    expect(await codeOf(machine.runner(room).ensureSealed(2, sealedOrder()))).toBe('incarnation.stale');
    expect(() => machine.runner(room).stream(2)).toThrow('incarnation.stale');
  });

  it('never starts an incarnation again that has run, but does when its start failed', async () => {
    const { machine } = await machineOf();
    machine.driver.script({ verb: 'restore', kind: 'disk_full' });
    expect(await codeOf(machine.runner(room).ensureRunning(1, runningOrder()))).toBe('host.disk_full');
    expect(machine.runner(room).state()).toMatchObject({ phase: 'gone', reason: 'start_failed:host.disk_full' });
    expect((await machine.runner(room).ensureRunning(1, runningOrder())).resumedFrom).toBe('new');
    await machine.runner(room).ensureGone(1, goneOrder);
    expect(await codeOf(machine.runner(room).ensureRunning(1, runningOrder()))).toBe('incarnation.stale');
  });

  it('refuses a late start of what was ended before it began, also after a restart', async () => {
    const { machine } = await machineOf();
    expect(await machine.runner(room).ensureGone(2, goneOrder)).toMatchObject({ wasRunning: false });
    expect(await codeOf(machine.runner(room).ensureRunning(1, runningOrder()))).toBe('incarnation.stale');
    expect(await codeOf(machine.runner(room).ensureRunning(2, runningOrder()))).toBe('incarnation.stale');
    await machine.crash();
    await machine.start();
    expect(await codeOf(machine.runner(room).ensureRunning(2, runningOrder()))).toBe('incarnation.stale');
    expect(machine.world.vmsOf(room)).toEqual([]);
  });

  it('refuses a late start of what had failed to start once it was ended', async () => {
    const { machine } = await machineOf();
    machine.driver.script({ verb: 'restore', kind: 'disk_full' });
    expect(await codeOf(machine.runner(room).ensureRunning(1, runningOrder()))).toBe('host.disk_full');
    const gone = await machine.runner(room).ensureGone(1, goneOrder);
    expect(await codeOf(machine.runner(room).ensureRunning(1, runningOrder()))).toBe('incarnation.stale');
    expect(await machine.runner(room).ensureGone(1, goneOrder)).toEqual(gone);
    expect((await machine.runner(room).ensureRunning(2, runningOrder())).resumedFrom).toBe('new');
  });

  it('refuses a late start of what was ended while it started', async () => {
    const { machine } = await machineOf();
    machine.driver.script({ verb: 'restore', kind: 'hang' });
    const start = codeOf(machine.runner(room).ensureRunning(1, runningOrder()));
    await settle();
    await machine.runner(room).ensureGone(1, goneOrder);
    expect(await start).toBe('incarnation.stale');
    expect(await codeOf(machine.runner(room).ensureRunning(1, runningOrder()))).toBe('incarnation.stale');
  });

  it('ends an older incarnation when a newer one is to run, also while the older starts', async () => {
    const { machine } = await machineOf();
    machine.driver.script({ verb: 'restore', kind: 'hang' });
    const first = codeOf(machine.runner(room).ensureRunning(1, runningOrder()));
    await settle();
    const second = await machine.runner(room).ensureRunning(2, runningOrder());
    expect(await first).toBe('incarnation.stale');
    expect(second).toMatchObject({ incarnation: 2 });
    expect((await machine.runner(room).ensureRunning(3, runningOrder({ hasDisk: true }))).resumedFrom).toBe('disk');
    expect(machine.world.vmsOf(room)).toMatchObject([{ incarnation: 3 }]);
  });

  it('gives a start up when the room is to be gone', async () => {
    const { machine } = await machineOf();
    machine.driver.script({ verb: 'restore', kind: 'hang', place: 'middle' });
    const start = codeOf(machine.runner(room).ensureRunning(1, runningOrder()));
    await settle();
    expect(await machine.runner(room).ensureGone(1, { ...goneOrder, discard: true })).toMatchObject({ incarnation: 1 });
    expect(await start).toBe('incarnation.stale');
    expect(machine.world.vmsOf(room)).toEqual([]);
    expect(machine.world.disks.get(room)).toBeUndefined();
  });

  it('lets a race of two ends and two seals come to one outcome', async () => {
    const { machine } = await machineOf();
    await machine.runner(room).ensureRunning(1, runningOrder());
    const [one, two] = await Promise.all([machine.runner(room).ensureSealed(1, sealedOrder()), machine.runner(room).ensureSealed(1, sealedOrder())]);
    expect(two).toEqual(one);
    const ends = await Promise.all([machine.runner(room).ensureGone(1, goneOrder), machine.runner(room).ensureGone(1, goneOrder)]);
    expect(ends.map((end) => end.wasRunning)).toEqual([false, false]);
    expect(machine.world.imagesOf(room)).toHaveLength(1);
  });
});

describe('levels', () => {
  async function sealedTwice(): Promise<{ machine: TestMachine; clock: VirtualClock; images: SealedReport[]; nonce: string | undefined }> {
    const { machine, clock } = await machineOf();
    await machine.runner(room).ensureRunning(1, runningOrder());
    const nonce = machine.ram(room)?.nonce;
    const first = await machine.runner(room).ensureSealed(1, sealedOrder({ generation: 1 }));
    await machine.runner(room).ensureRunning(2, runningOrder({ image: first.image, hasDisk: true }));
    const second = await machine.runner(room).ensureSealed(2, sealedOrder({ generation: 2 }));
    return { machine, clock, images: [first, second], nonce };
  }

  it('prunes what is older once an image was restored, and not before', async () => {
    const { machine, images } = await sealedTwice();
    expect(machine.world.imagesOf(room)).toHaveLength(2);
    await machine.runner(room).ensureRunning(3, runningOrder({ image: images[1]?.image ?? null, previous: images[0]?.image ?? null, hasDisk: true }));
    await settle();
    expect(machine.world.imagesOf(room).map((image) => image.ref.id)).toEqual([images[1]?.image.id]);
  });

  it('falls from a damaged image to the disk and says so', async () => {
    const { machine, images, nonce } = await sealedTwice();
    machine.world.damageImage(images[1]?.image.id ?? '');
    const report = await machine.runner(room).ensureRunning(3, runningOrder({ image: images[1]?.image ?? null, previous: images[0]?.image ?? null, hasDisk: true }));
    expect(report).toMatchObject({ resumedFrom: 'disk', fallbacks: [{ level: 'memory', code: 'image.corrupt' }] });
    expect(machine.ram(room)?.nonce).not.toBe(nonce);
  });

  it('falls from the disk to the checkpoint, whose memory it has', async () => {
    const { machine, images, nonce } = await sealedTwice();
    machine.world.damageImage(images[1]?.image.id ?? '');
    machine.driver.script({ verb: 'boot', kind: 'fail' });
    const report = await machine.runner(room).ensureRunning(3, runningOrder({ image: images[1]?.image ?? null, previous: images[0]?.image ?? null, hasDisk: true }));
    expect(report).toMatchObject({ resumedFrom: 'checkpoint', fallbacks: [{ level: 'memory', code: 'image.corrupt' }, { level: 'disk', code: 'engine.failed' }] });
    expect(machine.ram(room)?.nonce).toBe(nonce);
  });

  it('tries memory once more when the engine stumbled', async () => {
    const { machine, images, nonce } = await sealedTwice();
    machine.driver.script({ verb: 'restore', kind: 'fail' });
    const report = await machine.runner(room).ensureRunning(3, runningOrder({ image: images[1]?.image ?? null, hasDisk: true }));
    expect(report).toMatchObject({ resumedFrom: 'memory', fallbacks: [] });
    expect(machine.ram(room)?.nonce).toBe(nonce);
  });

  it('tries memory once more also when the guest had run already, with the disk as it was', async () => {
    const { machine, images, nonce } = await sealedTwice();
    machine.driver.script({ verb: 'restore', kind: 'fail', place: 'after', code: 'guest.closed' });
    const report = await machine.runner(room).ensureRunning(3, runningOrder({ image: images[1]?.image ?? null, previous: images[0]?.image ?? null, hasDisk: true }));
    expect(report).toMatchObject({ resumedFrom: 'memory', fallbacks: [] });
    expect(machine.ram(room)?.nonce).toBe(nonce);
  });

  it('never puts a disk back that had moved on before the start', async () => {
    const { machine, images } = await sealedTwice();
    const image = images[1]?.image ?? null;
    await machine.runner(room).ensureRunning(3, runningOrder({ image, hasDisk: true }));
    const disk = machine.world.disks.get(room);
    machine.world.kill({ roomId: room, incarnation: 3 });
    await settle();
    // The first attempt fails before it has looked at the disk.
    machine.driver.script({ verb: 'restore', kind: 'fail' });
    const report = await machine.runner(room).ensureRunning(4, runningOrder({ image, hasDisk: true }));
    expect(report).toMatchObject({ resumedFrom: 'disk', fallbacks: [{ level: 'memory', code: 'engine.failed' }] });
    expect(machine.world.disks.get(room)).toBe(disk);
  });

  it('names what failed first when the second try of memory fails of something else', async () => {
    const { machine, images } = await sealedTwice();
    machine.driver.script({ verb: 'restore', kind: 'fail', code: 'guest.io' });
    machine.driver.script({ verb: 'restore', kind: 'fail', code: 'image.corrupt' });
    const report = await machine.runner(room).ensureRunning(3, runningOrder({ image: images[1]?.image ?? null, hasDisk: true }));
    expect(report).toMatchObject({ resumedFrom: 'disk', fallbacks: [{ level: 'memory', code: 'guest.io' }] });
  });

  it.each(['host.disk_full', 'engine.missing', 'vault.key_unavailable'] as const)('does not lose memory over %s', async (code) => {
    const { machine, images, nonce } = await sealedTwice();
    machine.driver.script({ verb: 'restore', kind: 'fail', code });
    const order = runningOrder({ image: images[1]?.image ?? null, hasDisk: true });
    expect(await codeOf(machine.runner(room).ensureRunning(3, order))).toBe(code);
    expect(await machine.runner(room).ensureRunning(3, order)).toMatchObject({ resumedFrom: 'memory' });
    expect(machine.ram(room)?.nonce).toBe(nonce);
  });

  it('names every level that failed when none is left', async () => {
    const { machine, images } = await sealedTwice();
    machine.world.damageImage(images[1]?.image.id ?? '');
    machine.driver.script({ verb: 'boot', kind: 'fail' });
    const failure = await machine.runner(room).ensureRunning(3, runningOrder({ image: images[1]?.image ?? null, hasDisk: true })).catch((error: unknown) => error);
    expect(failure).toMatchObject({ code: 'engine.failed', errors: [{ path: 'memory', message: 'image.corrupt' }, { path: 'disk', message: 'engine.failed' }] });
    expect(machine.world.vmsOf(room)).toEqual([]);
  });

  it('boots a new room when the template’s memory cannot be restored', async () => {
    const { machine } = await machineOf();
    machine.driver.script({ verb: 'restore', kind: 'fail', times: 2 });
    expect(await machine.runner(room).ensureRunning(1, runningOrder())).toMatchObject({ resumedFrom: 'new', fallbacks: [{ level: 'new', code: 'engine.failed' }] });
  });
});

describe('what goes wrong', () => {
  it('ends a start at its deadline, even when the driver does not listen', async () => {
    const { machine, clock } = await machineOf();
    machine.driver.script({ verb: 'restore', kind: 'deaf', place: 'middle' });
    expect(await clock.until(codeOf(machine.runner(room).ensureRunning(1, runningOrder())), 5000)).toBe('engine.failed');
    expect(machine.world.vmsOf(room)).toEqual([]);
    expect(await clock.until(codeOf(machine.runner(room).ensureRunning(1, runningOrder())))).toBe('resolved');
  });

  it('keeps the guest running when a seal fails, and seals it at the next try', async () => {
    const { machine } = await machineOf();
    await machine.runner(room).ensureRunning(1, runningOrder());
    machine.driver.script({ verb: 'seal', kind: 'disk_full', place: 'middle' });
    expect(await codeOf(machine.runner(room).ensureSealed(1, sealedOrder()))).toBe('host.disk_full');
    expect(machine.runner(room).state()).toMatchObject({ phase: 'running' });
    machine.runner(room).stream(1).close();
    expect(await codeOf(machine.runner(room).ensureSealed(1, sealedOrder()))).toBe('resolved');
  });

  it('says that the room is over when its VM dies in the middle of a seal', async () => {
    const { machine } = await machineOf();
    await machine.runner(room).ensureRunning(1, runningOrder());
    machine.driver.script({ verb: 'seal', kind: 'die', place: 'middle' });
    expect(await codeOf(machine.runner(room).ensureSealed(1, sealedOrder()))).toBe('guest.closed');
    expect(machine.runner(room).state()).toMatchObject({ phase: 'gone', reason: 'seal_failed' });
    expect(await codeOf(machine.runner(room).ensureSealed(1, sealedOrder()))).toBe('room.not_running');
  });

  it('finds the image of a seal whose answer was lost', async () => {
    const { machine } = await machineOf();
    await machine.runner(room).ensureRunning(1, runningOrder());
    machine.driver.script({ verb: 'seal', kind: 'hang', place: 'after' });
    void machine.runner(room).ensureSealed(1, sealedOrder()).catch(() => undefined);
    await settle();
    await machine.crash();
    await machine.start();
    expect(machine.host.rooms.states().incarnations).toMatchObject([{ phase: 'sealing' }]);
    const report = await machine.runner(room).ensureSealed(1, sealedOrder());
    expect(machine.world.imagesOf(room).map((image) => image.ref)).toEqual([report.image]);
  });

  it('reports a VM that ends by itself, and soon', async () => {
    const { machine, clock } = await machineOf();
    machine.host.run();
    await machine.runner(room).ensureRunning(1, runningOrder());
    await clock.pass(2000);
    const before = machine.control.beats.length;
    machine.world.kill({ roomId: room, incarnation: 1 });
    await clock.pass(50);
    expect(machine.control.beats.length).toBeGreaterThan(before);
    expect(machine.control.beats.at(-1)).toMatchObject({ incarnations: [], ended: [{ roomId: room, incarnation: 1, phase: 'gone', reason: 'vmm_exited' }] });
    await clock.pass(4000);
    expect(machine.control.beats.at(-1)).toMatchObject({ ended: [] });
  });

  it('ends a guest that stops answering', async () => {
    const { machine, clock } = await machineOf();
    await machine.runner(room).ensureRunning(1, runningOrder());
    const session = machine.driver.session({ roomId: room, incarnation: 1 });
    if (session) session.unresponsive = true;
    await clock.pass(120_000);
    expect(machine.runner(room).state()).toMatchObject({ phase: 'gone', reason: 'guest_dead' });
    expect(machine.world.vmsOf(room)).toEqual([]);
  });

  it('opens a broken channel again, a few times', async () => {
    const { machine } = await machineOf();
    await machine.runner(room).ensureRunning(1, runningOrder());
    for (let time = 0; time < 3; time += 1) {
      machine.driver.session({ roomId: room, incarnation: 1 })?.close();
      // The session tells of its end a turn later.
      await Promise.resolve();
      (await machine.host.rooms.openStream({ roomId: room, incarnation: 1 })).close();
      expect(machine.runner(room).state()).toMatchObject({ phase: 'running' });
    }
    machine.driver.session({ roomId: room, incarnation: 1 })?.close();
    await Promise.resolve();
    expect((await machine.host.state()).incarnations).toEqual([]);
    expect(machine.runner(room).state()).toMatchObject({ phase: 'gone', reason: 'guest_dead' });
  });

  it('forgets broken channels when the guest has answered for a while since', async () => {
    const { machine, clock } = await machineOf();
    await machine.runner(room).ensureRunning(1, runningOrder());
    for (let time = 0; time < 8; time += 1) {
      machine.driver.session({ roomId: room, incarnation: 1 })?.close();
      await clock.pass(limits.hostAgent.channelSteadyMs + 2 * limits.hostAgent.guestPingMs);
      expect(machine.runner(room).state()).toMatchObject({ phase: 'running' });
    }
  });

  it('waits with a guest that is held still because the disk of the host is full', async () => {
    const { machine, clock } = await machineOf();
    await machine.runner(room).ensureRunning(1, runningOrder());
    const session = machine.driver.session({ roomId: room, incarnation: 1 });
    const nonce = machine.ram(room)?.nonce;
    if (!session || !nonce) throw new Error('no guest');
    session.stalled = true;
    await clock.pass(3600_000);
    machine.driver.script({ verb: 'seal', kind: 'disk_full' });
    expect(await clock.until(codeOf(machine.runner(room).ensureSealed(1, sealedOrder())))).toBe('host.disk_full');
    expect(machine.runner(room).state()).toMatchObject({ phase: 'running' });
    session.stalled = false;
    await clock.pass(60_000);
    expect(machine.ram(room)?.nonce).toBe(nonce);
    session.unresponsive = true;
    await clock.pass(120_000);
    expect(machine.runner(room).state()).toMatchObject({ phase: 'gone', reason: 'guest_dead' });
  });

  it('ends an incarnation that the control plane calls stale', async () => {
    const { machine, clock } = await machineOf();
    machine.host.run();
    await machine.runner(room).ensureRunning(1, runningOrder());
    machine.control.end = [{ roomId: room, incarnation: 1, reason: 'superseded' }];
    await clock.pass(2500);
    expect(machine.world.vmsOf(room)).toEqual([]);
    expect(machine.runner(room).state()).toMatchObject({ phase: 'gone', reason: 'superseded' });
  });

  it('takes no more rooms than it may, racing or not', async () => {
    const { machine } = await machineOf({ roomsMax: 2 });
    const third = roomName(seededRandom(3));
    const outcomes = await Promise.all([room, other, third].map((name) => codeOf(machine.runner(name).ensureRunning(1, runningOrder()))));
    expect(outcomes.sort()).toEqual(['host.capacity', 'resolved', 'resolved']);
  });

  it('bounds the queue and the streams of a room', async () => {
    const { machine } = await machineOf();
    await machine.runner(room).ensureRunning(1, runningOrder());
    for (let i = 0; i < 128; i += 1) machine.runner(room).stream(1);
    expect(() => machine.runner(room).stream(1)).toThrow('guest.limit');
    const many = await Promise.all(Array.from({ length: 40 }, () => codeOf(machine.runner(room).ensureRunning(1, runningOrder()))));
    expect(many.filter((code) => code === 'room.busy')).toHaveLength(40 - 16);
  });
});
