import { ExecEvent, Problem } from '@alcove/contracts';
import { linesOf } from './lines';
import type { SseEvent } from './sse';

/** The event in a line of a host's. Throws guest.protocol. */
export function parseExecEvent(line: string): ExecEvent {
  try {
    return ExecEvent.parse(JSON.parse(line));
  } catch (cause) {
    throw new Problem('guest.protocol', { detail: 'A line that is no exec event.', cause });
  }
}

/**
 * The host's lines of JSON as server-sent events, named by their kind. A stream that breaks off, or ends without `exit`, says so with a last `error` event: the
 * status went out long ago.
 */
export async function* execEvents(source: AsyncIterable<Buffer>, signal: AbortSignal): AsyncGenerator<SseEvent> {
  let ended = false;
  try {
    for await (const line of linesOf(source)) {
      const event = parseExecEvent(line);
      ended = event.event === 'exit' || event.event === 'error';
      yield { event: event.event, data: event };
    }
    if (ended) return;
  } catch (error) {
    if (signal.aborted) throw error;
    const code = error instanceof Problem ? error.code : 'guest.closed';
    yield { event: 'error', data: { event: 'error', code } };
    return;
  }
  yield { event: 'error', data: { event: 'error', code: 'guest.closed' } };
}
