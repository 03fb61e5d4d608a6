import type { Clock } from '@alcove/base';
import type { ExecEvent, ExecRequest } from '@alcove/contracts';
import { commandEvents } from './command';
import type { FieldList } from './fields';
import type { Mux } from './mux';
import type { GuestStream } from './stream';

function execFields(request: ExecRequest): FieldList {
  const words = typeof request.command === 'string' ? ['bash', '-lc', request.command] : request.command;
  const fields: [string, string | number][] = [['svc', 'exec']];
  for (const word of words) fields.push(['arg', word]);
  for (const [name, value] of Object.entries(request.env ?? {})) fields.push(['env', `${name}=${value}`]);
  if (request.cwd !== undefined) fields.push(['cwd', request.cwd]);
  if (request.user !== undefined) fields.push(['user', request.user]);
  fields.push(['timeoutMs', request.timeoutMs], ['outputLimit', request.outputBytes]);
  if (request.stdin !== undefined) fields.push(['stdin', 1]);
  return fields;
}

/**
 * Runs a command: `start`, then output as it comes, then `exit`. Starts with the first next(); leaving the loop early, or aborting the signal, kills the process group.
 * Problems: `exec.not_found`, `file.*` (the working directory), `request.invalid`, `guest.io` when the command outlives its timeout; aborted: the signal's reason.
 */
export function exec(mux: Mux, clock: Clock, request: ExecRequest, signal: AbortSignal): AsyncGenerator<ExecEvent, void, void> {
  const { outputBytes, timeoutMs } = request;
  return commandEvents(mux, { fields: execFields(request), signal, feed: (stream) => feed(stream, request.stdin), outputBytes, patience: { clock, timeoutMs } });
}

function feed(stream: GuestStream, stdin: string | undefined): void {
  // A failure is the stream's, and reaches the generator by its own way.
  void stream.send(Buffer.from(stdin ?? '', 'utf8')).then(
    () => stream.end(),
    () => undefined,
  );
}
