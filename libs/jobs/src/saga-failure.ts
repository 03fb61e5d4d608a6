import { limits } from '@alcove/base';
import { isProblem } from '@alcove/contracts';
import { DbUnavailable } from '@alcove/db';
import type { SagaError } from './saga';

/** What the row may say of a failure: a code and the detail that a caller may see; the rest is for the log. */
export function sagaErrorOf(error: unknown, step: string | null): SagaError {
  if (isProblem(error)) return { code: error.code, detail: error.detail ?? null, step };
  if (error instanceof DbUnavailable) return { code: 'unavailable', detail: null, step };
  return { code: 'internal', detail: null, step };
}

/** How long to wait before the next attempt, milliseconds; null when the failure will not pass by waiting. Doubles with each attempt, from the delay that the problem asks for. */
export function retryDelay(error: unknown, failedBefore: number): number | null {
  const asked = isProblem(error) ? error.retryAfterMs : error instanceof DbUnavailable ? limits.retry.firstDelayMs : undefined;
  if (asked === undefined) return null;
  return Math.min(limits.retry.maxDelayMs, Math.max(asked, limits.retry.firstDelayMs * 2 ** failedBefore));
}
