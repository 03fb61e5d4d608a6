import type { Clock } from '@alcove/base';
import { Problem } from '@alcove/contracts';

/** Does something that is given up, by its signal, with `guest.io` after so many milliseconds. Leaves no timer. */
export async function within<T>(clock: Clock, deadlineMs: number, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const late = new AbortController();
  const done = new AbortController();
  void clock.sleep(deadlineMs, done.signal).then(
    () => late.abort(new Problem('guest.io', { detail: `no answer in ${deadlineMs} ms` })),
    () => undefined,
  );
  try {
    return await work(late.signal);
  } finally {
    done.abort();
  }
}
