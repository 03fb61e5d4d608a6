import { type ImageRef, problemCodes, type ProblemCode } from '@alcove/contracts';
import { afterFailure, leftHalfStarted, levelsOf } from './levels';

const image = { id: 'img_1' } as ImageRef;
const previous = { id: 'img_0' } as ImageRef;
const order = (some: { image?: ImageRef; previous?: ImageRef; hasDisk?: boolean }) => levelsOf({ image: null, previous: null, hasDisk: false, ...some }).map(({ level, via }) => `${level}:${via}`);

it.each([
  [{}, ['new:template', 'new:boot']],
  [{ hasDisk: true }, ['disk:boot']],
  [{ image, hasDisk: true }, ['memory:image', 'disk:boot']],
  [{ image, previous, hasDisk: true }, ['memory:image', 'disk:boot', 'checkpoint:image']],
  [{ previous, hasDisk: true }, ['disk:boot', 'checkpoint:image']],
  // A room that has an image but no disk is broken: never a blank one instead.
  [{ image }, ['memory:image']],
])('tries %j as %j', (given, expected) => {
  expect(order(given)).toEqual(expected);
});

it('puts the disk back for a checkpoint only', () => {
  const levels = levelsOf({ image, previous, hasDisk: true });
  expect(levels.map((level) => (level.via === 'image' ? level.rollBackDisk : null))).toEqual([false, null, true]);
});

it('goes on to the next level for failures of the level itself, and gives up for those of the host', () => {
  const [memory] = levelsOf({ image, previous: null, hasDisk: true });
  if (!memory) throw new Error('no level');
  const next = (Object.keys(problemCodes) as ProblemCode[]).filter((code) => afterFailure(code, memory.attempts, memory) === 'next');
  expect(next.filter((code) => !/^(image|guest)\./.test(code)).sort()).toEqual(['engine.failed', 'vault.corrupt']);
  for (const code of ['host.disk_full', 'engine.missing', 'vault.key_unavailable', 'internal'] as const) expect(afterFailure(code, 1, memory)).toBe('give_up');
  expect(afterFailure('engine.failed', 1, memory)).toBe('again');
  expect(afterFailure('image.corrupt', 1, memory)).toBe('next');
});

it('puts the disk back only under a start from memory that nobody saw the end of', () => {
  const vain = { ran: false, level: 'memory', reason: 'half_started' } as const;
  expect(leftHalfStarted(vain)).toBe(true);
  for (const other of [undefined, { ...vain, ran: true }, { ...vain, level: 'disk' as const }, { ...vain, reason: 'start_interrupted' }]) expect(leftHalfStarted(other)).toBe(false);
  expect(levelsOf({ image, previous, hasDisk: true }, true)[0]).toMatchObject({ level: 'memory', rollBackDisk: true });
  expect(levelsOf({ image, previous, hasDisk: true })[0]).toMatchObject({ level: 'memory', rollBackDisk: false });
});
