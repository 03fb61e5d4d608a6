import fc from 'fast-check';
import { encodingOf, rangeOf } from './download';

it('answers a range within the file, or not at all', () => {
  const ends = fc.option(fc.nat(300), { nil: '' as const });
  fc.assert(
    fc.property(ends, ends, fc.nat(200), (first, last, size) => {
      const range = rangeOf(`bytes=${first}-${last}`, size);
      if (typeof range === 'string') return;
      expect(range.length).toBeGreaterThan(0);
      expect(range.from).toBeGreaterThanOrEqual(0);
      expect(range.from + range.length).toBeLessThanOrEqual(size);
      if (first !== '') expect(range.from).toBe(first);
      if (first === '') expect(range.from + range.length).toBe(size);
    }),
  );
});
it('passes over what is no range', () => {
  fc.assert(fc.property(fc.string(), (text) => expect(['whole', 'unsatisfiable']).toContain(rangeOf(`units=${text}`, 10))));
});
it('never picks a coding that was refused', () => {
  const item = fc.tuple(fc.constantFrom('gzip', 'identity', 'br', '*'), fc.constantFrom('', ';q=0', ';q=0.5', '; q=1'));
  fc.assert(
    fc.property(fc.array(item, { maxLength: 4 }), (items) => {
      const header = items.map(([coding, q]) => coding + q).join(', ');
      const last = new Map(items);
      const picked = encodingOf(header);
      if (picked !== null) expect(last.get(picked)).not.toBe(';q=0');
      if (picked === 'gzip') expect(last.has('gzip') || last.has('*')).toBe(true);
    }),
  );
});
