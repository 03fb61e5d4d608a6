import { assert } from '@alcove/base';
import { Problem } from '@alcove/contracts';

/** An AEAD shows how long its plaintext is. What text is padded to, so that only the bucket shows, in bytes; the length prefix of 4 bytes counts. */
export const sizeBuckets = [64, 256, 1024, 4096, 16_384, 65_536, 262_144] as const;
const prefixBytes = 4;

/** The smallest bucket that holds so many bytes and their length. */
export function bucketOf(bytes: number): number {
  const bucket = sizeBuckets.find((size) => size >= bytes + prefixBytes);
  assert(bucket !== undefined, 'text is longer than the largest bucket');
  return bucket;
}

/** Length (u32, little-endian), the bytes, zeros up to the bucket. The result is the caller's to wipe. */
export function pad(plain: Buffer): Buffer {
  const padded = Buffer.alloc(bucketOf(plain.length));
  padded.writeUInt32LE(plain.length);
  plain.copy(padded, prefixBytes);
  return padded;
}

/** The reverse, as a view of the padded bytes. Problem `vault.corrupt`: not what pad() makes. */
export function unpad(padded: Buffer): Buffer {
  const length = padded.length >= prefixBytes ? padded.readUInt32LE() : Infinity;
  if (length > padded.length - prefixBytes || bucketOf(length) !== padded.length) throw new Problem('vault.corrupt', { detail: 'a sealed text has not the form of one' });
  return padded.subarray(prefixBytes, prefixBytes + length);
}
