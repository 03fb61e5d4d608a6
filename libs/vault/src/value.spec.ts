import { hkdfSync } from 'node:crypto';
import { Secret } from '@alcove/base';
import { isProblem } from '@alcove/contracts';
import fc from 'fast-check';
import { deriveSubkey, hkdf, wipe } from './keys';
import { encodeParts } from './parts';
import { openValue, sealedOverheadBytes, sealValue, sealWithNonce, unwrapKey, wrapKey } from './value';

const key = new Secret(Buffer.alloc(32, 7));
const otherKey = new Secret(Buffer.alloc(32, 8));
const corrupt = (work: () => unknown): boolean => {
  try {
    work();
  } catch (error) {
    return isProblem(error, 'vault.corrupt');
  }
  return false;
};

describe('sealed values', () => {
  it('keep their layout: a golden of version 1', () => {
    const sealed = sealWithNonce(key, Buffer.from('alcove'), ['env', 'room_1'], 'value', Buffer.alloc(24, 9));
    expect(sealed.toString('hex')).toBe(golden.value);
    expect(openValue(key, Buffer.from(golden.value, 'hex'), ['env', 'room_1']).toString()).toBe('alcove');
    expect(sealed.length).toBe(6 + sealedOverheadBytes);
    expect(unwrapKey(key, Buffer.from(golden.wrapped, 'hex'), ['user', 'u1']).expose()).toEqual(Buffer.alloc(32, 5));
  });

  it('open to what was sealed, with the same parts, and are never the same twice', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.array(fc.string(), { maxLength: 4 }), (bytes, aad) => {
        const plaintext = Buffer.from(bytes);
        const sealed = sealValue(key, plaintext, aad);
        expect(openValue(key, sealed, aad)).toEqual(plaintext);
        expect(sealValue(key, plaintext, aad)).not.toEqual(sealed);
      }),
      { seed: 20250101, numRuns: 200 },
    );
  });

  it('refuse every single flipped bit', () => {
    const sealed = sealValue(key, Buffer.from('secret'), ['a']);
    for (let bit = 0; bit < sealed.length * 8; bit++) {
      const bad = Buffer.from(sealed);
      bad[bit >> 3] = (bad[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      expect(corrupt(() => openValue(key, bad, ['a']))).toBe(true);
    }
  });

  it('refuse any other length, key, parts or kind', () => {
    const sealed = sealValue(key, Buffer.alloc(32, 1), ['ab', 'c']);
    for (let length = 0; length < sealed.length; length++) expect(corrupt(() => openValue(key, sealed.subarray(0, length), ['ab', 'c']))).toBe(true);
    expect(corrupt(() => openValue(key, Buffer.concat([sealed, Buffer.alloc(1)]), ['ab', 'c']))).toBe(true);
    expect(corrupt(() => openValue(otherKey, sealed, ['ab', 'c']))).toBe(true);
    expect(corrupt(() => openValue(key, sealed, ['a', 'bc']))).toBe(true);
    expect(corrupt(() => openValue(key, sealed, ['ab', 'c', '']))).toBe(true);
    expect(corrupt(() => unwrapKey(key, sealed, ['ab', 'c']))).toBe(true);
    expect(corrupt(() => openValue(key, wrapKey(key, otherKey, ['x']), ['x']))).toBe(true);
  });

  it('refuse random bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => corrupt(() => openValue(key, Buffer.from(bytes), []))),
      { seed: 20250102, numRuns: 300 },
    );
  });
});

describe('wrapped keys', () => {
  it('unwrap to the key, for its own context only', () => {
    const wrapped = wrapKey(key, otherKey, ['tenant', 't1']);
    expect(unwrapKey(key, wrapped, ['tenant', 't1']).expose()).toEqual(otherKey.expose());
    expect(corrupt(() => unwrapKey(key, wrapped, ['tenant', 't2']))).toBe(true);
    expect(corrupt(() => unwrapKey(otherKey, wrapped, ['tenant', 't1']))).toBe(true);
  });
});

describe('derived keys', () => {
  it('keep their derivation: a golden', () => {
    expect(deriveSubkey(key, ['image', 'room_1']).expose().toString('hex')).toBe(golden.derived);
  });
  it('differ by key, by purpose and by where its parts end', () => {
    const seen = new Set([
      deriveSubkey(key, ['ab', 'c']), deriveSubkey(key, ['a', 'bc']), deriveSubkey(key, ['abc']), deriveSubkey(key, ['abc', '']), deriveSubkey(otherKey, ['abc']),
    ].map((k) => k.expose().toString('hex')));
    expect(seen.size).toBe(5);
  });
  it('are those of HKDF-SHA256 as Node makes it, of any length', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), fc.uint8Array({ maxLength: 100 }), fc.array(fc.string({ maxLength: 20 }), { minLength: 1, maxLength: 5 }), fc.integer({ min: 1, max: 300 }), (bytes, salt, purpose, length) => {
        fc.pre(bytes.some((byte) => byte !== 0));
        const expected = Buffer.from(hkdfSync('sha256', bytes, salt, encodeParts(purpose), length));
        expect(hkdf(Buffer.from(bytes), Buffer.from(salt), purpose, length)).toEqual(expected);
      }),
      { seed: 20261201, numRuns: 200 },
    );
  });
  it('come of no key that was wiped', () => {
    const used = new Secret(Buffer.alloc(32, 3));
    const sealed = sealValue(used, Buffer.from('x'), ['a']);
    expect(openValue(used, sealed, ['a']).toString()).toBe('x');
    wipe(used.expose());
    expect(() => deriveSubkey(used, ['x'])).toThrow('wiped');
    expect(() => sealValue(used, Buffer.from('x'), ['a'])).toThrow('wiped');
    expect(() => openValue(used, sealed, ['a'])).toThrow('wiped');
  });
  it('are those of the key that a buffer holds now, not of the one before', () => {
    const buffer = Buffer.alloc(32, 3);
    const sealed = sealValue(new Secret(buffer), Buffer.from('x'), ['a']);
    buffer.fill(4);
    expect(corrupt(() => openValue(new Secret(buffer), sealed, ['a']))).toBe(true);
    const again = sealValue(new Secret(buffer), Buffer.from('y'), ['a']);
    expect(openValue(new Secret(Buffer.alloc(32, 4)), again, ['a']).toString()).toBe('y');
  });
  it('have the length that was asked for', () => {
    expect(deriveSubkey(key, ['x'], 64).expose().length).toBe(64);
  });
});

it('no two lists of parts are encoded alike', () => {
  const list = fc.array(fc.string({ maxLength: 5 }), { maxLength: 4 });
  fc.assert(
    fc.property(list, list, (a, b) => encodeParts(a).equals(encodeParts(b)) === (JSON.stringify(a) === JSON.stringify(b))),
    { seed: 20250103, numRuns: 500 },
  );
});

/** HKDF's parts of these (derived key, commitments) and the stream's chunks were also computed by a second implementation, in Python. */
const golden = {
  value: '41560101090909090909090909090909090909090909090909090909bb1a2e1f7f33808589ece07f345feab119619ec6756812d43f82c062088f599dd1ce5deb7161968dcd6db318273eb1c786df477d2a54',
  wrapped:
    '415602010404040404040404040404040404040404040404040404045ab6e37a53b7997520386311098e63939ee5fbfb006c166bef68e43bd867007e80407f140427e8fefc5bd0f951d0ba636087af0d38a7daca4b7856a139d2cb79f7e8c1014ecb8268fa82bdd790f85c4e',
  derived: '0c2ef106715936578b2dfe67e145f7742ce2244b5690454e2f143480145c9216',
};
