import { randomBytes, timingSafeEqual } from 'node:crypto';
import { assert, Secret } from '@alcove/base';
import { Problem } from '@alcove/contracts';
import { hkdf, hkdfPublic, keepState, keyBytes, wipe } from './keys';
import { encodeParts } from './parts';
import { tagBytes, XaesKey, xaesNonceBytes, xaesOpen, xaesSeal } from './xaes';

/** What the sealed bytes are; part of the header, so that a wrapped key never opens as a value nor the other way round. */
type Kind = 'value' | 'key';

/**
 * The layout, version 1:  'A' 'V' kind 1 · nonce (24) · commitment (32) · XAES-256-GCM ciphertext · tag (16).
 * The commitment is HKDF-SHA256 of the key, salted with the nonce, over header and associated data: it is checked first and in constant time, because GCM alone
 * lets someone who knows two keys make one ciphertext that opens under both. Encryption uses another subkey of the same key.
 */
const headers = { value: Buffer.from('AV\x01\x01', 'latin1'), key: Buffer.from('AV\x02\x01', 'latin1') } as const;
const headerBytes = 4;
const commitmentBytes = 32;
const commitmentPurpose = encodeParts(['alcove/value/1/commitment']);
const fixedBytes = headerBytes + xaesNonceBytes + commitmentBytes + tagBytes;

/** What sealValue and wrapKey add to their input. */
export const sealedOverheadBytes = fixedBytes;

/**
 * Seals a small value (held in memory whole) under a 32-byte key. `aad` says what it is and whose, part by part, at most some 900 bytes; opening
 * needs the same list. Never fails for data; randomness is drawn here.
 */
export function sealValue(key: Secret<Buffer>, plaintext: Buffer, aad: readonly string[]): Buffer {
  return sealWithNonce(key, plaintext, aad, 'value', randomBytes(xaesNonceBytes));
}

/** Opens what sealValue made. Problem `vault.corrupt` when anything about it differs: version, key, associated data, a bit, the length. */
export function openValue(key: Secret<Buffer>, sealed: Buffer, aad: readonly string[]): Buffer {
  return open(key, sealed, aad, 'value');
}

/** Seals a 32-byte key under another one. `aad` names what the key is for and whose it is. */
export function wrapKey(wrapping: Secret<Buffer>, key: Secret<Buffer>, aad: readonly string[]): Buffer {
  assert(key.expose().length === keyBytes, 'a key is 32 bytes');
  return sealWithNonce(wrapping, key.expose(), aad, 'key', randomBytes(xaesNonceBytes));
}

/** Opens what wrapKey made. Problem `vault.corrupt` as openValue. */
export function unwrapKey(wrapping: Secret<Buffer>, wrapped: Buffer, aad: readonly string[]): Secret<Buffer> {
  if (wrapped.length !== fixedBytes + keyBytes) throw corrupt('length');
  return new Secret(open(wrapping, wrapped, aad, 'key'));
}

/** sealValue with the nonce given: for known-answer tests only, a nonce must never be used twice. */
export function sealWithNonce(key: Secret<Buffer>, plaintext: Buffer, aad: readonly string[], kind: Kind, nonce: Buffer): Buffer {
  const bound = encodeParts([headers[kind], ...aad]);
  const { ciphertext, tag } = xaesSeal(encryptionKey(key), nonce, plaintext, bound);
  return Buffer.concat([headers[kind], nonce, commitment(key, nonce, bound), ciphertext, tag]);
}

function open(key: Secret<Buffer>, sealed: Buffer, aad: readonly string[], kind: Kind): Buffer {
  if (sealed.length < fixedBytes) throw corrupt('length');
  if (!sealed.subarray(0, headerBytes).equals(headers[kind])) throw corrupt('header');
  const nonce = sealed.subarray(headerBytes, headerBytes + xaesNonceBytes);
  const rest = sealed.subarray(headerBytes + xaesNonceBytes);
  const bound = encodeParts([headers[kind], ...aad]);
  if (!timingSafeEqual(rest.subarray(0, commitmentBytes), commitment(key, nonce, bound))) throw corrupt('key commitment');
  const plaintext = xaesOpen(encryptionKey(key), nonce, rest.subarray(commitmentBytes), bound);
  if (!plaintext) throw corrupt('tag');
  return plaintext;
}

/** `bound`: header and associated data, encoded. */
function commitment(key: Secret<Buffer>, nonce: Buffer, bound: Buffer): Buffer {
  // The bound of associated data: four bytes more for each part.
  assert(commitmentPurpose.length + bound.length <= 1024, 'associated data has at most 1024 bytes with its purpose');
  return hkdfPublic(key.expose(), nonce, [commitmentPurpose, bound]);
}

/** Kept until the key is wiped: making it takes longer than sealing a small value. */
function encryptionKey(key: Secret<Buffer>): XaesKey {
  const above = key.expose();
  return keepState(above, XaesKey, () => {
    const encryption = hkdf(above, Buffer.alloc(0), ['alcove/value/1/encryption'], keyBytes);
    try {
      return new XaesKey(encryption);
    } finally {
      wipe(encryption);
    }
  });
}

function corrupt(what: string): Problem {
  return new Problem('vault.corrupt', { detail: `a sealed value does not open (${what})` });
}
