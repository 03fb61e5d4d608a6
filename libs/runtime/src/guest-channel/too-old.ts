import { type Clock, limits } from '@alcove/base';
import { isProblem } from '@alcove/contracts';
import type { Mux } from './mux';
import { tooOld } from './problems';
import { listProcesses } from './processes';
import { within } from './within';

/**
 * A guest refuses a field that it does not know as it refuses a wrong value: `invalid`. Which of the two it was, a second question tells: a guest that does not know
 * kept processes at all (`unsupported`) is too old for everything that came with them.
 */
export async function knowingWhy(mux: Mux, clock: Clock, error: unknown): Promise<unknown> {
  if (!isProblem(error, 'request.invalid')) return error;
  const outcome = await within(clock, limits.guest.statsMs, (signal) => listProcesses(mux, signal)).catch((why: unknown) => why);
  return isProblem(outcome, 'guest.unsupported') ? tooOld(error.detail, error) : error;
}
