import { Readable } from 'node:stream';
import { limits, type Clock } from '@alcove/base';

/** The headers of an event stream; the second keeps nginx from collecting the events. */
export const eventStreamHeaders = { 'content-type': 'text/event-stream', 'x-accel-buffering': 'no' };

/** One server-sent event. `data` is sent as JSON, which never holds a line break. */
export interface SseEvent {
  readonly event: string;
  readonly data: unknown;
  readonly id?: string;
}

/** The event as the wire has it (WHATWG HTML, "Server-sent events"). */
export function encodeEvent({ event, data, id }: SseEvent): string {
  return `${id === undefined ? '' : `id: ${id}\n`}event: ${event}\ndata: ${JSON.stringify(data)}\n\n`;
}

const comment = (text: string): string => `: ${text}\n\n`;

/**
 * The body of a text/event-stream answer: a first comment at once, so that the caller sees its headers, then each event, and a comment whenever nothing was
 * said for limits.http.ssePingMs, so that proxies keep the connection. Pulls the next event only when the caller has taken the last: nothing piles up here.
 * Ends quietly when the signal is aborted; an event source that fails cuts the connection, and the caller resumes.
 */
export function eventStream(events: AsyncIterable<SseEvent>, clock: Clock, signal: AbortSignal): Readable {
  return Readable.from(encodeAll(events, clock, signal), { objectMode: false, highWaterMark: 16 << 10 });
}

async function* encodeAll(events: AsyncIterable<SseEvent>, clock: Clock, signal: AbortSignal): AsyncGenerator<string> {
  yield comment('connected');
  const source = events[Symbol.asyncIterator]();
  try {
    for (let next = source.next(); ; ) {
      const step = await nextOrSilence(next, clock, signal);
      if (step === 'silence') {
        yield comment('ping');
        continue;
      }
      if (step.done) return;
      yield encodeEvent(step.value);
      next = source.next();
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    // Not awaited: a source that is waiting ends when its own signal is aborted.
    void source.return?.().catch(() => undefined);
  }
}

async function nextOrSilence<T>(next: Promise<T>, clock: Clock, signal: AbortSignal): Promise<T | 'silence'> {
  const timer = new AbortController();
  try {
    const silence = clock.sleep(limits.http.ssePingMs, AbortSignal.any([timer.signal, signal])).then(() => 'silence' as const);
    silence.catch(() => undefined);
    return await Promise.race([next, silence]);
  } finally {
    timer.abort();
  }
}
