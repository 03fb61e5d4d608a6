import { isProblem } from '@alcove/contracts';
import fc from 'fast-check';
import { encodeFields, Fields } from './fields';

const protocol = { code: 'guest.protocol' };
const name = fc.stringMatching(/^[a-zA-Z][a-zA-Z0-9]{0,31}$/);
const list = fc.array(fc.tuple(name, fc.string({ maxLength: 40 })), { maxLength: 10 });
const of = (...pairs: [string, string][]) => new Fields(encodeFields(pairs));
const problemOf = (work: () => unknown): unknown => {
  try {
    work();
  } catch (error) {
    return error;
  }
  return undefined;
};

describe('fields', () => {
  it('come back as they were', () => {
    fc.assert(
      fc.property(list, (pairs) => {
        const unique = [...new Map(pairs)];
        const fields = new Fields(encodeFields(unique));
        for (const [key, value] of unique) expect(fields.text(key, 200)).toBe(Buffer.from(value).toString());
      }),
      { seed: 20250401, numRuns: 300 },
    );
  });

  it('that were mutated are fields or guest.protocol, never anything else', () => {
    fc.assert(
      fc.property(list, fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { maxLength: 5 }), fc.nat(), (pairs, changes, cut) => {
        const valid = encodeFields(pairs);
        const bytes = Buffer.from(valid.subarray(0, valid.length - (cut % (valid.length + 1))));
        for (const [at, value] of changes) if (bytes.length > 0) bytes[at % bytes.length] = value;
        const problem = problemOf(() => new Fields(bytes));
        expect(problem === undefined || isProblem(problem, 'guest.protocol')).toBe(true);
      }),
      { seed: 20250402, numRuns: 500 },
    );
  });

  it('of random bytes likewise', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        const problem = problemOf(() => new Fields(Buffer.from(bytes)));
        expect(problem === undefined || isProblem(problem, 'guest.protocol')).toBe(true);
      }),
      { seed: 20250403, numRuns: 500 },
    );
  });

  it('are at most 1,024 and 65,536 bytes', () => {
    const many = Buffer.concat(Array.from({ length: 1025 }, () => encodeFields([['a', '']])));
    expect(new Fields(many.subarray(6)).has('a')).toBe(true);
    expect(problemOf(() => new Fields(many))).toMatchObject(protocol);
    expect(problemOf(() => new Fields(Buffer.alloc(65_537)))).toMatchObject(protocol);
    expect(problemOf(() => encodeFields([['a', 'x'.repeat(65_536)]]))).toMatchObject({ code: 'request.too_large' });
  });

  it('claim no more than is there', () => {
    const lying = encodeFields([['a', 'b']]);
    lying.writeUInt32LE(0xffff_ffff, 2);
    expect(problemOf(() => new Fields(lying))).toMatchObject(protocol);
  });

  it('are what the reader expects, or guest.protocol', () => {
    expect([of(['n', '42']).integer('n'), of(['n', '0.25']).decimal('n'), of(['f', '1']).flag('f'), of(['f', '0']).flag('f'), of().flag('f')]).toEqual([42, 0.25, true, false, false]);
    expect(of(['n', '9223372036854775807']).integer('n')).toBe(Number.MAX_SAFE_INTEGER);
    for (const bad of ['', '-1', '1.5', '1e3', '0x10', ' 1', '1'.repeat(21)]) expect(problemOf(() => of(['n', bad]).integer('n'))).toMatchObject(protocol);
    expect(problemOf(() => of(['f', '2']).flag('f'))).toMatchObject(protocol);
    expect(problemOf(() => of().text('t', 5))).toMatchObject(protocol);
    expect(problemOf(() => of(['t', 'toolong']).text('t', 5))).toMatchObject(protocol);
    expect(problemOf(() => of(['t', 'a'], ['t', 'b']).text('t', 5))).toMatchObject(protocol);
  });

  it('may be there several times, where that is asked for', () => {
    const list = of(['w', 'a'], ['e', 'k=v=w'], ['w', ''], ['e', 'l='], ['e', 'l=2'], ['e', '__proto__=p']);
    expect(list.all('w')).toEqual(['a', '']);
    expect(list.all('none')).toEqual([]);
    expect(Object.entries(list.pairs('e'))).toEqual([['k', 'v=w'], ['l', '2'], ['__proto__', 'p']]);
    for (const bad of ['', 'k', '=v']) expect(problemOf(() => of(['e', bad]).pairs('e'))).toMatchObject(protocol);
    expect([of(['n', '3']).optionalInteger('n'), of().optionalInteger('n')]).toEqual([3, undefined]);
    expect(problemOf(() => of(['n', 'x']).optionalInteger('n'))).toMatchObject(protocol);
  });
});
