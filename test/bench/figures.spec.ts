import fc from 'fast-check';
import { percentile, summarise, target } from './figures';

it('interpolates percentiles', () => {
  expect(percentile([1, 2, 3, 4], 50)).toBe(2.5);
  expect(percentile([5], 99)).toBe(5);
  expect(() => percentile([], 50)).toThrow('no samples');
});

it('keeps percentiles within the samples and in order', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 10_000 }), { minLength: 1, maxLength: 60 }), (samples) => {
      const { min, p50, p99, max } = summarise(samples);
      expect(min).toBeLessThanOrEqual(p50);
      expect(p50).toBeLessThanOrEqual(p99);
      expect(p99).toBeLessThanOrEqual(max);
    }),
    { seed: 20260104 },
  );
});

it('judges targets both ways', () => {
  expect(target('a', 1.3, '<=', 1.35).ok).toBe(true);
  expect(target('b', 19.99, '>=', 20).ok).toBe(false);
});
