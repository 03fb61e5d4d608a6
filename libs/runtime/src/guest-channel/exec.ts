import { limits, type Clock } from '@alcove/base';
import { Problem, type ExecEvent, type ExecRequest } from '@alcove/contracts';
import type { FieldList, Fields } from './fields';
import { lanes } from './frames';
import type { Mux } from './mux';
import { onAbort } from './on-abort';
import { broken, ended, signalName } from './problems';
import type { GuestStream } from './stream';
import { Wake } from './wake';

type Exit = Extract<ExecEvent, { event: 'exit' }>;

/** What one command has told so far. Filled by the channel's events, emptied by the generator. */
class ExecState {
  readonly changed = new Wake();
  pid: number | undefined;
  exit: Exit | undefined;
  ended = false;
  failure: Error | undefined;

  /** First `pid`, later `exit` or `signal`; anything else breaks the protocol. */
  take(message: Fields): void {
    if (this.pid === undefined) this.pid = message.integer('pid');
    else if (this.exit === undefined) this.exit = decodeExit(message);
    else throw broken('a command that exits twice');
    this.changed.notify();
  }

  takeEnd(): void {
    if (!this.exit) throw broken('a command that ends without an exit');
    this.ended = true;
    this.changed.notify();
  }

  fail(error: Error): void {
    this.failure = error;
    this.changed.notify();
  }
}

function decodeExit(message: Fields): Exit {
  const killed = message.has('signal');
  return {
    event: 'exit',
    exitCode: killed ? null : message.integer('exit'),
    signal: killed ? signalName(message.integer('signal')) : null,
    timedOut: message.flag('timedOut'),
    truncated: message.flag('truncated'),
  };
}

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
export async function* exec(mux: Mux, clock: Clock, request: ExecRequest, signal: AbortSignal): AsyncGenerator<ExecEvent, void, void> {
  signal.throwIfAborted();
  const state = new ExecState();
  const stream = mux.open(
    execFields(request),
    {
      answers: 'bytes-and-stderr',
      readable: () => state.changed.notify(),
      message: (message) => state.take(message),
      ended: () => state.takeEnd(),
      failed: (error) => state.fail(error),
    },
    'exec',
  );
  const unlisten = onAbort(signal, (reason) => {
    state.failure ??= reason;
    stream.cancel(reason);
  });
  try {
    feed(stream, request.stdin);
    yield* events(state, stream, request, clock);
  } finally {
    unlisten();
    stream.cancel(ended('the command was left'));
  }
}

function feed(stream: GuestStream, stdin: string | undefined): void {
  // A failure is the stream's, and reaches the generator by its own way.
  void stream.send(Buffer.from(stdin ?? '', 'utf8')).then(
    () => stream.end(),
    () => undefined,
  );
}

async function* events(state: ExecState, stream: GuestStream, request: ExecRequest, clock: Clock): AsyncGenerator<ExecEvent, void, void> {
  const deadline = clock.monotonic() + request.timeoutMs;
  let started = false;
  let room = request.outputBytes;
  for (;;) {
    if (state.failure) throw state.failure;
    if (!started && state.pid !== undefined) {
      started = true;
      yield { event: 'start', pid: state.pid };
      continue;
    }
    const piece = started ? stream.read() : undefined;
    if (piece) {
      room -= piece.bytes.length;
      if (room < 0) throw new Problem('guest.limit', { detail: 'the command gave more output than its limit' });
      yield { event: piece.lane === lanes.stderr ? 'stderr' : 'stdout', data: piece.bytes.toString('base64') };
    } else if (state.ended && state.exit) {
      yield state.exit;
      return;
    } else {
      await waitUntil(state, clock, deadline);
    }
  }
}

/** The guest ends a command that outlives its timeout; the host's own patience is for a guest that does not. A slow reader of the output does not count. */
async function waitUntil(state: ExecState, clock: Clock, deadline: number): Promise<void> {
  const patience = new AbortController();
  const tooLate = clock.sleep(Math.max(0, deadline - clock.monotonic()) + limits.guest.execGraceMs, patience.signal).then(
    () => state.fail(new Problem('guest.io', { detail: 'the command was not ended after its timeout' })),
    () => undefined,
  );
  await state.changed.wait();
  patience.abort();
  await tooLate;
}
