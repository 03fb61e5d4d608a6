/** The only source of time. Everything that waits or compares times takes a Clock, so that the simulator can replay a seed. */
export interface Clock {
  /** Wall clock, milliseconds since 1970-01-01 UTC. Steps with the machine's clock: for records, never for deadlines. */
  now(): number;
  /** Monotonic milliseconds from an arbitrary origin: for leases, deadlines and durations. */
  monotonic(): number;
  /** Resolves after ms; rejects with the signal's reason when it is aborted first. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  sleep: (ms, signal) =>
    new Promise<void>((resolve, reject) => {
      if (signal?.aborted) {
        reject(signal.reason as Error);
        return;
      }
      const onAbort = () => {
        clearTimeout(timer);
        reject(signal?.reason as Error);
      };
      const timer = setTimeout(() => {
        signal?.removeEventListener('abort', onAbort);
        resolve();
      }, ms);
      signal?.addEventListener('abort', onAbort, { once: true });
    }),
};
