import { limits } from '@alcove/base';
import { ExecEvent, Problem } from '@alcove/contracts';
import type { SseEvent } from './sse';

/** A line is at most one frame of the channel in base64, and its wrapping. */
const lineBytes = 4 * limits.channel.frameBytes;
const lineFeed = 0x0a;

/** The lines of a stream of bytes, each at most `lineBytes` long. Throws guest.protocol when one is longer. */
async function* linesOf(source: AsyncIterable<Buffer>): AsyncGenerator<string> {
  let rest: Buffer = Buffer.alloc(0);
  for await (const chunk of source) {
    rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    for (let end = rest.indexOf(lineFeed); end >= 0; end = rest.indexOf(lineFeed)) {
      yield rest.subarray(0, end).toString('utf8');
      rest = rest.subarray(end + 1);
    }
    if (rest.length > lineBytes) throw new Problem('guest.protocol', { detail: 'An over-long line.' });
  }
  if (rest.length > 0) throw new Problem('guest.closed', { detail: 'The stream ended inside a line.' });
}

function parseLine(line: string): ExecEvent {
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
      const event = parseLine(line);
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
