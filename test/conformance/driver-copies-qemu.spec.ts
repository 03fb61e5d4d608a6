import { execFile } from 'node:child_process';
import { mkdir, open, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { newId, Secret } from '@alcove/base';
import type { ImageRef } from '@alcove/contracts';
import type { GuestSession } from '@alcove/runtime';
import { type CopiesBench, describeCopies } from '../../libs/testing/src/driver-copies';
import { ask, codeOf, nonceOf, run } from '../../libs/testing/src/in-guest';
import { QemuMachine, whereBuilt } from './qemu-machine';

/** Mounting a small file system takes root. */
const whereMounts = process.getuid?.() === 0 ? it : it.skip;
const verbMs = 60_000;

async function tracesOf(machine: QemuMachine, roomId: string): Promise<string[]> {
  const found: string[] = [];
  for (const folder of [join(machine.storeDir, 'rooms'), join(machine.folder, 'host/run')]) {
    const names = await readdir(folder, { recursive: true }).catch(() => []);
    found.push(...names.filter((name) => name.includes(roomId)).sort());
  }
  return found;
}

async function damage(machine: QemuMachine, image: ImageRef): Promise<void> {
  const file = await open(join(machine.storeDir, 'rooms', image.roomId, 'images', image.id), 'r+');
  const at = Math.floor(image.bytes / 2);
  const byte = Buffer.alloc(1);
  await file.read(byte, 0, 1, at);
  byte[0] = (byte[0] ?? 0) ^ 1;
  await file.write(byte, 0, 1, at);
  await file.close();
}

async function bench(): Promise<CopiesBench> {
  const machine = await QemuMachine.make();
  return {
    driver: machine.driver,
    template: machine.template,
    restart: () => machine.restart(),
    killVm: async (room) => void process.kill(await machine.pidOf(room), 'SIGKILL'),
    damageImage: (image) => damage(machine, image),
    tracesOf: (roomId) => tracesOf(machine, roomId),
    close: () => machine.close(),
  };
}

whereBuilt('copies on QEMU', () => {
  describeCopies('qemu', bench, { verbMs });

  describe('of one room', () => {
    let machine: QemuMachine;
    const origin = newId('room');
    let nonce = '';
    let image: ImageRef;
    const disk = (roomId: string) => join(machine.storeDir, 'rooms', roomId, 'disk.qcow2');
    const source = () => ({ image, keys: machine.spec(origin, 1).keys });
    const copy = (roomId: string) => machine.driver.copy(source(), machine.spec(roomId, 1), { generation: 1 });

    beforeAll(async () => {
      machine = await QemuMachine.make();
      const { guest } = await machine.driver.restore(machine.spec(origin, 1), { kind: 'template' });
      nonce = await nonceOf(guest);
      await run(guest, 'head -c 3000000 /dev/urandom > kept; echo a plain secret > plain; sync');
      // Not synchronised by anybody but the seal itself.
      await run(guest, 'echo at the last moment > late');
      ({ image } = await machine.driver.seal(machine.spec(origin, 1), { generation: 1 }));
    }, 4 * verbMs);
    afterAll(() => machine?.close(), verbMs);

    it('share with it what it remembers, and nothing that is random or names it', async () => {
      const draws: Record<string, string>[] = [];
      const sums: string[] = [];
      const draw = async (guest: GuestSession) => {
        expect(await nonceOf(guest)).toBe(nonce);
        draws.push((await ask(guest, 'random'))['random'] as Record<string, string>);
        const named = await run(guest, 'cat /etc/hostname /proc/sys/kernel/random/boot_id; hostname; cat /proc/sys/kernel/random/uuid');
        names.push(...named.stdout.trim().split('\n'));
        sums.push((await run(guest, 'sha256sum < kept')).stdout);
      };
      const names: string[] = [];
      const rooms = [newId('room'), newId('room')];
      for (const roomId of rooms) {
        const copied = await copy(roomId);
        await draw((await machine.driver.restore(machine.spec(roomId, 2, { newIdentity: true }), { kind: 'image', image: copied })).guest);
      }
      await draw((await machine.driver.restore(machine.spec(origin, 2), { kind: 'image', image })).guest);
      const sources = Object.keys(draws[0] ?? {});
      expect(sources).toEqual(expect.arrayContaining(['uuid', 'randomBytes', 'mathRandom', 'python', 'openssl', 'urandom', 'kernelUuid', 'machineId', 'bootNonce', 'bootId']));
      for (const name of sources) expect({ name, distinct: new Set(draws.map((drawn) => drawn[name])).size }).toEqual({ name, distinct: draws.length });
      // Each says its host name twice, and nothing else is said twice.
      expect(new Set(names).size).toBe(3 * draws.length);
      expect(new Set(sums).size).toBe(1);
      for (const roomId of rooms) await machine.driver.stop({ roomId, incarnation: 2 });
      // As it was asleep: the next tests copy it again.
      ({ image } = await machine.driver.seal(machine.spec(origin, 2), { generation: 2 }));
    }, 6 * verbMs);

    it('have disks that share no block of ciphertext with it, and hold nothing in the clear', async () => {
      const roomId = newId('room');
      await copy(roomId);
      const blocks = async (path: string) => {
        const bytes = await readFile(path);
        const found = new Set<string>();
        for (let at = 0; at + 512 <= bytes.length; at += 512) {
          const block = bytes.subarray(at, at + 512);
          if (new Set(block).size > 64) found.add(block.toString('latin1'));
        }
        expect(bytes.includes('a plain secret')).toBe(false);
        return found;
      };
      const [theirs, ours] = [await blocks(disk(origin)), await blocks(disk(roomId))];
      expect(ours.size).toBeGreaterThan(3_000_000 / 512);
      expect([...ours].filter((block) => theirs.has(block))).toEqual([]);
      // One state is kept: that of its own image.
      const { stdout } = await promisify(execFile)('qemu-img', ['info', '--output=json', disk(roomId)]);
      expect((JSON.parse(stdout) as { snapshots: unknown[] }).snapshots).toHaveLength(1);
      await machine.driver.discard(roomId);
    }, verbMs);

    it('are refused with a wrong key of the disk, and of a disk whose header names another file', async () => {
      const roomId = newId('room');
      const keys = { ...source().keys, disk: new Secret(Buffer.alloc(32, 9)) };
      expect(await codeOf(machine.driver.copy({ image, keys }, machine.spec(roomId, 1), { generation: 1 }))).toBe('vault.corrupt');
      const whole = await readFile(disk(origin));
      const forged = Buffer.from(whole);
      forged.writeBigUInt64BE(600n, 8);
      forged.writeUInt32BE(11, 16);
      forged.write('/etc/passwd', 600, 'latin1');
      await writeFile(disk(origin), forged);
      expect(await codeOf(copy(roomId))).toBe('image.corrupt');
      await writeFile(disk(origin), whole);
      expect(await tracesOf(machine, roomId)).toEqual([]);
    }, verbMs);

    whereMounts.each([
      ['the image', () => 128],
      ['the disk', () => Math.ceil(image.bytes / 1024) + 1024],
    ])('leave nothing when the host has no space for %s', async (_what, spareKiB) => {
      const rooms = join(machine.storeDir, 'rooms');
      const small = join(machine.folder, 'small');
      await mkdir(small, { recursive: true });
      await promisify(execFile)('cp', ['-a', '--sparse=always', join(rooms, origin), small]);
      const used = Number((await promisify(execFile)('du', ['-sk', small])).stdout.split('\t')[0]);
      await promisify(execFile)('mount', ['-t', 'tmpfs', '-o', `size=${used + spareKiB()}k`, 'none', rooms]);
      try {
        await promisify(execFile)('cp', ['-a', '--sparse=always', join(small, origin), rooms]);
        const roomId = newId('room');
        expect(await codeOf(copy(roomId))).toBe('host.disk_full');
        expect(await readdir(rooms)).toEqual([origin]);
        await promisify(execFile)('mount', ['-o', 'remount,size=64m', rooms]);
        expect(await copy(roomId)).toMatchObject({ roomId });
      } finally {
        await promisify(execFile)('umount', [rooms]);
      }
    }, verbMs);

    it('can be booted from their disks: what was written a moment before the seal is there, and the boot is another', async () => {
      const roomId = newId('room');
      await copy(roomId);
      const bootIds: string[] = [];
      const bootId = async (guest: GuestSession) => void bootIds.push((await run(guest, 'cat /proc/sys/kernel/random/boot_id')).stdout);
      await bootId((await machine.driver.restore(machine.spec(origin, 3), { kind: 'image', image })).guest);
      await machine.driver.stop({ roomId: origin, incarnation: 3 });
      for (const room of [machine.spec(roomId, 2, { newIdentity: true }), machine.spec(origin, 4)]) {
        const { guest } = await machine.driver.boot(room);
        expect((await run(guest, 'cat late')).stdout).toBe('at the last moment\n');
        await bootId(guest);
        await machine.driver.stop(room);
      }
      expect(new Set(bootIds).size).toBe(3);
    }, 6 * verbMs);
  });
});
