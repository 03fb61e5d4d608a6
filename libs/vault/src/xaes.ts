import { type Cipheriv, createCipheriv, createDecipheriv } from 'node:crypto';
import { assert } from '@alcove/base';
import { keyBytes, wipe } from './keys';

export const xaesNonceBytes = 24;
export const tagBytes = 16;

/**
 * A key of XAES-256-GCM (https://c2sp.org/XAES-256-GCM), ready to derive keys for nonces: NIST SP 800-108r1 counter mode with CMAC, for the label `X`, the first half of the nonce
 * as context and a 16-bit counter. Each CMAC is of exactly one block, so it is one AES call on the block xored with the subkey K1. The AES context is kept, because making one
 * takes longer than encrypting 32 KiB.
 */
export class XaesKey {
  readonly #aes: Cipheriv;
  readonly #k1: Buffer;

  /** The key may be wiped afterwards. */
  constructor(key: Buffer) {
    assert(key.length === keyBytes, 'XAES-256-GCM takes a key of 32 bytes');
    this.#aes = createCipheriv('aes-256-ecb', key, null).setAutoPadding(false);
    this.#k1 = double(this.#aes.update(Buffer.alloc(16)));
  }

  /** The key of AES-256-GCM for one nonce; the caller's to wipe. */
  derive(nonce: Buffer): Buffer {
    const blocks = Buffer.alloc(32);
    for (const counter of [1, 2]) {
      const block = blocks.subarray((counter - 1) * 16, counter * 16);
      block[1] = counter;
      block[2] = 0x58;
      nonce.copy(block, 4, 0, 12);
      for (let i = 0; i < 16; i++) block[i] = (block[i] ?? 0) ^ (this.#k1[i] ?? 0);
    }
    return this.#aes.update(blocks);
  }

  /** Ends the AES context, which overwrites its key schedule. */
  wipe(): void {
    wipe(this.#k1);
    this.#aes.final();
  }
}

/** Doubling in GF(2^128), as in CMAC's subkey generation (NIST SP 800-38B, 6.1). */
function double(block: Buffer): Buffer {
  const out = Buffer.alloc(16);
  for (let i = 0; i < 16; i++) out[i] = (((block[i] ?? 0) << 1) | ((block[i + 1] ?? 0) >> 7)) & 0xff;
  // Branch-free, because the bit is of a secret.
  out[15] = (out[15] ?? 0) ^ (0x87 & -((block[0] ?? 0) >> 7));
  return out;
}

/** XAES-256-GCM: ciphertext and the 16-byte tag. The nonce may be random: 2^80 messages of one key before collisions matter. */
export function xaesSeal(key: XaesKey, nonce: Buffer, plaintext: Buffer, aad: Buffer): { ciphertext: Buffer; tag: Buffer } {
  assert(nonce.length === xaesNonceBytes, 'XAES-256-GCM takes a nonce of 24 bytes');
  const derived = key.derive(nonce);
  const cipher = createCipheriv('aes-256-gcm', derived, nonce.subarray(12));
  wipe(derived);
  cipher.setAAD(aad);
  const ciphertext = cipher.update(plaintext);
  cipher.final();
  return { ciphertext, tag: cipher.getAuthTag() };
}

/** The plaintext, or undefined when key, nonce, associated data or bytes (ciphertext and tag) do not belong together. */
export function xaesOpen(key: XaesKey, nonce: Buffer, sealed: Buffer, aad: Buffer): Buffer | undefined {
  assert(nonce.length === xaesNonceBytes, 'XAES-256-GCM takes a nonce of 24 bytes');
  if (sealed.length < tagBytes) return undefined;
  const derived = key.derive(nonce);
  const decipher = createDecipheriv('aes-256-gcm', derived, nonce.subarray(12), { authTagLength: tagBytes });
  wipe(derived);
  decipher.setAAD(aad);
  decipher.setAuthTag(sealed.subarray(sealed.length - tagBytes));
  const plaintext = decipher.update(sealed.subarray(0, sealed.length - tagBytes));
  try {
    decipher.final();
  } catch {
    wipe(plaintext);
    return undefined;
  }
  return plaintext;
}
