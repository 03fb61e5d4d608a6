import { problemCodes, type Problem, type ProblemCode } from '@alcove/contracts';

/** How E2B's API refuses: its clients read `code` from the body before they look at the status, so the two are always one number. */
export interface E2bError {
  readonly code: number;
  readonly message: string;
  readonly error_code: string;
}

/**
 * Where E2B's clients draw other conclusions from a status than ours do. 404 is a sandbox that is no more, however it ended. 409 means to a pause that the sandbox is
 * paused already, so a room that is merely busy must not answer it. 503 says that nothing was changed and the same call may be made again.
 */
const statuses: Partial<Record<ProblemCode, number>> = {
  'room.gone': 404,
  'room.busy': 503,
  'room.limit': 429,
  'room.frozen': 404,
  'room.wake_timeout': 504,
};

/** E2B's own words for what clients may know; for the rest, ours. */
const words: Partial<Record<ProblemCode, string>> = {
  'host.capacity': 'sandbox_capacity_unavailable',
  'host.unavailable': 'sandbox_capacity_unavailable',
  'host.disk_full': 'sandbox_capacity_unavailable',
  'room.wake_timeout': 'sandbox_placement_timeout',
  'engine.failed': 'sandbox_create_failed',
  'engine.missing': 'sandbox_no_compatible_node',
  internal: 'internal_server_error',
};

/** A problem as E2B's API would say it. No more of it gets outside than of the same problem on our own routes. */
export function toE2bError(problem: Problem): E2bError {
  const { title, detail, errors } = problem.toBody();
  const parts = errors?.map(({ path, message }) => `${path}: ${message}`) ?? [];
  const message = [detail ?? title, ...parts].join('; ');
  return { code: statuses[problem.code] ?? problemCodes[problem.code].status, message, error_code: words[problem.code] ?? problem.code };
}

const roots = ['sandboxes', 'templates', 'snapshots', 'teams', 'volumes', 'volumecontent', 'secrets', 'v2', 'v3'];
const pathForm = new RegExp(`^/(?:${roots.join('|')})(?:[/?]|$)`);

/** True for the paths that only E2B's clients ask for: what is refused there is refused in E2B's words, also where there is no such route. */
export function isE2bPath(url: string): boolean {
  return pathForm.test(url);
}
