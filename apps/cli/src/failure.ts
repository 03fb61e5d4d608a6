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

const fullDiskForm = /\b(?:ENOSPC|EDQUOT)\b|No space left on device|Disk quota exceeded/;

/** A full disk is the user's to mend, whichever program met it; all else stays what it is. Programs say it by their words in the C locale. */
export function withFullDiskExplained(error: unknown): unknown {
  if (!(error instanceof Error) || error instanceof CliFailure || !fullDiskForm.test(error.message)) return error;
  const line = error.message.split('\n').find((text) => fullDiskForm.test(text));
  return new CliFailure(`the disk is full: ${line}`, { mend: 'free some space, or point ALCOVE_HOME and ALCOVE_CACHE elsewhere (./alcove doctor tells how much each has)', cause: error });
}

/** The text of anything that was thrown, on one line where it can be. */
export function messageOf(error: unknown): string {
  if (error instanceof AggregateError && error.message === '') return error.errors.map(messageOf).join('; ');
  return error instanceof Error ? error.message : String(error);
}
