import { hkdfSync } from 'node:crypto';
import { assert, Secret } from '@alcove/base';
import { encodeParts } from './parts';

/** Every key of this lib is 256 bits. */
export const keyBytes = 32;

/** HKDF-SHA256 (RFC 5869) with the length-prefixed purpose as info. The result is the caller's to wipe. */
export function hkdf(key: Buffer, salt: Buffer, purpose: readonly (string | Buffer)[], bytes: number): Buffer {
  assert(key.length === keyBytes, 'a key is 32 bytes');
  assert(purpose.length > 0, 'a derived key needs a purpose');
  return Buffer.from(hkdfSync('sha256', key, salt, encodeParts(purpose), bytes));
}

/**
 * A key for one purpose, from which neither the key above nor a key of another purpose can be found (HKDF-SHA256, RFC 5869, empty salt, info = the purpose's parts,
 * each with its length). `bytes` is at most 8,160. The same arguments always give the same key.
 */
export function deriveSubkey(key: Secret<Buffer>, purpose: readonly string[], bytes: number = keyBytes): Secret<Buffer> {
  assert(bytes >= 16 && bytes <= 255 * 32, 'a derived key has 16 to 8160 bytes');
  return new Secret(hkdf(key.expose(), Buffer.alloc(0), ['alcove/subkey/1', ...purpose], bytes));
}

/** Overwrites a key that is not needed any more. A best effort: the runtime may have copied it. */
export function wipe(buffer: Buffer): void {
  buffer.fill(0);
}
