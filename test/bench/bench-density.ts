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
  const memory = await memoryOf(platform, ids);
  const guest = memory.map(({ guestMiB }) => guestMiB);
  const vmm = memory.map(({ vmmMiB }) => vmmMiB);
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

interface RoomMemory {
  /** Pages of the template's memory that this guest has written: its own, under every accelerator. */
  guestMiB: number;
  /** All else that only this VM's process holds: its heap, and an emulator's translation cache. */
  vmmMiB: number;
}

/** Read from the kernel (proc(5), smaps): the guest's memory is the one mapping of the template's file `mem`, and its private pages are the anonymous ones. */
async function memoryOf(platform: Platform, ids: Set<string>): Promise<RoomMemory[]> {
  const machines = (await virtualMachines(platform.hostDir)).filter(({ roomId }) => ids.has(roomId));
  if (machines.length !== ids.size) throw new Error(`${machines.length} rooms of ${ids.size} run`);
  return Promise.all(
    machines.map(async ({ pid }) => {
      const mappings = (await readFile(`/proc/${pid}/smaps`, 'utf8')).split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m);
      const guest = mappings.filter((mapping) => /^\S+ \S+ \S+ \S+ \d+ +\S*\/mem$/m.test(mapping.split('\n')[0] ?? ''));
      if (guest.length === 0) throw new Error(`process ${pid} maps no template`);
      const guestKib = guest.reduce((sum, mapping) => sum + kibOf(mapping, ['Anonymous', 'Swap']), 0);
      const allKib = kibOf(mappings.join(''), ['Private_Clean', 'Private_Dirty', 'Swap']);
      return { guestMiB: guestKib / 1024, vmmMiB: (allKib - guestKib) / 1024 };
    }),
  );
}

function kibOf(text: string, fields: string[]): number {
  return [...text.matchAll(/^(\w+): +(\d+) kB/gm)].reduce((sum, [, name = '', value]) => (fields.includes(name) ? sum + Number(value) : sum), 0);
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
