/** `./alcove bench NAME` runs this, for most names against a platform that it has brought up: bench NAME [--samples N] [--json]. Exit code 1 when a target is missed. */
import type { ApiClient } from '../../apps/cli/src/api-client';
import { freshTenant } from '../../apps/cli/src/platform/development-key';
import { openBare } from './bare';
import { benchDensity } from './bench-density';
import { benchE2b } from './bench-e2b';
import { benchHibernate } from './bench-hibernate';
import { benchMemory } from './bench-memory';
import { benchProvision } from './bench-provision';
import { benchVault } from './bench-vault';
import { benchVectorPrivacy } from './bench-vector-privacy';
import { benchWake } from './bench-wake';
import { platformUnderTest, type Platform } from './bench.config';
import { describeMachine } from './machine';
import { describe, type BenchOptions, type BenchReport } from './report';

const generous = { ratePerSecond: 10_000, concurrent: 1000 };

async function main(name: string, samples: number, json: boolean): Promise<number> {
  const machine = describeMachine();
  const options: BenchOptions = { samples, say: (line) => void process.stderr.write(process.stderr.isTTY ? `\r\x1b[2K  · ${line}` : '') };
  const found = await byItself(name, options);
  if (process.stderr.isTTY) process.stderr.write('\r\x1b[2K');
  const report: BenchReport = { name, machine, ...found };
  process.stdout.write(json ? `${JSON.stringify(report, null, 2)}\n` : describe(report));
  return report.targets.every((one) => one.ok) ? 0 : 1;
}

/** What needs no platform runs without. */
async function byItself(name: string, options: BenchOptions): Promise<Pick<BenchReport, 'figures' | 'targets'>> {
  if (name === 'vector-privacy') return benchVectorPrivacy(process.cwd(), options);
  if (name === 'memory') return benchMemory(process.cwd(), options);
  return name === 'vault' ? benchVault(options) : onPlatform(name, options);
}

async function onPlatform(name: string, options: BenchOptions): Promise<Pick<BenchReport, 'figures' | 'targets'>> {
  const platform = platformUnderTest();
  const client = await freshTenant(platform.url, platform, 'bench', generous);
  const { figures, targets } = await measure(name, platform, client, options).finally(() => destroyAll(client));
  return { figures: { ...figures, accelerator: platform.accelerator, driver: platform.driver }, targets };
}

/** Nothing of a benchmark stays, also after one that failed. */
async function destroyAll(client: ApiClient): Promise<void> {
  for await (const room of client.rooms()) if (room.wanted !== 'gone') await client.destroyRoom(room.id).catch(() => undefined);
}

async function measure(name: string, platform: Platform, client: ApiClient, options: BenchOptions): Promise<Pick<BenchReport, 'figures' | 'targets'>> {
  if (name === 'hibernate') return benchHibernate(client, platform.template.cloneSafe, options);
  if (name === 'density') return benchDensity(client, platform, options);
  if (name === 'e2b') return benchE2b(client, platform, options);
  const bare = await openBare(platform);
  try {
    if (name === 'wake') return await benchWake(client, bare, options);
    if (name === 'provision') return await benchProvision(client, bare, platform.template.cloneSafe, options);
  } finally {
    await bare.close();
  }
  throw new Error(`there is no benchmark called ${name}`);
}

const [name = '', samples = '30', form = ''] = process.argv.slice(2);
main(name, Number(samples), form === 'json').then(
  (code) => process.exit(code),
  (error: unknown) => {
    process.stderr.write(`\n${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
    process.exit(70);
  },
);
