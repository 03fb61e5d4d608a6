import type { LoggerService } from '@nestjs/common';
import type { Log } from '@alcove/base';

/** Nest's own words, in our log: what it says at start is of interest to developers only. */
export function nestLog(log: Log): LoggerService {
  const say = (level: 'debug' | 'warn' | 'error') => (message: unknown, ...context: unknown[]) => {
    if (message instanceof Error) log[level]({ err: message, nest: context.at(-1) }, message.message);
    else log[level]({ nest: context.at(-1) }, String(message));
  };
  return { log: say('debug'), debug: say('debug'), verbose: say('debug'), warn: say('warn'), error: say('error'), fatal: say('error') };
}
