import fc from 'fast-check';
import { bucketOf, pad, sizeBuckets, unpad } from './padding';

const seed = 20261126;

it('shows the bucket only, and gives back what was padded', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 5000 }), (bytes) => {
      const padded = pad(Buffer.from(bytes));
      expect(sizeBuckets).toContain(padded.length);
      expect(padded.length).toBe(bucketOf(bytes.length));
      expect(unpad(padded).equals(Buffer.from(bytes))).toBe(true);
    }),
    { seed },
  );
});

it('takes nothing that it did not make', () => {
  fc.assert(
    fc.property(fc.constantFrom(...sizeBuckets.slice(0, 4)), fc.integer({ min: 0, max: 0xffff_ffff }), (size, length) => {
      const forged = Buffer.alloc(size);
      forged.writeUInt32LE(length);
      const fits = length <= size - 4 && bucketOf(length) === size;
      if (fits) expect(unpad(forged)).toHaveLength(length);
      else expect(() => unpad(forged)).toThrow('vault.corrupt');
    }),
    { seed },
  );
  expect(() => unpad(Buffer.alloc(3))).toThrow('vault.corrupt');
});
