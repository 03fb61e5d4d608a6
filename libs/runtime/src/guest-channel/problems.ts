import { constants } from 'node:os';
import { limits } from '@alcove/base';
import { Problem, resetCodes, type ProblemCode, type ResetCode } from '@alcove/contracts';

/** The guest did what the protocol does not allow. Whoever catches it closes the session. */
export function broken(detail: string): Problem {
  return new Problem('guest.protocol', { detail });
}

/** The guest stays within the words of the protocol but beyond what the host takes. */
export function beyond(detail: string): Problem {
  return new Problem('guest.limit', { detail });
}

export function ended(detail: string, cause?: unknown): Problem {
  return new Problem('guest.closed', { detail, cause });
}

/** The guest is of an older template than what is asked of it. `words`: what it said. */
export function tooOld(words: string | undefined, cause?: unknown): Problem {
  const said = words === undefined || words === '' ? '' : ` (${words})`;
  return new Problem('guest.unsupported', { detail: `this room was made before its platform could do that: make a new one${said}`, cause });
}

/** What was asked of the guest: the same RESET code means another thing for a file than for a command. */
export type Asked = 'file' | 'watch' | 'exec' | 'connect' | 'control';

const everywhere: Record<ResetCode, ProblemCode> = {
  cancelled: 'guest.closed',
  busy: 'guest.limit',
  flow: 'guest.io',
  protocol: 'guest.io',
  not_found: 'file.not_found',
  denied: 'file.denied',
  exists: 'file.exists',
  not_a_directory: 'file.kind',
  is_a_directory: 'file.kind',
  not_empty: 'file.not_empty',
  no_space: 'file.no_space',
  io: 'guest.io',
  timeout: 'guest.io',
  limit: 'guest.limit',
  unsupported: 'guest.unsupported',
  invalid: 'request.invalid',
  refused: 'guest.io',
};

const instead: Record<Asked, Partial<Record<ResetCode, ProblemCode>>> = {
  file: { unsupported: 'file.kind' },
  watch: {},
  exec: { not_found: 'exec.not_found' },
  connect: { refused: 'agent.unreachable', timeout: 'agent.timeout', io: 'agent.unreachable', denied: 'agent.unreachable' },
  control: { denied: 'guest.io', not_found: 'guest.io', invalid: 'guest.io' },
};

/** The Problem for a RESET of the guest. Both of its texts are the guest's: an unknown code breaks the protocol, the detail is cut and cleaned. */
export function resetProblem(asked: Asked, said: string | undefined, detail: string | undefined): Problem {
  const known = resetCodes.find((name) => name === said);
  if (!known) return broken('a RESET with an unknown code');
  const code = instead[asked][known] ?? everywhere[known];
  const words = detail === undefined ? undefined : printable(detail);
  return code === 'guest.unsupported' ? tooOld(words) : new Problem(code, { detail: words });
}

/** The guest's text, fit for a log and an answer: printable characters only, at most `limits.guest.detailChars`. */
export function printable(text: string): string {
  return text.slice(0, limits.guest.detailChars).replace(/[^\p{L}\p{M}\p{N}\p{P}\p{S} ]/gu, '?');
}

/** `SIGKILL` for 9 (signal(7)); a number that has no name stays a number. */
export function signalName(number: number): string {
  for (const [name, value] of Object.entries(constants.signals)) {
    if (value === number) return name;
  }
  return String(number);
}
