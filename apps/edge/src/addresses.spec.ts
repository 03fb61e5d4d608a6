import { roomIdOf } from '@alcove/contracts';
import fc from 'fast-check';
import { destinationOf, hostNameOf } from './addresses';

const seed = 20_261_125;
const domain = 'alcove.test';
const none = { id: undefined, port: undefined };
const id = fc.string({ unit: fc.constantFrom(...'0123456789abcdef'), minLength: 20, maxLength: 20 }).map((hex) => `i${hex}`);
const someCase = (text: string, upper: boolean[]): string => [...text].map((letter, at) => (upper[at % upper.length] ? letter.toUpperCase() : letter)).join('');

it('finds the room of every port and id, in any case, with any port behind it', () => {
  fc.assert(
    fc.property(id, fc.integer({ min: 1, max: 65_535 }), fc.array(fc.boolean(), { minLength: 1, maxLength: 9 }), fc.option(fc.integer({ min: 0, max: 65_535 })), fc.boolean(), (sandboxId, port, upper, behind, dot) => {
      const authority = someCase(`${port}-${sandboxId}.${domain}${dot ? '.' : ''}`, upper) + (behind === null ? '' : `:${behind}`);
      expect(destinationOf(authority, none, domain)).toEqual({ kind: 'room', sandboxId, roomId: `room_${sandboxId.slice(1)}`, port });
    }),
    { seed },
  );
});

it('gives a room to nothing else: what it takes for one names exactly that one', () => {
  const text = fc.oneof(
    fc.string({ maxLength: 80 }),
    fc.array(fc.oneof(fc.constantFrom('api', 'sandbox', 'localhost', domain, '.', '-', ':', '8443', '127.0.0.1', '[::1]', '@', '/', ' ', '\0', 'evil.example', '49983', `i${'0'.repeat(20)}`), fc.string({ maxLength: 3 })), { maxLength: 8 }).map((parts) => parts.join('')),
  );
  const header = fc.option(fc.oneof(fc.string({ maxLength: 30 }), id), { nil: undefined });
  fc.assert(
    fc.property(text, header, header, (authority, headerId, headerPort) => {
      const found = destinationOf(authority, { id: headerId, port: headerPort }, domain);
      const name = hostNameOf(authority);
      if (found.kind === 'api') expect(name).toBe(`api.${domain}`);
      if (found.kind !== 'room') return;
      expect(found.port).toBeGreaterThan(0);
      expect(found.port).toBeLessThan(65_536);
      expect(found.roomId).toBe(roomIdOf(found.sandboxId));
      const byName = name === `${found.port}-${found.sandboxId}.${domain}`;
      const byHeaders = headerId?.toLowerCase() === found.sandboxId && (headerPort ?? '49983') === String(found.port) && (name === 'localhost' || name === `sandbox.${domain}` || /^[0-9a-f:.]+$/.test(name ?? ''));
      expect(byName || byHeaders).toBe(true);
    }),
    { seed, numRuns: 2000 },
  );
});

it.each([
  ['', 'bad'],
  ['user@api.alcove.test', 'bad'],
  ['api.alcove.test:99999999', 'bad'],
  ['api.alcove.test/..', 'bad'],
  ['api.alcove.test ', 'bad'],
  ['api..alcove.test', 'nothing'],
  ['.alcove.test', 'nothing'],
  ['api.alcove.test.', 'api'],
  ['1-2-3.alcove.test', 'nothing'],
  ['03000-abc.alcove.test', 'nothing'],
  ['xalcove.test', 'foreign'],
])('takes %j for %s', (authority, kind) => {
  expect(destinationOf(authority, none, domain).kind).toBe(kind);
});
