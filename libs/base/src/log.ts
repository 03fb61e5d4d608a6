import pino, { type Logger } from 'pino';

export type Log = Logger;

/** A JSON logger on standard error: standard output belongs to the command's answer. */
export function createLog(name: string, level: string = 'info'): Log {
  return pino({ name, level, base: { name }, redact: ['*.passphrase', '*.entropy', 'keys', '*.keys', 'headers.authorization', '*.headers.authorization'] }, pino.destination(2));
}

/** A logger that says nothing: for tests and the simulator. */
export const silentLog: Log = pino({ level: 'silent' });
