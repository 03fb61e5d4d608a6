/** Exit codes of the command line (sysexits.h where it has a word for it). */
export const exitCodes = { ok: 0, failed: 1, usage: 64, unavailable: 69, internal: 70, temporary: 75, configuration: 78, interrupted: 130 } as const;

/** A command cannot go on, and the user can do something about it: what is wrong, and what to do next. */
export class CliFailure extends Error {
  override readonly name = 'CliFailure';
  constructor(
    message: string,
    readonly options: { mend?: string; exitCode?: number; cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
  }
  get exitCode(): number {
    return this.options.exitCode ?? exitCodes.failed;
  }
}

/** The text of anything that was thrown, on one line where it can be. */
export function messageOf(error: unknown): string {
  if (error instanceof AggregateError && error.message === '') return error.errors.map(messageOf).join('; ');
  return error instanceof Error ? error.message : String(error);
}
