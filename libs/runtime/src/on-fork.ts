import { limits } from '@alcove/base';
import { ExecRequest, isProblem, Problem, type TemplateManifest } from '@alcove/contracts';
import type { GuestSession } from './guest-session';

/**
 * Runs the template's command for copies in a guest that has just been given its own identity, if the template has one. Problem `template.on_fork` when it cannot be run,
 * does not end with 0 or takes longer than `limits.guest.onForkMs`.
 */
export async function runOnFork(guest: GuestSession, { onFork }: TemplateManifest, signal?: AbortSignal): Promise<void> {
  if (!onFork) return;
  const request = ExecRequest.parse({ ...onFork, timeoutMs: limits.guest.onForkMs });
  try {
    for await (const event of guest.exec(request, signal ?? new AbortController().signal)) {
      if (event.event === 'error') throw new Problem('template.on_fork', { detail: event.code });
      if (event.event !== 'exit') continue;
      if (event.exitCode === 0) return;
      throw new Problem('template.on_fork', { detail: endOf(event) });
    }
  } catch (error) {
    if (isProblem(error, 'exec.not_found')) throw new Problem('template.on_fork', { detail: 'there is no such command in the room', cause: error });
    throw error;
  }
  throw new Problem('guest.protocol', { detail: 'a command did not end' });
}

function endOf(event: { exitCode: number | null; signal: string | null; timedOut: boolean; truncated: boolean }): string {
  if (event.timedOut) return `it took longer than ${limits.guest.onForkMs} ms`;
  if (event.truncated) return 'it printed too much';
  return event.exitCode === null ? `it was ended by ${event.signal ?? 'a signal'}` : `it ended with code ${event.exitCode}`;
}
