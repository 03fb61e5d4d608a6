import fc from 'fast-check';
import { roomIdOf, sandboxIdOf } from './sandbox-id';

const seed = 20261125;

it('is one room’s, both ways, and fit for a host name', () => {
  const digits = fc.array(fc.constantFrom(...'0123456789abcdef'), { minLength: 20, maxLength: 20 }).map((all) => all.join(''));
  fc.assert(
    fc.property(digits, (hex) => {
      expect(sandboxIdOf(`room_${hex}`)).toMatch(/^[a-z0-9]+$/);
      expect(roomIdOf(sandboxIdOf(`room_${hex}`))).toBe(`room_${hex}`);
    }),
    { seed },
  );
});

it('is none for anything else', () => {
  fc.assert(fc.property(fc.string(), (text) => roomIdOf(text) === null || /^i[0-9a-f]{20}$/.test(text)), { seed });
  for (const text of ['', 'i', `i${'0'.repeat(19)}`, `i${'0'.repeat(21)}`, `i${'g'.repeat(20)}`, `I${'0'.repeat(20)}`, `i${'0'.repeat(20)}\n`, `room_${'0'.repeat(20)}`]) expect(roomIdOf(text)).toBeNull();
});
