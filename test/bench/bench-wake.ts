import type { ApiClient } from '../../apps/cli/src/api-client';
import type { Bare } from './bare';
import { BenchRoom } from './bench-room';
import { percentile, summarise, target } from './figures';
import type { BenchOptions, BenchReport } from './report';

const crowds = [1, 5, 20];
const fills = [10, 100];

/** A message to a sleeping room → the first byte of its agent's answer, against the VMM driven by a script with no platform, in the same minutes. */
export async function benchWake(client: ApiClient, bare: Bare, options: BenchOptions): Promise<Pick<BenchReport, 'figures' | 'targets'>> {
  const { samples, say } = options;
  const figures: BenchReport['figures'] = {};
  const { room } = await BenchRoom.create(client, 'wake-idle');
  const idle: number[] = [];
  const overhead: number[] = [];
  const alone: number[] = [];
  await room.hibernate();
  // The first wake of a home pays for what is loaded only once: it is not counted.
  await room.wake();
  for (let i = 0; i < samples; i++) {
    say(`idle room, ${i + 1} of ${samples}`);
    await room.hibernate();
    const woken = await room.wake();
    idle.push(woken.firstByteMs);
    overhead.push(woken.wokenMs - woken.hostMs);
    // Taken in turns, so that whatever else this machine does meets both alike.
    alone.push(await bare.resume());
  }
  figures['wake, idle room'] = summarise(idle);
  figures['bare resume'] = summarise(alone);
  figures["control plane's share of a wake"] = summarise(overhead);
  figures['the same message to a running room'] = summarise(await running(room, samples));
  await room.destroy();
  for (const mebibytes of fills) figures[`wake, ${mebibytes} MiB of random bytes in RAM`] = summarise(await filled(client, mebibytes, options));
  for (const size of crowds) figures[`wake, ${size} at once`] = summarise(await crowd(client, size, options));
  const cold = await bare.coldBoots(samples, say);
  figures['cold boot → first answer'] = summarise(cold);
  const targets = [
    target('wake / bare resume, p50', percentile(idle, 50) / percentile(alone, 50), '<=', 1.35),
    target('cold boot / wake, p50', percentile(cold, 50) / percentile(idle, 50), '>=', 20),
    target("control plane's share, p50 ms", percentile(overhead, 50), '<=', 20),
    target("control plane's share, p99 ms", percentile(overhead, 99), '<=', 60),
  ];
  return { figures, targets };
}

async function running(room: BenchRoom, samples: number): Promise<number[]> {
  const taken: number[] = [];
  for (let i = 0; i < samples; i++) taken.push((await room.ask()).firstByteMs);
  return taken;
}

async function filled(client: ApiClient, mebibytes: number, { samples, say }: BenchOptions): Promise<number[]> {
  const { room } = await BenchRoom.create(client, `wake-${mebibytes}`);
  await room.ask(`fill ${mebibytes}`);
  const taken: number[] = [];
  for (let i = 0; i < samples; i++) {
    say(`${mebibytes} MiB of random bytes, ${i + 1} of ${samples}`);
    await room.hibernate();
    taken.push((await room.wake()).firstByteMs);
  }
  await room.destroy();
  return taken;
}

/** Rooms that wake at the same moment; every one of them is a sample. */
async function crowd(client: ApiClient, size: number, { samples, say }: BenchOptions): Promise<number[]> {
  const rooms: BenchRoom[] = [];
  for (let i = 0; i < size; i++) rooms.push((await BenchRoom.create(client, `wake-crowd-${size}-${i}`)).room);
  const taken: number[] = [];
  while (taken.length < samples) {
    say(`${size} at once, ${taken.length} of ${samples}`);
    for (const room of rooms) await room.hibernate();
    const woken = await Promise.all(rooms.map((room) => room.wake()));
    taken.push(...woken.map(({ firstByteMs }) => firstByteMs));
  }
  await Promise.all(rooms.map((room) => room.destroy()));
  return taken;
}
