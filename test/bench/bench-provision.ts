import type { ApiClient } from '../../apps/cli/src/api-client';
import type { Bare } from './bare';
import { BenchRoom } from './bench-room';
import { percentile, summarise, target, type Target } from './figures';
import type { BenchOptions, BenchReport } from './report';

/** Create → first answer of the agent, against a cold boot of the same template. */
export async function benchProvision(client: ApiClient, bare: Bare, cloneSafe: boolean, options: BenchOptions): Promise<Pick<BenchReport, 'figures' | 'targets'>> {
  const provision: number[] = [];
  for (let i = 0; i < options.samples; i++) {
    options.say(`room ${i + 1} of ${options.samples}`);
    const { room, ms } = await BenchRoom.create(client, `provision-${i}`);
    provision.push(ms);
    await room.destroy();
  }
  const cold = await bare.coldBoots(options.samples, options.say);
  const times = percentile(cold, 50) / percentile(provision, 50);
  const targets: Target[] = [target('cold boot / provision, p50', times, '>=', cloneSafe ? 8 : 3)];
  return { figures: { 'provision: create → first answer': summarise(provision), 'cold boot → first answer': summarise(cold), 'cold / provision': Math.round(times * 10) / 10 }, targets };
}
