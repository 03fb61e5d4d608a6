import 'reflect-metadata';
import { createLog, limits, runProcess } from '@alcove/base';
import { startFailure } from '@alcove/contracts';
import { assertJobsReady, queueBackend } from '@alcove/jobs';
import { createApi } from './app';
import { apiConfig, describeConfig } from './config';
import { Metrics } from './door/metrics';

runProcess({
  name: 'api',
  closeMs: limits.http.processCloseMs,
  failure: startFailure,
  start: async () => {
    const config = apiConfig();
    const log = createLog('api', config.logLevel);
    log.info({ config: describeConfig(config) }, 'starting');
    log.warn('development root key: it lies in a file of this machine');
    await assertJobsReady(queueBackend(config.queue, config.databaseUrl.expose()));
    const api = await createApi(config, { log });
    api.app.get(Metrics).watchProcess();
    log.info(await api.listen(), 'listening');
    return { log, close: () => api.close() };
  },
});
