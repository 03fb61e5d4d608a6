import { limits } from '@alcove/base';
import type { FileChange } from '@alcove/contracts';
import type { FileRights } from '../guest-session';
import type { Fields } from './fields';
import { given } from './given';
import type { Mux } from './mux';
import { onAbort } from './on-abort';
import { beyond, broken, ended } from './problems';
import { Wake } from './wake';

const changes: readonly FileChange['change'][] = ['create', 'write', 'remove', 'rename', 'chmod'];

/** What one watch has told and nobody has taken yet. */
class WatchState {
  readonly changed = new Wake();
  readonly waiting: FileChange[] = [];
  stands = false;
  failure: Error | undefined;
  #bytes = 0;

  /** False: more is waiting than is kept. */
  take(message: Fields): boolean {
    this.changed.notify();
    if (!this.stands) {
      this.stands = true;
      return true;
    }
    const change = decodeChange(message);
    this.#bytes += change.name.length;
    if (this.waiting.length === limits.files.watchQueue || this.#bytes > limits.guest.listBytes) return false;
    this.waiting.push(change);
    return true;
  }

  shift(): FileChange | undefined {
    const change = this.waiting.shift();
    this.#bytes -= change?.name.length ?? 0;
    return change;
  }

  fail(error: Error): void {
    this.failure ??= error;
    this.changed.notify();
  }
}

function decodeChange(message: Fields): FileChange {
  const change = changes.find((name) => name === message.text('change', 16));
  if (!change) throw broken('a change of an unknown kind');
  return { name: message.text('name', limits.files.pathBytes), change };
}

/** GuestSession.watchFiles. Starts with the first next(); leaving the loop ends the watch. What a slow listener has not taken when the guest ends the watch is lost with it. */
export async function* watchFiles(mux: Mux, path: string, { recursive, user, owner }: FileRights & { recursive: boolean }, signal: AbortSignal): AsyncGenerator<FileChange | null, void, void> {
  signal.throwIfAborted();
  const state = new WatchState();
  const stream = mux.open(
    [['svc', 'watch'], ['path', path], ...given('recursive', recursive), ...given('user', user), ...given('owner', owner)],
    {
      answers: 'messages',
      readable: () => undefined,
      message: (message) => {
        if (!state.take(message)) stream.cancel(beyond('more changes than are kept'));
      },
      ended: () => {
        throw broken('a watch that ends by itself');
      },
      failed: (error) => state.fail(error),
    },
    'watch',
  );
  const unlisten = onAbort(signal, (reason) => {
    state.fail(reason);
    stream.cancel(reason);
  });
  try {
    stream.end();
    yield* told(state);
  } finally {
    unlisten();
    stream.cancel(ended('the watch was left'));
  }
}

async function* told(state: WatchState): AsyncGenerator<FileChange | null, void, void> {
  let stands = false;
  for (;;) {
    if (state.failure) throw state.failure;
    const change = stands ? state.shift() : null;
    if (!stands && state.stands) {
      stands = true;
      yield null;
    } else if (change) yield change;
    else await state.changed.wait();
  }
}
