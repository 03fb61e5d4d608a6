import { limits, type Clock } from '@alcove/base';
import { Problem, type ExecEvent } from '@alcove/contracts';
import type { FieldList, Fields } from './fields';
import { lanes } from './frames';
import type { Mux } from './mux';
import { onAbort } from './on-abort';
import { broken, ended, signalName } from './problems';
import type { GuestStream } from './stream';
import { Wake } from './wake';

type Exit = Extract<ExecEvent, { event: 'exit' }>;

/** What one command has told so far. Filled by the channel's events, emptied by the generator. */
class CommandState {
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

export interface CommandStream {
  fields: FieldList;
  signal: AbortSignal;
  /** Called once the stream is open: gives the command its input, and ends the host's side. */
  feed: (stream: GuestStream) => void;
  /** More output than this, in bytes, is `guest.limit`. Absent: any amount. */
  outputBytes?: number;
  /** How long the command may take, in milliseconds, before the host is surprised. Absent: for ever. */
  patience?: { clock: Clock; timeoutMs: number };
}

/** The stream of a command in the guest as its events: `start`, then output as it comes, then `exit`. Leaving the loop early, or aborting the signal, resets the stream. */
export async function* commandEvents(mux: Mux, order: CommandStream): AsyncGenerator<ExecEvent, void, void> {
  order.signal.throwIfAborted();
  const state = new CommandState();
  const stream = mux.open(
    order.fields,
    {
      answers: 'bytes-and-stderr',
      readable: () => state.changed.notify(),
      message: (message) => state.take(message),
      ended: () => state.takeEnd(),
      failed: (error) => state.fail(error),
    },
    'exec',
  );
  const unlisten = onAbort(order.signal, (reason) => {
    state.failure ??= reason;
    stream.cancel(reason);
  });
  try {
    order.feed(stream);
    yield* events(state, stream, order);
  } finally {
    unlisten();
    stream.cancel(ended('the command was left'));
  }
}

async function* events(state: CommandState, stream: GuestStream, { outputBytes, patience }: CommandStream): AsyncGenerator<ExecEvent, void, void> {
  const deadline = patience && patience.clock.monotonic() + patience.timeoutMs;
  let started = false;
  let room = outputBytes ?? Infinity;
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
    } else if (patience && deadline !== undefined) {
      await waitUntil(state, patience.clock, deadline);
    } else {
      await state.changed.wait();
    }
  }
}

/** The guest ends a command that outlives its timeout; the host's own patience is for a guest that does not. A slow reader of the output does not count. */
async function waitUntil(state: CommandState, clock: Clock, deadline: number): Promise<void> {
  const patience = new AbortController();
  const tooLate = clock.sleep(Math.max(0, deadline - clock.monotonic()) + limits.guest.execGraceMs, patience.signal).then(
    () => state.fail(new Problem('guest.io', { detail: 'the command was not ended after its timeout' })),
    () => undefined,
  );
  await state.changed.wait();
  patience.abort();
  await tooLate;
}
