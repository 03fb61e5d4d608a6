import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { open, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { errorCode } from '@alcove/base';
import type { Context } from '../context';
import { CliFailure, exitCodes } from '../failure';
import { readable } from './log-lines';

export const logNames = ['supervisor', 'postgres', 'keys', 'api', 'worker', 'host', 'edge'] as const;
const tailBytes = 64 << 10;

/** The last lines of a file; empty when it is not there. */
export async function tailOf(path: string, lines: number): Promise<string> {
  try {
    const file = await open(path, 'r');
    try {
      const { size } = await file.stat();
      const from = Math.max(0, size - tailBytes);
      const { buffer, bytesRead } = await file.read(Buffer.alloc(size - from), 0, size - from, from);
      return buffer.subarray(0, bytesRead).toString().trimEnd().split('\n').slice(-lines).join('\n');
    } finally {
      await file.close();
    }
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return '';
    throw error;
  }
}

/** Prints the end of the logs, and goes on with what is added when follow is set. */
export async function showLogs(context: Context, service: string | undefined, options: { follow: boolean; lines: number; raw: boolean }): Promise<void> {
  const names: string[] = service === undefined ? [...logNames] : [service];
  if (!names.every((name) => (logNames as readonly string[]).includes(name))) {
    throw new CliFailure(`there is no log called ${service}`, { mend: `one of ${logNames.join(', ')}`, exitCode: exitCodes.usage });
  }
  const files: string[] = [];
  for (const name of names) {
    const file = join(context.paths.logs, `${name}.log`);
    if (await stat(file).catch(() => null)) files.push(file);
  }
  if (files.length === 0) throw new CliFailure('there are no logs yet', { mend: './alcove up starts the platform' });
  // `tail` follows many files at once and survives their being cut; nothing to gain by writing it again.
  const child = spawn('tail', ['-n', String(options.lines), ...(options.follow ? ['-F'] : []), ...files], { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(child, 'exit');
  for await (const line of createInterface({ input: child.stdout })) context.print(options.raw ? line : readable(line));
  await ended;
}
