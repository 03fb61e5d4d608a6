/** Calls back when the signal is aborted, at once when it is already; the result takes the listener off again. */
export function onAbort(signal: AbortSignal | undefined, cancel: (reason: Error) => void): () => void {
  if (!signal) return () => undefined;
  const listener = () => cancel(signal.reason as Error);
  if (signal.aborted) {
    listener();
    return () => undefined;
  }
  signal.addEventListener('abort', listener, { once: true });
  return () => signal.removeEventListener('abort', listener);
}
