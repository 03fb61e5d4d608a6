import 'reflect-metadata';
import { createLog, limits, type Log } from '@alcove/base';
import { BadSettings, isProblem } from '@alcove/contracts';
import { assertJobsReady } from '@alcove/jobs';
import { queueBackend } from './api.module';
import { createApi, type Api } from './app';
import { apiConfig, describeConfig, type ApiConfig } from './config';
import { Metrics } from './door/metrics';

/** EX_TEMPFAIL of sysexits.h: something that this process needs is not there yet; the supervisor starts it again. */
const notReadyExitCode = 75;

function readConfig(): ApiConfig {
  try {
    return apiConfig();
  } catch (error) {
    if (!(error instanceof BadSettings)) throw error;
    process.stderr.write(`api: ${error.message}\n`);
    process.exit(BadSettings.exitCode);
  }
}

function closeOnSignals(api: Api, log: Log): void {
  let closing = false;
  const close = (signal: string): void => {
    if (closing) return;
    closing = true;
    log.info({ signal }, 'closing');
    // A part that hangs must not keep the port: twice the time that calls have, and out.
    setTimeout(() => process.exit(1), 2 * limits.http.closeMs).unref();
    void api.close().then(
      () => process.exit(0),
      (error: unknown) => {
        log.error({ err: error }, 'could not close in order');
        process.exit(1);
      },
    );
  };
  for (const signal of ['SIGTERM', 'SIGINT']) process.once(signal, close);
}

async function main(): Promise<void> {
  const config = readConfig();
  const log = createLog('api', config.logLevel);
  log.info({ config: describeConfig(config) }, 'starting');
  log.warn('development root key: it lies in a file of this machine');
  await assertJobsReady(queueBackend(config));
  const api = await createApi(config, { log });
  api.app.get(Metrics).watchProcess();
  closeOnSignals(api, log);
  const addresses = await api.listen();
  log.info(addresses, 'listening');
}

main().catch((error: unknown) => {
  if (isProblem(error, 'vault.key_unavailable')) {
    process.stderr.write(`api: ALCOVE_ROOT_KEY_FILE: ${error.detail ?? error.code}\n`);
    process.exit(BadSettings.exitCode);
  }
  createLog('api').error({ err: error }, 'not started');
  process.exit(notReadyExitCode);
});
