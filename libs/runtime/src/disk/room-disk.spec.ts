import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Secret } from '@alcove/base';
import { RoomDisk } from './room-disk';
import { revertTo } from './qemu-img';

const run = promisify(execFile);
const qemuImg = '/usr/bin/qemu-img';
const whereQemu = existsSync(qemuImg) ? describe : describe.skip;
const room = { roomId: `room_${'0'.repeat(20)}`, templateId: `tpl_${'0'.repeat(20)}`, diskMiB: 4096 };
const key = new Secret(Buffer.alloc(32, 3));

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'alcove-disk-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

describe("a room's disk", () => {
  it('is opened by its key only', async () => {
    const made = await RoomDisk.create(folder, room, key);
    const passphrase = made.passphrase(key).expose();
    const disk = await RoomDisk.open(folder);
    expect(disk.passphrase(key).expose()).toEqual(passphrase);
    expect(() => disk.passphrase(new Secret(Buffer.alloc(32, 4)))).toThrow(expect.objectContaining({ code: 'vault.corrupt' }));
  });

  it('is another one each time it is made', async () => {
    const first = (await RoomDisk.create(folder, room, key)).passphrase(key).expose();
    const second = (await RoomDisk.create(folder, room, key)).passphrase(key).expose();
    expect(second).not.toEqual(first);
    expect((await readdir(folder)).sort()).toEqual(['disk.json', 'disk.qcow2']);
  });

  it('remembers its state', async () => {
    const disk = await RoomDisk.create(folder, room, key);
    expect(disk.state).toBeNull();
    await disk.markState('ds_1');
    expect((await RoomDisk.open(folder)).state).toBe('ds_1');
    await disk.markMovedOn();
    expect((await RoomDisk.open(folder)).state).toBeNull();
  });

  it('says when it is not there, or damaged', async () => {
    await expect(RoomDisk.open(folder)).rejects.toMatchObject({ code: 'image.missing' });
    await writeFile(join(folder, 'disk.json'), '{"version":1}');
    await expect(RoomDisk.open(folder)).rejects.toMatchObject({ code: 'image.corrupt' });
  });

  it('takes a third of a mebibyte', async () => {
    const disk = await RoomDisk.create(folder, room, key);
    expect((await stat(disk.path)).blocks * 512).toBeLessThan(384 << 10);
  });
});

whereQemu('QEMU, of a disk made here', () => {
  const opened = (disk: RoomDisk) => `driver=qcow2,encrypt.format=luks,encrypt.key-secret=s,file.driver=file,file.filename=${disk.path}`;
  async function secretFile(disk: RoomDisk): Promise<string> {
    const path = join(folder, 'passphrase');
    await writeFile(path, disk.passphrase(key).expose());
    return `secret,id=s,file=${path}`;
  }
  const io = async (disk: RoomDisk, ...commands: string[]) => {
    const { stdout } = await run('qemu-io', ['--object', await secretFile(disk), '--image-opts', opened(disk), ...commands.flatMap((command) => ['-c', command])]);
    return stdout;
  };

  it('finds nothing wrong with it, and the size that was asked for', async () => {
    const disk = await RoomDisk.create(folder, room, key);
    const secret = await secretFile(disk);
    await run(qemuImg, ['check', '--object', secret, '--image-opts', opened(disk)]);
    const { stdout } = await run(qemuImg, ['info', '--output=json', '--object', secret, '--image-opts', opened(disk)]);
    expect(JSON.parse(stdout)).toMatchObject({ 'virtual-size': 4096 * 2 ** 20, encrypted: true, format: 'qcow2' });
  });

  it('reads back what it wrote, from the first to the last byte, and finds nothing wrong then', async () => {
    const disk = await RoomDisk.create(folder, room, key);
    const answer = await io(disk, 'write -P 0x5a 0 1M', 'write -P 0x5b 4095M 1M', 'read -P 0x5a 0 1M', 'read -P 0x5b 4095M 1M', 'read -P 0 1M 1M');
    expect(answer).not.toContain('Pattern verification failed');
    await run(qemuImg, ['check', '--object', await secretFile(disk), '--image-opts', opened(disk)]);
  });

  it('goes back to a snapshot, and refuses one that is not there', async () => {
    const disk = await RoomDisk.create(folder, room, key);
    await io(disk, 'write -P 0x11 0 64k');
    await run(qemuImg, ['snapshot', '--object', await secretFile(disk), '--image-opts', '-c', 'ds_1', opened(disk)]);
    await io(disk, 'write -P 0x22 0 64k');
    await revertTo('qemu-img', disk.path, 'ds_1', disk.passphrase(key));
    expect(await io(disk, 'read -P 0x11 0 64k')).not.toContain('Pattern verification failed');
    await expect(revertTo('qemu-img', disk.path, 'ds_2', disk.passphrase(key))).rejects.toMatchObject({ code: 'image.disk_mismatch' });
  });
});
