import { type Clock, limits, type Log } from '@alcove/base';
import { type Fallback, isProblem, Problem } from '@alcove/contracts';
import type { Driver, RoomSpec, Started } from '@alcove/runtime';
import { afterFailure, type Level } from './levels';

export interface StartedAt {
  started: Started;
  level: Level;
  fallbacks: Fallback[];
}

/**
 * Tries the levels in their order until one runs. Before each level but the first, `entering` writes down what is tried. A failed attempt leaves no VM.
 * Rejects with the last level's Problem, its `errors` naming every level and code; with the signal's reason when cancelled.
 */
export async function startRoom(
  parts: { driver: Driver; clock: Clock; log: Log },
  spec: RoomSpec,
  levels: readonly Level[],
  entering: (level: Level) => Promise<void>,
  signal: AbortSignal,
): Promise<StartedAt> {
  const fallbacks: Fallback[] = [];
  for (const [index, level] of levels.entries()) {
    if (index > 0) await entering(level);
    const outcome = await tryLevel(parts, spec, level, signal);
    if ('started' in outcome) return { started: outcome.started, level, fallbacks };
    const { problem } = outcome;
    fallbacks.push({ level: level.level, code: problem.code, ...(problem.detail === undefined ? {} : { detail: problem.detail.slice(0, limits.guest.detailChars) }) });
    if (outcome.giveUp || index === levels.length - 1) {
      throw new Problem(problem.code, { cause: problem, errors: fallbacks.map((f) => ({ path: f.level, message: f.code })), ...(problem.detail === undefined ? {} : { detail: problem.detail }) });
    }
    parts.log.warn({ roomId: spec.roomId, incarnation: spec.incarnation, level: level.level, code: problem.code, err: problem }, 'a level failed; the next one is tried');
  }
  throw new Problem('image.missing', { detail: 'this room has neither an image nor a disk' });
}

/** Gives a level its attempts. What made it try again is the reason why the level failed, whatever a later attempt says; but what ends the whole start is told as it is. */
async function tryLevel(
  parts: { driver: Driver; log: Log },
  spec: RoomSpec,
  level: Level,
  signal: AbortSignal,
): Promise<{ started: Started } | { problem: Problem; giveUp: boolean }> {
  let first: Problem | undefined;
  for (let attempt = 1; ; attempt += 1) {
    try {
      signal.throwIfAborted();
      return { started: await enter(parts.driver, spec, level, signal) };
    } catch (error) {
      await parts.driver.stop(spec).catch((err: unknown) => parts.log.error({ err, roomId: spec.roomId }, 'what a failed start left could not be stopped'));
      signal.throwIfAborted();
      const problem = isProblem(error) ? error : new Problem('engine.failed', { cause: error });
      const next = afterFailure(problem.code, attempt, level);
      if (next === 'give_up') return { problem, giveUp: true };
      first ??= problem;
      if (next === 'next') return { problem: first, giveUp: false };
      parts.log.warn({ roomId: spec.roomId, level: level.level, attempt, err: problem }, 'an attempt failed; once more');
    }
  }
}

function enter(driver: Driver, spec: RoomSpec, level: Level, signal: AbortSignal): Promise<Started> {
  switch (level.via) {
    case 'template':
      return driver.restore(spec, { kind: 'template' }, signal);
    case 'boot':
      return driver.boot(spec, signal);
    case 'image':
      return driver.restore(spec, { kind: 'image', image: level.image, rollBackDisk: level.rollBackDisk }, signal);
  }
}
