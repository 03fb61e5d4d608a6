import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { inheritedEnvironment, type CliConfig } from '../cli.config';
import { makeContext, type Context } from '../context';
import { exitCodes } from '../failure';
import { installPackages } from '../setup/install-packages';
import { redisNeed } from '../setup/machine-packages';
import { setUp } from '../setup/setup';
import { duration } from '../terminal';
import { startRedis } from './redis';
import { makeToken, softhsmNeeds } from './softhsm';
import { add, nothing, tallyOf, type Tally } from './jest-report';
import { choose, type Suite, type TestFlags } from './suites';

/** Runs the suites that the flags choose, one after the other, and ends with `N passed, N failed, N skipped`. Exit code 1 when anything failed. */
export async function runTests(context: Context, flags: TestFlags & { yes: boolean }): Promise<number> {
  const { chosen, leftOut, reduced } = choose(flags);
  const testContext = makeContext(homeForTests(context.config));
  if (chosen.some((suite) => suite.needsTemplate)) {
    context.progress.title('Set-up');
    await setUp(testContext, { yes: flags.yes });
  }
  const reports = await mkdtemp(join(tmpdir(), 'alcove-reports-'));
  let total = nothing;
  const rows: string[] = [];
  try {
    for (const suite of chosen) {
      context.progress.title(`${suite.name}: ${suite.about}`);
      const started = performance.now();
      const tally = await runSuite(testContext, suite, { reports, flags });
      total = add(total, tally);
      rows.push(`  ${tally.failed > 0 ? '✗' : '✓'} ${suite.name.padEnd(16)} ${sentence(tally).padEnd(40)} ${duration(performance.now() - started)}`);
    }
  } finally {
    await rm(reports, { recursive: true, force: true });
  }
  const less = [
    ...leftOut.map(({ suite, flag }) => `  – ${suite.name.padEnd(16)} left out; it runs ${flag}`),
    ...reduced.map(({ suite, full }) => `  – ${suite.name.padEnd(16)} shortened; with --all ${full}`),
  ];
  context.print(['', ...rows, ...less, ''].join('\n'));
  context.print(sentence(total));
  return total.failed > 0 ? exitCodes.failed : exitCodes.ok;
}

/** Tests never touch the user's data: a home of their own, in the cache because it can be made again. */
export function homeForTests(config: CliConfig): CliConfig {
  return { ...config, home: join(config.cache, 'test-home') };
}

function sentence({ passed, failed, skipped }: Tally): string {
  return `${passed} passed, ${failed} failed, ${skipped} skipped`;
}

async function runSuite(context: Context, suite: Suite, about: { reports: string; flags: TestFlags & { yes: boolean } }): Promise<Tally> {
  if (suite.needsToken) return withToken(context, about.flags.yes, (found) => runWith(context, suite, about, found));
  if (!suite.needsRedis) return runWith(context, suite, about, {});
  await installPackages(context.config, context.progress, about.flags.yes, [redisNeed]);
  const redis = await startRedis();
  try {
    return await runWith(context, suite, about, { TEST_REDIS_PORT: String(redis.port) });
  } finally {
    await redis.stop();
  }
}

async function withToken(context: Context, yes: boolean, use: (environment: Record<string, string>) => Promise<Tally>): Promise<Tally> {
  await installPackages(context.config, context.progress, yes, softhsmNeeds);
  const { environment, remove } = await makeToken(context);
  return use(environment).finally(remove);
}

async function runWith(context: Context, suite: Suite, { reports, flags }: { reports: string; flags: TestFlags }, more: Record<string, string>): Promise<Tally> {
  const { home, cache } = context.config;
  const env = inheritedEnvironment({ ALCOVE_HOME: home, ALCOVE_CACHE: cache, ALCOVE_TEST_HOMES: await folderForHomes(cache), ...(flags.all && { ALCOVE_TEST_ALL: '1' }), ...more });
  if ('program' in suite.run) {
    const code = await run(context, suite.run.program, env);
    return code === 0 ? { ...nothing, passed: 1 } : { ...nothing, failed: 1 };
  }
  const report = join(reports, `${suite.name.replace(/\W+/g, '-')}.json`);
  const { jest, pattern } = suite.run;
  // --forceExit: a test that gave up leaves what it waited for waiting, and would keep the run from its end.
  const words = ['node', '--no-warnings', '--experimental-vm-modules', 'node_modules/jest/bin/jest.js', '--selectProjects', jest, '--passWithNoTests', '--forceExit', '--json', `--outputFile=${report}`];
  words.push(`--maxWorkers=${workers()}`);
  if (pattern) words.push('--testPathPatterns', pattern);
  const code = await run(context, words, env);
  const tally = await tallyOf(report);
  // jest may end badly after a good report: a crash at teardown is a failure all the same.
  return code !== 0 && tally.failed === 0 ? { ...tally, failed: 1 } : tally;
}

/** How many files run at once: one for each processor. No more than four, because each may hold a platform and its VMs. */
function workers(): number {
  return Math.min(4, availableParallelism());
}

/** Where suites make homes: short, because of sockets below, and on the file system of the templates, so that these are linked and not copied. */
async function folderForHomes(cache: string): Promise<string> {
  const [temporary, cached] = await Promise.all([stat(tmpdir()), stat(cache)]);
  return temporary.dev === cached.dev ? tmpdir() : join(cache, 'h');
}

async function run(context: Context, words: string[], env: Record<string, string>): Promise<number> {
  const [program = '', ...args] = words;
  // jest prints its report as JSON on standard output too; what a person reads is on standard error.
  const child = spawn(program, args, { cwd: context.config.root, env, stdio: ['ignore', args.includes('--json') ? 'ignore' : 'inherit', 'inherit'] });
  const [code] = (await once(child, 'exit')) as [number | null];
  return code ?? 1;
}

/** Type check and house rules only. */
export async function lint(context: Context): Promise<number> {
  const env = inheritedEnvironment();
  const types = await run(context, ['node', 'node_modules/typescript/bin/tsc', '--noEmit', '-p', 'tsconfig.json'], env);
  const rules = await run(context, ['node', '--no-warnings', '--experimental-vm-modules', 'node_modules/jest/bin/jest.js', '--selectProjects', 'unit', '--testPathPatterns', 'test/tidy'], env);
  return types === 0 && rules === 0 ? exitCodes.ok : exitCodes.failed;
}
