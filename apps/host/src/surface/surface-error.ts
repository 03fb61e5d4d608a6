import { isProblem, type Problem, type ProblemCode } from '@alcove/contracts';

/** The codes of the Connect protocol and the HTTP status that goes with each (https://connectrpc.com/docs/protocol#error-codes). */
export const rpcStatus = {
  canceled: 499, unknown: 500, invalid_argument: 400, deadline_exceeded: 504, not_found: 404, already_exists: 409, permission_denied: 403, resource_exhausted: 429,
  failed_precondition: 400, aborted: 409, out_of_range: 400, unimplemented: 501, internal: 500, unavailable: 503, data_loss: 500, unauthenticated: 401,
} as const;
export type RpcCode = keyof typeof rpcStatus;

/** A refusal in E2B's words. `status`: where REST says another than the code's. */
export class SurfaceError extends Error {
  override readonly name = 'SurfaceError';
  readonly status: number;
  constructor(
    readonly code: RpcCode,
    message: string,
    status?: number,
  ) {
    super(message);
    this.status = status ?? rpcStatus[code];
  }
}

const words: Partial<Record<ProblemCode, { code: RpcCode; status?: number }>> = {
  'request.invalid': { code: 'invalid_argument' },
  'request.too_large': { code: 'resource_exhausted', status: 413 },
  'request.unknown_route': { code: 'unimplemented', status: 404 },
  'exec.not_found': { code: 'not_found' },
  'file.not_found': { code: 'not_found' },
  'file.exists': { code: 'already_exists' },
  'file.denied': { code: 'permission_denied' },
  'file.kind': { code: 'invalid_argument' },
  'file.not_empty': { code: 'failed_precondition', status: 409 },
  'file.no_space': { code: 'resource_exhausted', status: 507 },
  'guest.limit': { code: 'resource_exhausted' },
  'guest.unsupported': { code: 'unimplemented' },
  unsupported: { code: 'unimplemented' },
};

/** Any failure in E2B's words; what is not meant for the caller stays inside. */
export function surfaceError(error: unknown): SurfaceError {
  if (error instanceof SurfaceError) return error;
  if (!isProblem(error)) return new SurfaceError('internal', 'something went wrong here');
  const { code, status } = words[error.code] ?? { code: 'internal' as const };
  return new SurfaceError(code, textOf(error), status);
}

function textOf(problem: Problem): string {
  const { detail, title, errors } = problem.toBody();
  const first = errors?.[0];
  return detail ?? (first ? `${first.path}: ${first.message}` : title);
}
