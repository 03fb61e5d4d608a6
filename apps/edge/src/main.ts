import { createLog, limits, runProcess } from '@alcove/base';
import { startFailure } from '@alcove/contracts';
import { edgeConfig } from './config';
import { createEdge } from './edge';

runProcess({
  name: 'alcove-edge',
  closeMs: limits.http.processCloseMs,
  failure: startFailure,
  start: async () => {
    const config = edgeConfig();
    const log = createLog('edge', config.logLevel);
    const edge = createEdge(config, log);
    const bound = await edge.listen();
    log.info({ ...bound, domain: config.domain }, 'listening');
    if (config.debug) log.warn({ room: config.debug.room }, 'debug listener: the surface of this room is open to every program of this machine');
    process.on('SIGHUP', () => {
      try {
        edge.renewCertificate();
        log.info('the certificate was read again');
      } catch (err) {
        log.error({ err }, 'the certificate cannot be read: the old one is kept');
      }
    });
    // One line for whoever started this process: with port 0 it is the only way to know.
    process.stdout.on('error', () => undefined);
    process.stdout.write(`${JSON.stringify({ listening: bound.edge, debug: bound.debug })}\n`);
    return { log, close: () => edge.close() };
  },
});
