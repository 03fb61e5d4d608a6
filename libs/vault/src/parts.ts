import { assert } from '@alcove/base';

/**
 * Encodes a list of strings and byte strings so that no two lists give the same bytes: each part is preceded by its length (u32, little-endian), strings are UTF-8.
 * Used for associated data and for HKDF's info, so `['ab', 'c']` and `['a', 'bc']` are different purposes.
 */
export function encodeParts(parts: readonly (string | Buffer)[]): Buffer {
  const out: Buffer[] = [];
  for (const part of parts) {
    const bytes = typeof part === 'string' ? Buffer.from(part, 'utf8') : part;
    assert(bytes.length <= 0xffff_ffff, 'a part is too long');
    const length = Buffer.alloc(4);
    length.writeUInt32LE(bytes.length);
    out.push(length, bytes);
  }
  return Buffer.concat(out);
}
