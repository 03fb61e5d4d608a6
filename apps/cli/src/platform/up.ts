import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { systemClock } from '@alcove/base';
import { inheritedEnvironment } from '../cli.config';
import type { Context } from '../context';
import { CliFailure } from '../failure';
import { withFolderLock } from '../folder-lock';
import type { Settings } from '../home';
import { readLiveStatus, readStatus, type PlatformStatus } from '../supervisor/status-file';
import { stopPlatform } from './down';
import { readable } from './log-lines';
import { tailOf } from './logs';
import { settlePorts } from './ports';

const startTimeoutMs = 120_000;
const pollMs = 50;

export interface Started {
  status: PlatformStatus;
  /** False when it was up already. */
  startedNow: boolean;
}

/** Brings the platform of this home up unless it is; one of another version is replaced, and its rooms go on running meanwhile. Throws CliFailure with the tail of the log. */
export async function startPlatform(context: Context, settings: Settings): Promise<Started> {
  const waiting = (): void => context.progress.say('waiting for another ./alcove that starts or stops this platform');
  return withFolderLock(context.paths.logs, waiting, async () => {
    const running = await readLiveStatus(context.paths.status);
    if (running && running.phase === 'ready' && sameVersion(context, running)) return { status: running, startedNow: false };
    if (running) {
      if (running.phase === 'ready') context.progress.say('the running platform is of another version, driver or domain: restarting it');
      await stopPlatform(context, running);
    }
    return context.progress.step(
      'start the platform',
      async () => ({ status: await launch(context, settings), startedNow: true }),
      ({ status }) => status.url,
    );
  });
}

function sameVersion(context: Context, status: PlatformStatus): boolean {
  const { build, driver, e2bDomain, debugRoom } = context.config;
  const sameDomain = status.e2bDomain?.split(':')[0] === e2bDomain.name && (e2bDomain.port === null || (status.e2bDomain.split(':')[1] ?? '443') === String(e2bDomain.port));
  return status.build === build && status.driver === driver && sameDomain && status.debugRoom === debugRoom;
}

async function launch(context: Context, settings: Settings): Promise<PlatformStatus> {
  await settlePorts(context, settings);
  await rm(context.paths.status, { force: true });
  const logFile = join(context.paths.logs, 'supervisor.log');
  const log = openSync(logFile, 'a', 0o640);
  const main = join(context.config.root, 'dist/apps/cli/src/supervisor/main.js');
  const child = spawn(process.execPath, ['--no-warnings', main], { cwd: '/', detached: true, stdio: ['ignore', log, log], env: inheritedEnvironment({ ALCOVE_HOME: context.config.home, ALCOVE_CACHE: context.config.cache }) });
  closeSync(log);
  const ended = once(child, 'exit').then(([code, signal]) => String(signal ?? code));
  child.unref();
  let how: string | null = null;
  void ended.then((end) => (how = end));
  const deadline = systemClock.monotonic() + startTimeoutMs;
  for (;;) {
    const status = await readLiveStatus(context.paths.status);
    if (status?.phase === 'ready') return status;
    if (how !== null) throw await failure(context, `the supervisor ended (${how})`);
    if (systemClock.monotonic() > deadline) {
      child.kill('SIGTERM');
      throw await failure(context, 'the platform did not become ready');
    }
    await systemClock.sleep(pollMs);
  }
}

/** What was wrong, with the end of the log of the process that is to blame. */
async function failure(context: Context, what: string): Promise<CliFailure> {
  const said = (await readStatus(context.paths.status))?.failure;
  const culprit = said?.service ?? 'supervisor';
  const tail = await tailOf(join(context.paths.logs, `${culprit}.log`), 12);
  const lines = tail.split('\n').map((line) => `  ${readable(line).slice(0, 300)}`);
  return new CliFailure([said?.message ?? what, `the end of ${culprit}.log:`, ...lines].join('\n    '), { mend: './alcove doctor looks at this machine; ./alcove logs shows the whole logs' });
}
