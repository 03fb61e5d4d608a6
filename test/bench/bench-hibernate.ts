import type { ApiClient } from '../../apps/cli/src/api-client';
import { BenchRoom, type Sleep } from './bench-room';
import { percentile, summarise, target } from './figures';
import type { BenchOptions, BenchReport } from './report';

const mebibyte = 2 ** 20;
const filledMiB = 10;
/** Ten incompressible mebibytes, and what holding them costs: the page table, the agent's own pages, sealing. */
const grownMiB = 10.5;

/** How large a sleeping room is, how long its guest stands still, and how long until the image is durable. */
export async function benchHibernate(client: ApiClient, cloneSafe: boolean, options: BenchOptions): Promise<Pick<BenchReport, 'figures' | 'targets'>> {
  const { samples, say } = options;
  const first: Sleep[] = [];
  const second: Sleep[] = [];
  const filled: Sleep[] = [];
  for (let i = 0; i < samples; i++) {
    say(`room ${i + 1} of ${samples}`);
    const { room } = await BenchRoom.create(client, `hibernate-${i}`);
    first.push(await room.hibernate());
    await room.wake();
    second.push(await room.hibernate());
    await room.wake();
    await room.ask(`fill ${filledMiB}`);
    filled.push(await room.hibernate());
    await room.destroy();
  }
  const mib = (sleeps: Sleep[]): number[] => sleeps.map(({ bytes }) => bytes / mebibyte);
  const growth = filled.map(({ bytes }, index) => (bytes - (second[index]?.bytes ?? 0)) / mebibyte);
  const stall = first.concat(second).map(({ stallMs }) => stallMs);
  return {
    figures: {
      'image of an idle room, MiB': summarise(mib(first)),
      'image after a wake that changed little, MiB': summarise(mib(second)),
      [`image with ${filledMiB} MiB of random bytes, MiB`]: summarise(mib(filled)),
      'guest stands still, idle room': summarise(stall),
      [`guest stands still, ${filledMiB} MiB of random bytes`]: summarise(filled.map(({ stallMs }) => stallMs)),
      'until durable, idle room': summarise(first.map(({ durableMs }) => durableMs)),
      'until durable, second time': summarise(second.map(({ durableMs }) => durableMs)),
      'whole call, idle room': summarise(first.map(({ ms }) => ms)),
    },
    targets: [
      target(`image of an idle room${cloneSafe ? ' (clone-safe)' : ''}, MiB, p50`, percentile(mib(first), 50), '<=', cloneSafe ? 1 : 4),
      target(`image grows by, with ${filledMiB} MiB of random bytes, MiB, p50`, percentile(growth, 50), '<=', grownMiB),
      target('guest stands still, idle, ms, p50', percentile(stall, 50), '<=', 60),
      target('second image / first, p50', percentile(mib(second), 50) / percentile(mib(first), 50), '<=', 1.25),
    ],
  };
}
