import { execFile } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { systemClock } from '@alcove/base';
import type { ApiClient } from '../../apps/cli/src/api-client';
import { virtualMachines } from '../../apps/cli/src/platform/virtual-machines';
import type { Platform } from './bench.config';
import { BenchRoom } from './bench-room';
import { percentile, summarise, target } from './figures';
import { hostState } from './host-state';
import type { BenchOptions, BenchReport } from './report';

const run = promisify(execFile);
const rooms = 40;
const mebibyte = 2 ** 20;
const settleMs = 10_000;

/** What 40 running idle rooms of one machine cost, and what a sleeping one leaves. */
export async function benchDensity(client: ApiClient, platform: Platform, options: BenchOptions): Promise<Pick<BenchReport, 'figures' | 'targets'>> {
  const made: BenchRoom[] = [];
  const started = performance.now();
  for (let i = 0; i < rooms; i++) {
    options.say(`room ${i + 1} of ${rooms}`);
    made.push((await BenchRoom.create(client, `density-${i}`)).room);
  }
  const createdMs = performance.now() - started;
  for (const room of made) await room.ask();
  options.say('letting them idle');
  await systemClock.sleep(settleMs);
  const ids = new Set(made.map(({ id }) => id));
  const guest = await guestPrivateMiB(platform, ids);
  const whole = await privateMiB(platform, ids);
  const vmm = whole.map((value, index) => value - (guest[index] ?? 0));
  options.say('putting them to sleep');
  for (const room of made) await room.hibernate();
  const processes = (await virtualMachines(platform.hostDir)).filter(({ roomId }) => ids.has(roomId)).length;
  const disk: number[] = [];
  for (const room of made) disk.push(await diskMiB(platform, room.id));
  await Promise.all(made.map((room) => room.destroy()));
  return {
    figures: {
      'rooms running at once': rooms,
      'all created and answered, ms': Math.round(createdMs),
      'guest-private pages of a room, MiB': summarise(guest),
      "the VMM's own memory of a room, MiB": summarise(vmm),
      'disk of a sleeping room, MiB': summarise(disk),
      'processes of sleeping rooms': processes,
    },
    targets: [
      target('guest-private pages of a room, MiB, p99', percentile(guest, 99), '<=', 40),
      target('disk of a sleeping room, MiB, p99', percentile(disk, 99), '<=', 8),
      target('processes of sleeping rooms', processes, '<=', 0),
    ],
  };
}

async function guestPrivateMiB(platform: Platform, ids: Set<string>): Promise<number[]> {
  const { incarnations } = await hostState(platform);
  const figures = incarnations.filter(({ roomId }) => ids.has(roomId)).map(({ guestPrivateBytes }) => guestPrivateBytes);
  const known = figures.filter((bytes): bytes is number => bytes !== undefined);
  if (known.length !== ids.size) throw new Error(`the host told the guest-private pages of ${known.length} rooms of ${ids.size}`);
  return known.map((bytes) => bytes / mebibyte);
}

/** All that a VM process shares with nobody, swapped pages too (proc(5), smaps_rollup). */
async function privateMiB(platform: Platform, ids: Set<string>): Promise<number[]> {
  const machines = (await virtualMachines(platform.hostDir)).filter(({ roomId }) => ids.has(roomId));
  return Promise.all(
    machines.map(async ({ pid }) => {
      const text = await readFile(`/proc/${pid}/smaps_rollup`, 'utf8');
      const kib = [...text.matchAll(/^(?:Private_Clean|Private_Dirty|Swap):\s+(\d+) kB/gm)].reduce((sum, [, value]) => sum + Number(value), 0);
      return kib / 1024;
    }),
  );
}

/** What every file and folder that is named after the room takes on the disk. */
async function diskMiB(platform: Platform, roomId: string): Promise<number> {
  let kib = 0;
  for (const folder of [platform.storeDir, platform.hostDir]) {
    const names = await readdir(folder, { recursive: true });
    const own = names.filter((name) => name.split('/').at(-1)?.includes(roomId));
    const outermost = own.filter((name) => !own.some((other) => other !== name && name.startsWith(`${other}/`)));
    for (const name of outermost) kib += Number((await run('du', ['-sk', join(folder, name)])).stdout.split('\t')[0]);
  }
  return kib / 1024;
}
