import 'reflect-metadata';
import { createLog, limits, runProcess } from '@alcove/base';
import { startFailure } from '@alcove/contracts';
import { assertJobsReady, queueBackend } from '@alcove/jobs';
import { createWorker } from './app';
import { describeConfig, workerConfig } from './config';

runProcess({
  name: 'worker',
  closeMs: limits.http.processCloseMs,
  failure: startFailure,
  start: async () => {
    const config = workerConfig();
    const log = createLog('worker', config.logLevel);
    log.info({ config: describeConfig(config) }, 'starting');
    log.warn('development root key: it lies in a file of this machine');
    await assertJobsReady(queueBackend(config.queue, config.databaseUrl.expose()));
    const worker = await createWorker(config, { log });
    await worker.start();
    log.info('working: jobs are taken, the outbox is dispatched, reconcilers run');
    return { log, close: () => worker.close() };
  },
});
