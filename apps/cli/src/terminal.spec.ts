import { duration, size, styleFor, table } from './terminal';

it.each([
  [0.4, '0 ms'],
  [312.4, '312 ms'],
  [1240, '1.24 s'],
  [24_130, '24.1 s'],
  [125_000, '2 min 05 s'],
])('writes %d ms as %s', (ms, text) => {
  expect(duration(ms)).toBe(text);
});

it.each([
  [512, '512 B'],
  [1536, '1.5 KiB'],
  [400 * 1024, '400 KiB'],
  [3 * 1024 ** 3, '3.0 GiB'],
])('writes %d bytes as %s', (bytes, text) => {
  expect(size(bytes)).toBe(text);
});

it('aligns columns and colours nothing when asked not to', () => {
  expect(table([['a', 'bb'], ['ccc', 'd']], styleFor(false))).toBe('  a     bb\n  ccc   d\n');
});
