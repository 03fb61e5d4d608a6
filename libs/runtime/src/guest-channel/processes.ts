import { limits } from '@alcove/base';
import type { ExecEvent, ProcessInfo, ProcessStart, TerminalSize } from '@alcove/contracts';
import type { ProcessName } from '../guest-session';
import { converse, order } from './ask';
import { commandEvents } from './command';
import { Deferred } from './deferred';
import type { Fields } from './fields';
import { given } from './given';
import type { Mux } from './mux';
import { onAbort } from './on-abort';
import { beyond, broken } from './problems';

type Pair = [string, string | number];

const userBytesMax = 256;
/** A tag that the host gave has at most so many bytes as UTF-8. */
const tagBytesMax = 4 * limits.exec.tagChars;

/** Starts with the first next(). Leaving the loop early, or aborting the signal, only ends the listening. Problems as exec's. */
export function startProcess(mux: Mux, start: ProcessStart, signal: AbortSignal): AsyncGenerator<ExecEvent, void, void> {
  const fields: Pair[] = [['svc', 'exec'], ...start.command.map((word): Pair => ['arg', word])];
  for (const [name, value] of Object.entries(start.env ?? {})) fields.push(['env', `${name}=${value}`]);
  fields.push(...given('cwd', start.cwd), ...given('user', start.user), ...given('timeoutMs', start.timeoutMs || undefined), ...given('stdin', start.stdin));
  fields.push(['keep', 1], ...given('tag', start.tag), ...given('pty', start.pty && size(start.pty)));
  return commandEvents(mux, { fields, signal, feed: (stream) => stream.end() });
}

/** Problem `exec.not_found`. */
export function attachProcess(mux: Mux, which: ProcessName, signal: AbortSignal): AsyncGenerator<ExecEvent, void, void> {
  return commandEvents(mux, { fields: [['svc', 'attach'], ...named(which)], signal, feed: (stream) => stream.end() });
}

export async function listProcesses(mux: Mux, signal: AbortSignal): Promise<ProcessInfo[]> {
  const found: ProcessInfo[] = [];
  let bytes = 0;
  const onMessage = (message: Fields) => {
    bytes += message.bytes;
    if (found.length === limits.guest.processes || bytes > limits.guest.listBytes) throw beyond('a list of too many processes');
    found.push(decodeProcess(message));
  };
  await converse(mux, { fields: [['svc', 'processes']], asked: 'exec', signal }, onMessage, () => undefined);
  return found;
}

/** Resolves when the guest has said that the process took everything. Problems `exec.not_found`, `request.invalid`. */
export function writeProcess(mux: Mux, which: ProcessName, data: Buffer, close: boolean, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  const taken = new Deferred<void>();
  let unlisten = () => {};
  const stream = mux.open(
    [['svc', 'input'], ...named(which), ...given('close', close)],
    {
      answers: 'messages',
      readable: () => undefined,
      message: () => {
        throw broken('an answer where there is none');
      },
      ended: () => {
        if (!stream.hostEnded) throw broken('input that was taken before it was sent');
        unlisten();
        taken.resolve();
      },
      failed: (error) => {
        unlisten();
        taken.reject(error);
      },
    },
    'exec',
  );
  unlisten = onAbort(signal, (reason) => stream.cancel(reason));
  // A failure is the stream's, and reaches the caller by its own way.
  void stream.send(data).then(
    () => stream.end(),
    () => undefined,
  );
  return taken.promise;
}

/** Problem `exec.not_found`. */
export function signalProcess(mux: Mux, which: ProcessName, number: number, signal: AbortSignal): Promise<void> {
  return order(mux, { fields: [['svc', 'signal'], ...named(which), ['signal', number]], asked: 'exec', signal });
}

/** Problems `exec.not_found`, `request.invalid`. */
export function resizeProcess(mux: Mux, which: ProcessName, to: TerminalSize, signal: AbortSignal): Promise<void> {
  return order(mux, { fields: [['svc', 'resize'], ...named(which), ['pty', size(to)]], asked: 'exec', signal });
}

function named(which: ProcessName): Pair[] {
  return 'pid' in which ? [['pid', which.pid]] : [['tag', which.tag]];
}

function size({ cols, rows }: TerminalSize): string {
  return `${cols}x${rows}`;
}

function decodeProcess(message: Fields): ProcessInfo {
  return {
    pid: message.integer('pid'),
    tag: message.optional('tag', tagBytesMax) ?? null,
    command: message.all('arg'),
    env: message.pairs('env'),
    cwd: message.optional('cwd', limits.files.pathBytes) ?? null,
    user: message.text('user', userBytesMax),
    pty: message.flag('pty'),
  };
}
