import { assert } from '@alcove/base';

/**
 * Encodes a list of strings and byte strings so that no two lists give the same bytes: each part is preceded by its length (u32, little-endian), strings are UTF-8.
 * Used for associated data and for HKDF's info, so `['ab', 'c']` and `['a', 'bc']` are different purposes.
 */
export function encodeParts(parts: readonly (string | Buffer)[]): Buffer {
  let bytes = 0;
  for (const part of parts) bytes += 4 + (typeof part === 'string' ? Buffer.byteLength(part, 'utf8') : part.length);
  assert(bytes <= 0x7fff_ffff, 'the parts are too long');
  const out = Buffer.allocUnsafe(bytes);
  let at = 0;
  for (const part of parts) {
    const length = typeof part === 'string' ? out.write(part, at + 4, 'utf8') : part.copy(out, at + 4);
    out.writeUInt32LE(length, at);
    at += 4 + length;
  }
  return out;
}
