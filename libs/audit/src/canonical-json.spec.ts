import type { Json } from '@alcove/db';
import fc from 'fast-check';
import { canonicalJson } from './canonical-json';

it.each<[Json, string]>([
  [{ b: 1, a: { d: [3, 1, 2], c: null } }, '{"a":{"c":null,"d":[3,1,2]},"b":1}'],
  [{ '\u20ac': 1, '\r': 2, '1': 3, '\u00f6': 4 }, '{"\\r":2,"1":3,"ö":4,"€":1}'],
  [[333333333.33333329, 1e30, 4.5, 2e-3, -0], '[333333333.3333333,1e+30,4.5,0.002,0]'],
  ['"\\\n\u000f', '"\\"\\\\\\n\\u000f"'],
])('writes %j as RFC 8785 does', (value, text) => {
  expect(canonicalJson(value)).toBe(text);
});

it('says the same of a value however its keys came', () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      const text = canonicalJson(value as Json);
      expect(canonicalJson(JSON.parse(text) as Json)).toBe(text);
      expect(JSON.parse(text)).toEqual(JSON.parse(JSON.stringify(value)));
    }),
    { seed: 20261120 },
  );
});

it('refuses numbers that JSON has not', () => {
  expect(() => canonicalJson([NaN])).toThrow(TypeError);
});
