import { FileChange, Problem, problemCodes, type ProblemCode } from '@alcove/contracts';
import { z } from 'zod';
import { linesOf } from './lines';
import type { SseEvent } from './sse';

const Line = z.union([z.strictObject({ watching: z.literal(true) }), FileChange, z.object({ event: z.literal('error'), code: z.string().max(64) })]);

/** The changes of a watched folder as server-sent events: `watching` first, then each change by its kind. A watch that ends while somebody listens says so with a last `error` event. */
export async function* watchEvents(source: AsyncIterable<Buffer>, signal: AbortSignal): AsyncGenerator<SseEvent> {
  let code: ProblemCode = 'guest.closed';
  try {
    for await (const line of linesOf(source)) {
      const told = parse(line);
      if ('watching' in told) yield { event: 'watching', data: {} };
      else if ('change' in told) yield { event: told.change, data: told };
      else {
        code = isCode(told.code) ? told.code : 'guest.io';
        break;
      }
    }
  } catch (error) {
    if (signal.aborted) throw error;
    if (error instanceof Problem) code = error.code;
  }
  if (!signal.aborted) yield { event: 'error', data: { event: 'error', code } };
}

function parse(line: string): z.infer<typeof Line> {
  try {
    return Line.parse(JSON.parse(line));
  } catch (cause) {
    throw new Problem('guest.protocol', { detail: 'A line that is no change.', cause });
  }
}

function isCode(text: string): text is ProblemCode {
  return text in problemCodes;
}
