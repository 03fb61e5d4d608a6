import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, open, readFile, readdir, stat } from 'node:fs/promises';
import { request } from 'node:http';
import { join } from 'node:path';
import { json } from 'node:stream/consumers';
import { promisify } from 'node:util';
import { limits, newId, Secret } from '@alcove/base';
import { ExecRequest, type ImageRef, type ProblemCode } from '@alcove/contracts';
import type { GuestSession } from '@alcove/runtime';
import { type DriverBench, describeDriver } from '../../libs/testing/src/driver-conformance';
import { QemuMachine, whereBuilt } from './qemu-machine';

/** Mounting a small file system takes root. */
const whereMounts = process.getuid?.() === 0 ? it : it.skip;
const never = new AbortController().signal;
const verbMs = 60_000;

async function bench(): Promise<DriverBench> {
  const machine = await QemuMachine.make();
  let unobstruct: (() => Promise<void>) | undefined;
  return {
    driver: machine.driver,
    template: machine.template,
    restart: () => machine.restart(),
    killVm: async (room) => void process.kill(await machine.pidOf(room), 'SIGKILL'),
    failNextSeal: async (room) => {
      unobstruct = await machine.obstructImages(room.roomId);
      const { driver } = machine;
      const seal = driver.seal.bind(driver);
      driver.seal = async (...args) => {
        driver.seal = seal;
        return seal(...args).finally(() => unobstruct?.());
      };
    },
    damageImage: async (image) => {
      const file = await open(join(machine.storeDir, 'rooms', image.roomId, 'images', image.id), 'r+');
      await file.write(Buffer.alloc(64, 0xa5), 0, 64, Math.floor(image.bytes / 2));
      await file.close();
    },
    close: () => machine.close(),
  };
}

