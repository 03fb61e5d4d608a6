import { Problem, problemCodes, type ExecEvent, type ProblemCode } from '@alcove/contracts';
import { parseExecEvent } from './exec-events';
import { linesOf } from './lines';

/** What a host tells of a process. Throws guest.protocol for what is no event, guest.closed where it breaks off. */
export async function* processEvents(source: AsyncIterable<Buffer>): AsyncGenerator<ExecEvent> {
  for await (const line of linesOf(source)) yield parseExecEvent(line);
}

/** The number of a process that was just started, or listened to. Throws what the host says instead. */
export async function startedPid(events: AsyncIterator<ExecEvent>): Promise<number> {
  const { value: event, done } = await events.next();
  if (done) throw new Problem('guest.closed');
  if (event.event === 'start') return event.pid;
  if (event.event === 'error') throw asProblem(event);
  throw new Problem('guest.protocol', { detail: 'A process that did not begin with its start.' });
}

function asProblem({ code, detail }: Extract<ExecEvent, { event: 'error' }>): Problem {
  return new Problem(code in problemCodes ? (code as ProblemCode) : 'guest.io', detail === undefined ? {} : { detail });
}
