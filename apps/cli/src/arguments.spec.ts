import fc from 'fast-check';
import { editDistance, nearest, parseArguments } from './arguments';
import { CliFailure } from './failure';

const names = ['setup', 'up', 'down', 'status', 'demo', 'doctor', 'test', 'bench', 'lint', 'template', 'logs', 'completion', 'help'];

describe('the nearest name', () => {
  it.each([
    ['stauts', 'status'],
    ['dmeo', 'demo'],
    ['docter', 'doctor'],
    ['temp', 'template'],
    ['donw', 'down'],
  ])('of %s is %s', (typed, meant) => {
    expect(nearest(typed, names)).toBe(meant);
  });

  it('is nothing for a word that is far from all', () => {
    expect(nearest('xylophone', names)).toBeUndefined();
  });

  it('is the word itself for every known word', () => {
    for (const name of names) expect(nearest(name, names)).toBe(name);
  });
});

it('measures a distance: zero only for equals, symmetric, at most the longer word', () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 8 }), fc.string({ maxLength: 8 }), (a, b) => {
      const distance = editDistance(a, b);
      expect(distance === 0).toBe(a === b);
      expect(editDistance(b, a)).toBe(distance);
      expect(distance).toBeLessThanOrEqual(Math.max(a.length, b.length));
    }),
    { seed: 20260102 },
  );
});

describe('arguments', () => {
  const flags = { json: { type: 'boolean' }, samples: { type: 'string' } } as const;

  it('reads flags and words', () => {
    const parsed = parseArguments(['wake', '--json', '--samples', '5'], flags, { min: 0, max: 1 });
    expect(parsed.words).toEqual(['wake']);
    expect(parsed.has('json')).toBe(true);
    expect(parsed.count('samples', 30)).toBe(5);
  });

  it.each([[['--nope']], [['a', 'b']], [['--samples', 'many']], [['--samples', '0']]])('refuses %j as wrong usage', (args) => {
    const attempt = () => parseArguments(args, flags, { min: 0, max: 1 }).count('samples', 30);
    expect(attempt).toThrow(CliFailure);
    expect(attempt).toThrow(expect.objectContaining({ exitCode: 64 }));
  });
});