whereBuilt('QEMU', () => {
  describeDriver('qemu', bench, { verbMs, checkpoints: true });

  describe('hibernating again and again', () => {
    let machine: QemuMachine;
    beforeAll(async () => {
      machine = await QemuMachine.make();
    }, 4 * verbMs);
    afterAll(() => machine?.close());

    it('keeps RAM and files through 20 cycles', async () => {
      const { driver } = machine;
      const roomId = newId('room');
      let { guest } = await driver.restore(machine.spec(roomId, 1), { kind: 'template' });
      const before = await ask(guest, 'nonce');
      await run(guest, 'head -c 3000000 /dev/urandom > kept; sync');
      const sum = await run(guest, 'sha256sum < kept');
      // Held in RAM only, by a process that lives through all cycles.
      await run(guest, "mkfifo count; (n=0; while read x < count; do n=$((n+1)); echo $n > counted; done) > /dev/null 2>&1 & echo started");
      const images: ImageRef[] = [];
      for (let cycle = 1; cycle <= 20; cycle++) {
        await run(guest, 'rm -f counted; echo x > count; until [ -s counted ]; do sleep 0.01; done');
        const sealed = await driver.seal(machine.spec(roomId, cycle), { generation: cycle });
        expect(await driver.inspect()).toEqual([]);
        images.push(sealed.image);
        ({ guest } = await driver.restore(machine.spec(roomId, cycle + 1), { kind: 'image', image: sealed.image }));
        await driver.prune(roomId, images.slice(-2).map(({ id }) => id));
        expect(await run(guest, 'cat counted')).toBe(`${cycle}\n`);
        expect((await ask(guest, 'nonce')).nonce).toBe(before.nonce);
        expect(await run(guest, 'sha256sum < kept')).toBe(sum);
      }
      expect((await readdir(join(machine.storeDir, 'rooms', roomId, 'images'))).sort()).toEqual(images.slice(-2).map(({ id }) => id).sort());
      await driver.stop({ roomId, incarnation: 21 });
    }, 20 * verbMs);
  });

  describe('an idle room', () => {
    let machine: QemuMachine;
    beforeAll(async () => {
      machine = await QemuMachine.make();
    }, 4 * verbMs);
    afterAll(() => machine?.close());

    it('costs little: memory while it runs, disk while it sleeps', async () => {
      const { driver } = machine;
      const roomId = newId('room');
      const { guest } = await driver.restore(machine.spec(roomId, 1), { kind: 'template' });
      await ask(guest, 'hello');
      const { guestPrivateBytes } = await driver.memoryOf({ roomId, incarnation: 1 });
      expect(guestPrivateBytes).toBeGreaterThan(0);
      expect(guestPrivateBytes).toBeLessThan(40 << 20);
      const { image } = await driver.seal(machine.spec(roomId, 1), { generation: 1 });
      expect(image.bytes).toBeLessThan(machine.template.manifest.cloneSafe ? 1 << 20 : 4 << 20);
      const folder = join(machine.storeDir, 'rooms', roomId);
      let blocks = 0;
      for (const name of await readdir(folder, { recursive: true })) blocks += (await stat(join(folder, name))).blocks;
      expect(blocks * 512).toBeLessThan(8 << 20);
    }, 2 * verbMs);

    it('runs a VMM that owns nothing: no privileges, no network, a user of its own', async () => {
      const { driver } = machine;
      const roomId = newId('room');
      await driver.restore(machine.spec(roomId, 1), { kind: 'template' });
      const pid = await machine.pidOf({ roomId, incarnation: 1 });
      const status = await readFile(`/proc/${pid}/status`, 'utf8');
      expect(status).toMatch(/^CapEff:\t0+$/m);
      expect(status).toMatch(/^Seccomp:\t2$/m);
      if (process.getuid?.() === 0) expect(status).toMatch(/^Uid:\t91\d{4}\t/m);
      const limits = await readFile(`/proc/${pid}/limits`, 'utf8');
      expect(limits).toMatch(/^Max core file size +0 +0/m);
      const interfaces = (await readFile(`/proc/${pid}/net/dev`, 'utf8')).match(/^ *\S+:/gm)?.map((name) => name.trim());
      expect(interfaces).toEqual(['lo:']);
      const told = (await readFile(`/proc/${pid}/cmdline`, 'utf8')) + (await readFile(`/proc/${pid}/environ`, 'utf8'));
      expect(told).not.toMatch(/passphrase=|[,"]data[=":]/);
      await driver.stop({ roomId, incarnation: 1 });
    }, verbMs);

    it('leaves nothing readable: neither image nor disk holds what was written', async () => {
      const { driver } = machine;
      const roomId = newId('room');
      const secret = `secret-${newId('x')}`;
      const { guest } = await driver.restore(machine.spec(roomId, 1, { env: { SECRET: secret } }), { kind: 'template' });
      await run(guest, `echo ${secret} > kept; sync`);
      await driver.seal(machine.spec(roomId, 1), { generation: 1 });
      expect(await filesHolding(machine.folder, secret)).toEqual([]);
    }, 2 * verbMs);

    it('refuses its image for another template, size or engine', async () => {
      const { driver } = machine;
      const roomId = newId('room');
      await driver.restore(machine.spec(roomId, 1), { kind: 'template' });
      const { image } = await driver.seal(machine.spec(roomId, 1), { generation: 1 });
      const other = createHash('sha256').update('another engine').digest('hex');
      expect(await codeOf(driver.restore(machine.spec(roomId, 2), { kind: 'image', image: { ...image, compatibility: other } }))).toBe('image.incompatible');
      const keys = { image: new Secret(Buffer.alloc(32, 1)), disk: new Secret(Buffer.alloc(32, 9)) };
      expect(await codeOf(driver.restore(machine.spec(roomId, 2, { keys }), { kind: 'image', image }))).toBe('vault.corrupt');
      expect(await driver.inspect()).toEqual([]);
      // None of this has touched the room.
      const { guest } = await driver.restore(machine.spec(roomId, 2), { kind: 'image', image });
      expect(await run(guest, 'echo there')).toBe('there\n');
      await driver.stop({ roomId, incarnation: 2 });
    }, 3 * verbMs);

    it('tries its image again after a start that failed when the guest ran already', async () => {
      const { driver } = machine;
      const roomId = newId('room');
      const first = await driver.restore(machine.spec(roomId, 1), { kind: 'template' });
      const { nonce } = await ask(first.guest, 'nonce');
      await run(first.guest, 'echo kept > kept; sync');
      const { image } = await driver.seal(machine.spec(roomId, 1), { generation: 1 });
      // More than fits the claim, which is the last step of a start: the guest runs by then.
      const env = Object.fromEntries(Array.from({ length: limits.channel.fieldsCount }, (_none, i) => [`E${i}`, '']));
      expect(await codeOf(driver.restore(machine.spec(roomId, 2, { env }), { kind: 'image', image }))).not.toBe('resolved');
      expect(await driver.inspect()).toEqual([]);
      const { guest } = await driver.restore(machine.spec(roomId, 2), { kind: 'image', image });
      expect((await ask(guest, 'nonce')).nonce).toBe(nonce);
      expect(await run(guest, 'cat kept')).toBe('kept\n');
      await driver.stop({ roomId, incarnation: 2 });
    }, 3 * verbMs);

    whereMounts('goes on running when the host has no disk space for its image', async () => {
      const { driver } = machine;
      const roomId = newId('room');
      const { guest } = await driver.restore(machine.spec(roomId, 1), { kind: 'template' });
      const { nonce } = await ask(guest, 'nonce');
      const images = join(machine.storeDir, 'rooms', roomId, 'images');
      await mkdir(images);
      await promisify(execFile)('mount', ['-t', 'tmpfs', '-o', 'size=128k', 'none', images]);
      try {
        expect(await codeOf(driver.seal(machine.spec(roomId, 1), { generation: 1 }))).toBe('host.disk_full');
        expect(await readdir(images)).toEqual([]);
        expect((await ask(guest, 'nonce')).nonce).toBe(nonce);
      } finally {
        await promisify(execFile)('umount', [images]);
      }
      const { image } = await driver.seal(machine.spec(roomId, 1), { generation: 2 });
      const resumed = await driver.restore(machine.spec(roomId, 2), { kind: 'image', image });
      expect((await ask(resumed.guest, 'nonce')).nonce).toBe(nonce);
      await driver.stop({ roomId, incarnation: 2 });
    }, 3 * verbMs);

    whereMounts('holds a guest still while the host has no space for its disk, and lets it go on', async () => {
      const { driver } = machine;
      const rooms = join(machine.storeDir, 'rooms');
      await mkdir(rooms, { recursive: true });
      await promisify(execFile)('mount', ['-t', 'tmpfs', '-o', 'size=24m', 'none', rooms]);
      const room = { roomId: newId('room'), incarnation: 1 };
      try {
        const { guest, stalled } = await driver.restore(machine.spec(room.roomId, 1), { kind: 'template' });
        const { nonce } = await ask(guest, 'nonce');
        const written = run(guest, 'head -c 32000000 /dev/urandom > large; sync; sha256sum < large');
        await until(stalled);
        await expect(guest.ping(1000)).rejects.toThrow();
        expect(await codeOf(driver.seal(machine.spec(room.roomId, 1), { generation: 1 }))).toBe('host.disk_full');
        await promisify(execFile)('mount', ['-o', 'remount,size=256m', rooms]);
        await until(() => !stalled());
        const sum = await written;
        await run(guest, 'echo 3 > /proc/sys/vm/drop_caches', 'root');
        expect(await run(guest, 'sha256sum < large')).toBe(sum);
        expect((await ask(guest, 'nonce')).nonce).toBe(nonce);
      } finally {
        await driver.stop(room);
        await promisify(execFile)('umount', [rooms]);
      }
    }, 3 * verbMs);

    it('keeps a disk boot asleep and awake as any other room', async () => {
      const { driver } = machine;
      const roomId = newId('room');
      const first = await driver.boot(machine.spec(roomId, 1));
      await run(first.guest, 'echo kept > kept; cat /proc/sys/kernel/random/boot_id > /run/booted', 'root');
      const booted = await run(first.guest, 'cat /run/booted');
      const { image } = await driver.seal(machine.spec(roomId, 1), { generation: 1 });
      const { guest } = await driver.restore(machine.spec(roomId, 2), { kind: 'image', image });
      expect(await run(guest, 'cat /run/booted')).toBe(booted);
      await driver.stop({ roomId, incarnation: 2 });
    }, 4 * verbMs);

    it('says that the guest is dead when the guest ends itself', async () => {
      const { driver } = machine;
      const roomId = newId('room');
      const exit = new Promise<string>((resolve) => driver.onExit((room, reason) => resolve(`${room.roomId} ${reason}`)));
      const { guest } = await driver.restore(machine.spec(roomId, 1), { kind: 'template' });
      void run(guest, 'echo c > /proc/sysrq-trigger', 'root').catch(() => undefined);
      expect(await exit).toBe(`${roomId} guest_dead`);
      expect(await driver.inspect()).toEqual([]);
      await driver.discard(roomId);
    }, 2 * verbMs);
  });
});

