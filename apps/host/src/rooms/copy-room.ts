import { type Clock, limits, type Log } from '@alcove/base';
import { type CopiedReport, type EnsureCopied, isProblem, Problem, type SealedReport } from '@alcove/contracts';
import type { Driver, RoomSpec } from '@alcove/runtime';
import type { Templates } from '../templates';
import { withDeadline } from './deadline';
import type { RoomPage } from './room-page';
import { secretKeys } from './room-keys';

export interface CopyParts {
  driver: Driver;
  templates: Templates;
  clock: Clock;
  log: Log;
  nextSequence(): number;
  /** Throws `host.fenced`. */
  refuseFenced(): void;
}

/**
 * Makes the room of `page` out of a sleeping one, in the turns of both. No VM of this incarnation ever runs: its life is `copying`, then `sealed` or `gone`. The same
 * order again is answered as before; another one for the same incarnation, or the next one, replaces what was made as long as nobody has run on it.
 */
export async function copyRoom(parts: CopyParts, page: RoomPage, source: Pick<RoomPage, 'live'>, incarnation: number, order: EnsureCopied, cancel: AbortSignal): Promise<CopiedReport> {
  page.refuseStale(incarnation);
  const before = page.record;
  if (before?.incarnation === incarnation) {
    if (before.phase === 'sealed' && before.sealed && !before.ran && before.operationId === order.operationId) return reportOf(before.sealed);
    if (before.ran || before.final) throw new Problem('incarnation.stale', { detail: `this incarnation is over: ${before.reason}` });
  }
  refuseLive(page, source);
  parts.refuseFenced();
  const { clock, driver, log } = parts;
  const startedAt = clock.monotonic();
  const template = await parts.templates.get(order.templateId);
  const target: RoomSpec = { roomId: page.roomId, incarnation, template, keys: secretKeys(order.keys), env: {}, hasDisk: true };
  const from = { image: order.source.image, keys: secretKeys(order.source.keys) };
  const generation = before?.generation ?? 0;
  await page.intend({ ...page.blank(incarnation), phase: 'copying', operationId: order.operationId, templateId: order.templateId, generation });
  try {
    const image = await withDeadline(
      clock,
      { ms: limits.move.copyMs, reason: () => new Problem('engine.failed', { detail: 'the copy took too long' }), cancel, late: () => undefined },
      (signal) => driver.copy(from, target, { generation: order.generation }, signal),
    );
    const sequence = parts.nextSequence();
    const sealed: SealedReport = { roomId: page.roomId, incarnation, sequence, image, stallMs: 0, durableMs: clock.monotonic() - startedAt, steps: {} };
    await page.note({ phase: 'sealed', sealed, generation: Math.max(generation, image.generation), sequence }, true);
    return reportOf(sealed);
  } catch (error) {
    log.error({ err: error, roomId: page.roomId, source: from.image.roomId }, 'a room could not be copied');
    await page.note({ phase: 'gone', reason: `copy_failed:${isProblem(error) ? error.code : 'internal'}` });
    throw error;
  }
}

/** Throws `room.busy` while a VM of either room runs here. */
export function refuseLive(...pages: Pick<RoomPage, 'live'>[]): void {
  if (pages.some((page) => page.live)) throw new Problem('room.busy', { detail: 'only what sleeps can be copied' });
}

function reportOf({ roomId, incarnation, sequence, image, durableMs }: SealedReport): CopiedReport {
  return { roomId, incarnation, sequence, image, durationMs: durableMs };
}
