import { problemCodes, type ProblemCode } from './problem-codes';

/** What may leave the process about a refused request (RFC 9457, application/problem+json). */
export interface ProblemBody {
  type: string;
  title: string;
  status: number;
  code: ProblemCode;
  detail?: string;
  instance?: string;
  requestId?: string;
  retryAfterMs?: number;
  errors?: { path: string; message: string }[];
}

export interface ProblemOptions {
  /** Shown to the caller: what is wrong and what to do next. Never shown for status 500 and above unless the table says `publicDetail`. */
  detail?: string;
  /** For the log only. */
  cause?: unknown;
  retryAfterMs?: number;
  errors?: { path: string; message: string }[];
}

/** The one error that crosses a lib's door on purpose: a code of the table, what the caller may know, and a private cause. */
export class Problem extends Error {
  override readonly name = 'Problem';
  readonly detail: string | undefined;
  readonly retryAfterMs: number | undefined;
  readonly errors: { path: string; message: string }[] | undefined;
  constructor(readonly code: ProblemCode, options: ProblemOptions = {}) {
    super(options.detail ? `${code}: ${options.detail}` : code, options.cause === undefined ? undefined : { cause: options.cause });
    this.detail = options.detail;
    const entry = problemCodes[code];
    this.retryAfterMs = options.retryAfterMs ?? ('retryAfterMs' in entry ? entry.retryAfterMs : undefined);
    this.errors = options.errors;
  }
  get status(): number {
    return problemCodes[this.code].status;
  }
  /** The public body. A 5xx carries no detail unless the table allows it. */
  toBody(about: { instance?: string; requestId?: string } = {}): ProblemBody {
    const entry = problemCodes[this.code];
    const shown = entry.status < 500 || 'publicDetail' in entry ? this.detail : undefined;
    return {
      type: `https://alcove.dev/problems/${this.code}`,
      title: entry.title,
      status: entry.status,
      code: this.code,
      ...(shown === undefined ? {} : { detail: shown }),
      ...about,
      ...(this.retryAfterMs === undefined ? {} : { retryAfterMs: this.retryAfterMs }),
      ...(this.errors === undefined ? {} : { errors: this.errors }),
    };
  }
}

/** True for a Problem with this code (or any code when none is given). */
export function isProblem(error: unknown, code?: ProblemCode): error is Problem {
  return error instanceof Problem && (code === undefined || error.code === code);
}
