import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, open, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Secret, seededRandom } from '@alcove/base';
import fc from 'fast-check';
import { checkDiskHeader, type ClosedDisk, compareDisks, copyDisk, keepState } from './qemu-img';
import { RoomDisk } from './room-disk';

const run = promisify(execFile);
const whereQemu = existsSync('/usr/bin/qemu-io') ? describe : describe.skip;
const seed = 20_261_125;
const program = 'qemu-img';
const sizeMiB = 64;
/** Shorter than the disk, as a template's is. */
const baseBytes = 3 << 20;

let folder: string;
let base: string;
beforeEach(async () => {
  // A comma parts the options of a disk.
  folder = await mkdtemp(join(tmpdir(), 'alcove-disk,-'));
  base = join(folder, 'base');
  await writeFile(base, seededRandom(1).bytes(baseBytes));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

async function diskOf(name: string, byte: number): Promise<ClosedDisk> {
  const key = new Secret(Buffer.alloc(32, byte));
  const room = { roomId: `room_${String(byte).repeat(20)}`, templateId: `tpl_${'0'.repeat(20)}`, diskMiB: sizeMiB };
  await mkdir(join(folder, name), { recursive: true });
  const disk = await RoomDisk.create(join(folder, name), room, key);
  return { path: disk.path, passphrase: disk.passphrase(key), base };
}

async function io(disk: ClosedDisk, commands: readonly string[]): Promise<string> {
  const secret = join(folder, 'passphrase');
  await writeFile(secret, disk.passphrase.expose());
  const escaped = (path: string) => path.replaceAll(',', ',,');
  const options = `driver=qcow2,discard=unmap,encrypt.format=luks,encrypt.key-secret=s,file.driver=file,file.filename=${escaped(disk.path)},backing.driver=raw,backing.file.driver=file,backing.file.filename=${escaped(base)}`;
  const { stdout } = await run('qemu-io', ['--object', `secret,id=s,file=${escaped(secret)}`, '--image-opts', options, ...commands.flatMap((command) => ['-c', command])]);
  return stdout;
}

const place = fc.tuple(fc.nat(sizeMiB * 256 - 1), fc.integer({ min: 1, max: 64 })).map(([first, count]) => `${first * 4096} ${Math.min(count, sizeMiB * 256 - first) * 4096}`);
const change = fc.oneof(
  fc.tuple(fc.integer({ min: 1, max: 255 }), place).map(([pattern, where]) => `write -P ${pattern} ${where}`),
  place.map((where) => `write -z ${where}`),
  place.map((where) => `discard ${where}`),
);

whereQemu('a copy of a disk', () => {
  it('holds what the disk holds, or held when a state was kept, whatever was written, zeroed and discarded', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 12 }), fc.array(change, { maxLength: 6 }), async (before, after) => {
        const from = await diskOf('from', 1);
        await io(from, before);
        const then = await diskOf('then', 2);
        await copyDisk(program, from, then, null);
        await compareDisks(program, from, then);
        await keepState(program, from, 'ds_1');
        if (after.length > 0) await io(from, after);
        const kept = await diskOf('kept', 3);
        await copyDisk(program, from, kept, 'ds_1');
        await compareDisks(program, then, kept);
        const now = await diskOf('now', 4);
        await copyDisk(program, from, now, null);
        await compareDisks(program, from, now);
      }),
      { seed, numRuns: 3 },
    );
  }, 120_000);

  it('is found out when it differs in one block', async () => {
    const [from, to] = [await diskOf('from', 1), await diskOf('to', 2)];
    await io(from, ['write -P 7 1M 1M']);
    await copyDisk(program, from, to, null);
    await io(to, ['write -P 8 1M 512']);
    await expect(compareDisks(program, from, to)).rejects.toMatchObject({ code: 'image.corrupt' });
  }, 30_000);

  it('is refused of a state that is not kept, of a disk that is damaged, and given up when it is not wanted', async () => {
    const [from, to] = [await diskOf('from', 1), await diskOf('to', 2)];
    await expect(copyDisk(program, from, to, 'ds_9')).rejects.toMatchObject({ code: 'image.disk_mismatch' });
    const cancel = new AbortController();
    const copying = copyDisk(program, from, to, null, cancel.signal);
    cancel.abort(new Error('not wanted'));
    await expect(copying).rejects.toThrow('not wanted');
    const file = await open(from.path, 'r+');
    await file.write(Buffer.alloc(4096, 0xff), 0, 4096, 3 * 65_536);
    await file.close();
    await expect(copyDisk(program, from, to, null)).rejects.toMatchObject({ code: 'image.corrupt' });
  }, 30_000);
});

it('takes no disk whose header leads to another file', async () => {
  const { path } = await diskOf('one', 1);
  await checkDiskHeader(path);
  for (const [offset, bytes] of [[0, [0]], [7, [2]], [15, [0x68]], [79, [4]]] as const) {
    const forged = await diskOf('one', 1);
    const file = await open(forged.path, 'r+');
    await file.write(Buffer.from(bytes), 0, 1, offset);
    await file.close();
    await expect(checkDiskHeader(forged.path)).rejects.toMatchObject({ code: 'image.corrupt' });
  }
});
