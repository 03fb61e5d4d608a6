import type { EnsureRunning, ImageRef, ProblemCode, ResumedFrom } from '@alcove/contracts';
import type { RoomRecord } from '../journal';
import { halfStarted } from '../reclaim';

/** One way to bring a room up. `template`: a restore of the template's memory; `boot`: a kernel boot from the disk or a blank one; `image`: a restore of a sealed image. */
export type Level = { level: ResumedFrom; attempts: number } & ({ via: 'template' } | { via: 'boot' } | { via: 'image'; image: ImageRef; rollBackDisk: boolean });

/**
 * The order in which a start is tried: memory → disk → checkpoint. A room that has neither image nor disk is new: the template's memory, and if that
 * cannot be restored a boot of the same template. A room that has something is never started blank instead. `inVain`: leftHalfStarted() of the room's record.
 */
export function levelsOf(order: Pick<EnsureRunning, 'image' | 'previous' | 'hasDisk'>, inVain = false): Level[] {
  if (!order.image && !order.hasDisk) {
    return [
      { level: 'new', via: 'template', attempts: 2 },
      { level: 'new', via: 'boot', attempts: 1 },
    ];
  }
  const levels: Level[] = [];
  // Memory is worth a second try when the engine stumbled: the level below loses it.
  if (order.image) levels.push({ level: 'memory', via: 'image', image: order.image, rollBackDisk: inVain, attempts: 2 });
  if (order.hasDisk) levels.push({ level: 'disk', via: 'boot', attempts: 1 });
  if (order.previous) levels.push({ level: 'checkpoint', via: 'image', image: order.previous, rollBackDisk: true, attempts: 1 });
  return levels;
}

/**
 * True when the host agent died in the middle of a start from memory, and the VM that it left was found and ended. Nobody has ever talked to it, and nothing in it ran
 * before its claim; but its disk counts as moved on, so it is put back to the state that the image names instead of giving the memory up.
 */
export function leftHalfStarted(record: Pick<RoomRecord, 'ran' | 'level' | 'reason'> | undefined): boolean {
  return record !== undefined && !record.ran && record.level === 'memory' && record.reason === halfStarted;
}

/** Failures of this level alone: the next one may do better. Anything else (a full disk, a missing program, a missing key) would only lose memory for nothing. */
const ofThisLevel: ReadonlySet<ProblemCode> = new Set<ProblemCode>([
  'image.corrupt', 'image.wrong_room', 'image.stale', 'image.wrong_key', 'image.incompatible', 'image.missing', 'image.disk_mismatch',
  'engine.failed', 'guest.protocol', 'guest.closed', 'guest.limit', 'guest.io', 'vault.corrupt',
]);
const passing: ReadonlySet<ProblemCode> = new Set<ProblemCode>(['engine.failed', 'guest.protocol', 'guest.closed', 'guest.io']);

/** What to do after a failed attempt at a level. */
export function afterFailure(code: ProblemCode, attempt: number, level: Level): 'again' | 'next' | 'give_up' {
  if (!ofThisLevel.has(code)) return 'give_up';
  return passing.has(code) && attempt < level.attempts ? 'again' : 'next';
}
