/** `./alcove bench NAME` runs this against a platform that it has brought up: bench NAME [--samples N] [--json]. Exit code 1 when a target is missed. */
import { freshTenant } from '../../apps/cli/src/platform/development-key';
import { openBare } from './bare';
import { benchDensity } from './bench-density';
import { benchHibernate } from './bench-hibernate';
import { benchProvision } from './bench-provision';
import { benchWake } from './bench-wake';
import { platformUnderTest } from './bench.config';
import { describeMachine } from './machine';
import { describe, type BenchOptions, type BenchReport } from './report';

const generous = { ratePerSecond: 10_000, concurrent: 1000 };

async function main(name: string, samples: number, json: boolean): Promise<number> {
  const platform = platformUnderTest();
  const machine = describeMachine();
  const client = await freshTenant(platform.url, platform, 'bench', generous);
  const options: BenchOptions = { samples, say: (line) => void process.stderr.write(process.stderr.isTTY ? `\r\x1b[2K  · ${line}` : '') };
  const bare = await openBare();
  let found: Pick<BenchReport, 'figures' | 'targets'>;
  try {
    if (name === 'wake') found = await benchWake(client, bare, options);
    else if (name === 'hibernate') found = await benchHibernate(client, platform.template.cloneSafe, options);
    else if (name === 'provision') found = await benchProvision(client, bare, platform.template.cloneSafe, options);
    else if (name === 'density') found = await benchDensity(client, platform, options);
    else throw new Error(`there is no benchmark called ${name}`);
  } finally {
    await bare.close();
  }
  if (process.stderr.isTTY) process.stderr.write('\r\x1b[2K');
  const report: BenchReport = { name, machine, figures: { ...found.figures, accelerator: platform.accelerator, driver: platform.driver }, targets: found.targets };
  process.stdout.write(json ? `${JSON.stringify(report, null, 2)}\n` : describe(report));
  return report.targets.every((one) => one.ok) ? 0 : 1;
}

const [name = '', samples = '30', form = ''] = process.argv.slice(2);
main(name, Number(samples), form === 'json').then(
  (code) => process.exit(code),
  (error: unknown) => {
    process.stderr.write(`\n${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
    process.exit(70);
  },
);
