import type { Clock } from '@alcove/base';
import { limits } from '@alcove/base';

/**
 * Runs work with a signal that is aborted after ms, or when `cancel` is. Work that ignores the abort is abandoned `limits.hostAgent.abandonMs` later:
 * the result then rejects with the reason, and `late` gets what the work still came to, so that it can be undone.
 */
export async function withDeadline<T>(
  clock: Clock,
  deadline: { ms: number; reason: () => Error; cancel: AbortSignal; late: (value: T) => void },
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const done = new AbortController();
  const timeout = new AbortController();
  const signal = AbortSignal.any([deadline.cancel, timeout.signal]);
  let abandoned = false;
  clock.sleep(deadline.ms, done.signal).then(() => timeout.abort(deadline.reason()), () => undefined);
  const abandon = new Promise<never>((_resolve, reject) => {
    const giveUp = () => {
      clock.sleep(limits.hostAgent.abandonMs, done.signal).then(
        () => {
          abandoned = true;
          reject(signal.reason as Error);
        },
        () => undefined,
      );
    };
    if (signal.aborted) giveUp();
    else signal.addEventListener('abort', giveUp, { once: true });
  });
  const working = work(signal);
  working.then(
    (value) => {
      if (abandoned) deadline.late(value);
    },
    () => undefined,
  );
  try {
    return await Promise.race([working, abandon]);
  } finally {
    done.abort();
  }
}