async function run(guest: GuestSession, command: string, user?: string): Promise<string> {
  let out = '';
  let errors = '';
  for await (const event of guest.exec(ExecRequest.parse({ command, ...(user ? { user } : {}) }), never)) {
    if (event.event === 'stdout') out += Buffer.from(event.data, 'base64').toString();
    if (event.event === 'stderr') errors += Buffer.from(event.data, 'base64').toString();
    if (event.event === 'exit' && event.exitCode !== 0) throw new Error(`${command} ended with ${event.exitCode}: ${errors}`);
  }
  return out;
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((next) => setTimeout(next, 20));
}

async function ask(guest: GuestSession, prompt: string): Promise<{ nonce: string }> {
  const socket = await guest.connect(8080, 30_000, never);
  const body = JSON.stringify({ prompt });
  const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body), host: '127.0.0.1', connection: 'close' };
  return new Promise((resolve, reject) => {
    const outgoing = request({ method: 'POST', path: '/invocations', headers, createConnection: () => socket }, (incoming) => {
      json(incoming).then((value) => resolve(value as { nonce: string }), reject);
    });
    outgoing.on('error', reject);
    outgoing.end(body);
  });
}

async function codeOf(promise: Promise<unknown>): Promise<ProblemCode | 'resolved'> {
  return promise.then(() => 'resolved' as const, (error: { code: ProblemCode }) => error.code);
}

async function filesHolding(folder: string, text: string): Promise<string[]> {
  const found: string[] = [];
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    const file = await open(path, 'r');
    if ((await file.readFile()).includes(text)) found.push(path);
    await file.close();
  }
  return found;
}
