import { hash } from 'node:crypto';
import { assert, Secret } from '@alcove/base';
import { encodeParts } from './parts';

/** Every key of this lib is 256 bits. */
export const keyBytes = 32;
const hashBytes = 32;
const blockBytes = 64;
const noKey = Buffer.alloc(keyBytes);
const firstCounter = Buffer.from([1]);

/**
 * HKDF-SHA256 (RFC 5869) with the length-prefixed purpose as info. The result is the caller's to wipe. Made of `crypto.hash`, because `hkdfSync` and `createHmac` look their
 * algorithm up anew for every call: six times the time, most of what sealing a small value took.
 */
export function hkdf(key: Buffer, salt: Buffer, purpose: readonly (string | Buffer)[], bytes: number): Buffer {
  assert(purpose.length > 0, 'a derived key needs a purpose');
  return hkdfEncoded(key, salt, encodeParts(purpose), bytes);
}

/** hkdf for a purpose that is encoded already. */
export function hkdfEncoded(key: Buffer, salt: Buffer, info: Buffer, bytes: number): Buffer {
  assert(key.length === keyBytes, 'a key is 32 bytes');
  // Fail closed: who seals under a key that was overwritten would seal under one that everybody knows.
  assert(!key.equals(noKey), 'a key was used after it was wiped');
  // The bound of a value's associated data too: four bytes more for each part.
  assert(info.length <= 1024, 'a purpose, or associated data, has at most 1024 bytes');
  const extracted = hmacSha256(salt, key);
  if (bytes === hashBytes) {
    const only = hmacSha256(extracted, info, firstCounter);
    wipe(extracted);
    return only;
  }
  const out = Buffer.alloc(bytes);
  let block: Buffer = Buffer.alloc(0);
  for (let at = 0, counter = 1; at < bytes; at += hashBytes, counter++) {
    const next = hmacSha256(extracted, block, info, Buffer.from([counter]));
    wipe(block);
    block = next;
    block.copy(out, at);
  }
  wipe(block);
  wipe(extracted);
  return out;
}

const scratch = Buffer.alloc(blockBytes + 2048);
const scratchOuter = Buffer.alloc(blockBytes + hashBytes);

/**
 * HKDF-SHA256 with 32 bytes of result, for a result that is no secret (a commitment): what is between goes through strings, which cannot be wiped, because `crypto.hash` gives those in a third of the
 * time of a Buffer. It tells nobody the key: all of them are hashes of it. The same answer as hkdfEncoded.
 */
export function hkdfPublic(key: Buffer, salt: Buffer, info: readonly Buffer[]): Buffer {
  assert(key.length === keyBytes && salt.length <= blockBytes, 'a key is 32 bytes, and a salt at most 64');
  assert(!key.equals(noKey), 'a key was used after it was wiped');
  const extracted = hmacInScratch(salt, [key]);
  const made = Buffer.from(hmacInScratch(Buffer.from(extracted, 'latin1'), [...info, firstCounter]), 'latin1');
  scratch.fill(0);
  scratchOuter.fill(0);
  return made;
}

/** HMAC-SHA256 as latin1, for a key of at most a block. */
function hmacInScratch(key: Buffer, message: readonly Buffer[]): string {
  scratch.fill(0x36, 0, blockBytes);
  scratchOuter.fill(0x5c, 0, blockBytes);
  for (let i = 0; i < key.length; i++) {
    const byte = key[i] ?? 0;
    scratch[i] = byte ^ 0x36;
    scratchOuter[i] = byte ^ 0x5c;
  }
  let at = blockBytes;
  for (const part of message) at += part.copy(scratch, at);
  scratchOuter.write(hash('sha256', scratch.subarray(0, at), 'binary'), blockBytes, 'latin1');
  return hash('sha256', scratchOuter, 'binary');
}

/** HMAC-SHA256 (RFC 2104) of all parts, one after the other. */
export function hmacSha256(key: Buffer, ...message: readonly Buffer[]): Buffer {
  const short = key.length > blockBytes ? hash('sha256', key, 'buffer') : key;
  let bytes = blockBytes;
  for (const part of message) bytes += part.length;
  const inner = Buffer.allocUnsafe(bytes).fill(0x36, 0, blockBytes);
  const outer = Buffer.allocUnsafe(blockBytes + hashBytes).fill(0x5c, 0, blockBytes);
  for (let i = 0; i < short.length; i++) {
    const byte = short[i] ?? 0;
    inner[i] = byte ^ 0x36;
    outer[i] = byte ^ 0x5c;
  }
  let at = blockBytes;
  for (const part of message) at += part.copy(inner, at);
  hash('sha256', inner, 'buffer').copy(outer, blockBytes);
  const mac = hash('sha256', outer, 'buffer');
  wipe(inner);
  wipe(outer);
  return mac;
}

/**
 * A key for one purpose, from which neither the key above nor a key of another purpose can be found (HKDF-SHA256, RFC 5869, empty salt, info = the purpose's parts,
 * each with its length). `bytes` is at most 8,160. The same arguments always give the same key.
 */
export function deriveSubkey(key: Secret<Buffer>, purpose: readonly string[], bytes: number = keyBytes): Secret<Buffer> {
  assert(bytes >= 16 && bytes <= 255 * hashBytes, 'a derived key has 16 to 8160 bytes');
  return new Secret(hkdf(key.expose(), Buffer.alloc(0), ['alcove/subkey/1', ...purpose], bytes));
}

/** What was made from a key and kept, so that the next use is cheaper; it goes when the key goes. */
export interface KeptState {
  wipe(): void;
}
const kept = new WeakMap<Buffer, { state: KeptState; of: string }>();

/**
 * What `make` makes of a key, kept until the key is wiped or collected. A buffer that holds another key by now (or none) gets another state: the key's hash is compared. One
 * kind of state is kept per key.
 */
export function keepState<T extends KeptState>(key: Buffer, kind: new (...never: never[]) => T, make: () => T): T {
  const of = hash('sha256', key, 'binary');
  const known = kept.get(key);
  if (known?.state instanceof kind && known.of === of) return known.state;
  known?.state.wipe();
  const state = make();
  kept.set(key, { state, of });
  return state;
}

/** Overwrites a key that is not needed any more, and what was kept of it. A best effort: the runtime may have copied it. */
export function wipe(buffer: Buffer): void {
  kept.get(buffer)?.state.wipe();
  kept.delete(buffer);
  buffer.fill(0);
}
