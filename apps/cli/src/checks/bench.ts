import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { TemplateStore } from '@alcove/runtime';
import { inheritedEnvironment } from '../cli.config';
import type { Context } from '../context';
import { CliFailure, exitCodes } from '../failure';
import { stopPlatform } from '../platform/down';
import { startPlatform } from '../platform/up';
import { readSettingsFile } from '../home';
import { tlsFiles } from '../setup/certificates';
import { setUp } from '../setup/setup';
import type { PlatformStatus } from '../supervisor/status-file';
import { table } from '../terminal';

export const benchmarks: Record<string, string> = {
  wake: 'a message to a sleeping room → the first byte of its answer; idle, with 10 and 100 MiB in RAM, 1, 5 and 20 at once; against the bare VMM and a cold boot',
  hibernate: 'the size of a sleeping room, how long its guest stands still, how long until its image is durable',
  provision: 'a new room → its first answer, against a cold boot',
  density: 'memory of 40 running idle rooms, disk of sleeping ones',
  e2b: "create, run, write, read, pause and connect through E2B's SDK, against the same through /v1; 100 commands at once in one room",
  vault: 'sealing and opening 4 KiB, 64 KiB and 1 MiB against bare AES-256-GCM in the same run, wraps of keys per second; no platform needed',
  memory: 'remember and search at 1 000, 10 000 and 100 000 records of 384 dimensions, first and later, recall, RAM, the sealed scan against a plain one; a database of its own, no platform needed',
  'vector-privacy': 'what the transform of vectors before Qdrant costs in recall, and how many known pairs undo it; figures without targets, no platform needed',
};
const withoutPlatform = new Set(['memory', 'vault', 'vector-privacy']);

/** Runs one benchmark against a platform, if it needs one, that it brings up (and stops again if it did). Without a name: lists them. Exit code 1 when a target is missed. */
export async function runBenchmark(context: Context, name: string | undefined, options: { samples: number; json: boolean; yes: boolean }): Promise<number> {
  if (name === undefined) {
    if (options.json) context.print(JSON.stringify({ benchmarks }, null, 2));
    else context.print(table([['name', 'what it measures'], ...Object.entries(benchmarks)], context.style));
    return exitCodes.ok;
  }
  if (!(name in benchmarks)) throw new CliFailure(`there is no benchmark called ${name}`, { mend: `one of ${Object.keys(benchmarks).join(', ')}`, exitCode: exitCodes.usage });
  if (withoutPlatform.has(name)) return run(context, name, options, {});
  if (context.config.driver === 'fake') throw new CliFailure('figures of the fake driver mean nothing', { mend: 'unset ALCOVE_DRIVER', exitCode: exitCodes.usage });
  const { status, startedNow } = await startPlatform(context, await setUp(context, { yes: options.yes }));
  const stop = async (): Promise<void> => {
    if (startedNow) await context.progress.step('stop the platform', () => stopPlatform(context, status));
  };
  const settled = context.onInterrupt('the platform', stop);
  try {
    return await run(context, name, options, await platformUnderTest(context, status));
  } finally {
    settled();
    await stop();
  }
}

async function run({ config }: Context, name: string, options: { samples: number; json: boolean }, platform: Record<string, unknown>): Promise<number> {
  const args = ['--no-warnings', join(config.root, 'dist/test/bench/main.js'), name, String(options.samples), options.json ? 'json' : 'text'];
  const child = spawn(process.execPath, args, { stdio: 'inherit', cwd: config.root, env: inheritedEnvironment({ ALCOVE_BENCH: JSON.stringify(platform) }) });
  const [code] = (await once(child, 'exit')) as [number | null];
  return code ?? exitCodes.failed;
}

/** What test/bench/bench.config.ts reads. */
async function platformUnderTest(context: Context, { url, e2bDomain }: PlatformStatus): Promise<Record<string, unknown>> {
  const { config, paths } = context;
  const settings = await readSettingsFile(paths);
  const template = await new TemplateStore(paths.store).newest('default');
  if (!settings || !template) throw new CliFailure('there is no default template', { mend: './alcove setup' });
  return {
    url,
    platformKey: settings.platformKey,
    home: paths.home,
    storeDir: paths.store,
    hostDir: paths.host,
    cache: config.cache,
    template: { id: template.manifest.id, folder: template.folder, cloneSafe: template.manifest.cloneSafe },
    accelerator: template.manifest.engine.accelerator,
    driver: config.driver,
    asRoot: config.asRoot,
    edge: { domain: e2bDomain ?? '', caFile: tlsFiles(paths.tls, 'edge').ca },
  };
}
