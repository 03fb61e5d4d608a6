import { anyFailed, judgeDisk, judgeEdge, judgeLimits, judgeMemory, judgePtrace, judgeReach, judgeSwap, swapDevices } from './findings';

const gib = 2 ** 30;

it.each([
  [1 * gib, 1 * gib, 'fail'],
  [8 * gib, 1 * gib, 'warn'],
  [8 * gib, 6 * gib, 'ok'],
])('judges %d bytes of memory, %d available: %s', (total, available, level) => {
  expect(judgeMemory(total, available).level).toBe(level);
});

it.each([
  [1 * gib, 'fail'],
  [4 * gib, 'warn'],
  [40 * gib, 'ok'],
])('judges %d bytes of free disk: %s', (free, level) => {
  expect(judgeDisk('disk', '/x', free).level).toBe(level);
});

it.each([
  [null, false, 'ok'],
  [0, false, 'ok'],
  [1, false, 'warn'],
  [1, true, 'ok'],
  [2, false, 'fail'],
  [2, true, 'ok'],
  [3, true, 'fail'],
])('judges ptrace_scope %s, as root %s: %s', (scope, asRoot, level) => {
  expect(judgePtrace(scope, asRoot).level).toBe(level);
});

it('reads the hard limits', () => {
  const text = (files: string) => `Limit  Soft Limit  Hard Limit  Units\nMax processes   100   63000   processes\nMax open files   1024   ${files}   files\n`;
  expect(judgeLimits(text('1048576')).level).toBe('ok');
  expect(judgeLimits(text('unlimited')).level).toBe('ok');
  expect(judgeLimits(text('1024')).level).toBe('warn');
});

it('reads swap devices and warns of open ones', () => {
  const devices = swapDevices('Filename\tType\tSize\n/dev/sda2 partition 100\n/dev/zram0 partition 5\n');
  expect(devices).toEqual(['/dev/sda2', '/dev/zram0']);
  expect(judgeSwap([]).level).toBe('ok');
  expect(judgeSwap([{ device: '/dev/sda2', encrypted: false }]).level).toBe('warn');
  expect(judgeSwap([{ device: '/dev/dm-1', encrypted: true }]).level).toBe('ok');
});

it.each([
  [false, null, null, 'ok', 'names.cjs'],
  [false, { covers: true, validForMs: 1 }, '127.0.0.1', 'ok', 'lead to 127.0.0.1'],
  [false, { covers: false, validForMs: 1 }, null, 'warn', 'not for'],
  [true, { covers: true, validForMs: 0 }, null, 'warn', 'expired'],
  [true, null, null, 'warn', 'ALCOVE_EDGE_CERT'],
])('judges the edge, its certificate own (%s), %j, and address %s: %s', (own, certificate, address, level, said) => {
  const finding = judgeEdge({ domain: 'alcove.test', own, certificate, address });
  expect(finding).toMatchObject({ level, detail: expect.stringContaining(said) });
  expect(finding.mend === undefined).toBe(level === 'ok');
});

it('fails as a whole only for a failure, and says a mend for all that is not well', () => {
  const unwell = [judgeMemory(gib, gib), judgeDisk('disk', '/x', 0), judgePtrace(3, true), judgeReach('/a/b', '/a')];
  for (const finding of unwell) expect(finding.mend).toBeTruthy();
  expect(anyFailed(unwell)).toBe(true);
  expect(anyFailed([judgePtrace(1, false)])).toBe(false);
});
