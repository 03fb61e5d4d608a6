import { timingSafeEqual } from 'node:crypto';
import { assert, Secret } from '@alcove/base';
import { Problem } from '@alcove/contracts';
import { hkdf, keyBytes, wipe } from './keys';
import { keyProviderKinds, type KeyProviderKind } from './key-provider';

/**
 * What every provider's wrap looks like outside, version 1:
 *
 *     'A' 'P' kind 1 · commitment (32) · length of the key version (u8) · key version (ASCII) · what the provider made of the key
 *
 * The commitment is HKDF-SHA256 of the wrapped key over kind and context. It is checked after unwrapping: a provider that answers with another key, or that does not
 * bind the context itself, is found out. It stays the same when a key is wrapped again, so that nobody has to see the key for that. The key version selects the key
 * (or is compared with what the provider says); it proves nothing.
 */
export interface WrapEnvelope {
  readonly kind: KeyProviderKind;
  readonly keyVersion: string;
  readonly commitment: Buffer;
  readonly blob: Buffer;
}

const kindBytes: Record<KeyProviderKind, number> = { file: 1, pkcs11: 2, aws_kms: 3, vault_transit: 4 };
const commitmentBytes = 32;
const fixedBytes = 4 + commitmentBytes + 1;
const maxWrapBytes = 8 << 10;
const maxContextParts = 16;
const maxContextBytes = 768;

export function encodeEnvelope({ kind, keyVersion, commitment, blob }: WrapEnvelope): Buffer {
  assert(/^[\x21-\x7e]{1,128}$/.test(keyVersion), 'a key version is 1 to 128 visible ASCII characters');
  const version = Buffer.from(keyVersion, 'latin1');
  const out = Buffer.concat([Buffer.from([0x41, 0x50, kindBytes[kind], 1]), commitment, Buffer.from([version.length]), version, blob]);
  assert(out.length <= maxWrapBytes, 'a wrapped key has at most 8 KiB');
  return out;
}

/** Problem `vault.corrupt` for anything that encodeEnvelope does not make of this kind. */
export function decodeEnvelope(wrapped: Buffer, kind: KeyProviderKind): WrapEnvelope {
  const envelope = parseEnvelope(wrapped);
  if (envelope?.kind !== kind) throw corruptWrap('layout');
  return envelope;
}

function parseEnvelope(wrapped: Buffer): WrapEnvelope | undefined {
  if (wrapped.length <= fixedBytes || wrapped.length > maxWrapBytes || wrapped[0] !== 0x41 || wrapped[1] !== 0x50 || wrapped[3] !== 1) return undefined;
  const kind = keyProviderKinds.find((one) => kindBytes[one] === wrapped[2]);
  const end = fixedBytes + (wrapped[fixedBytes - 1] ?? 0);
  const keyVersion = wrapped.subarray(fixedBytes, end).toString('latin1');
  if (!kind || wrapped.length <= end || !/^[\x21-\x7e]{1,128}$/.test(keyVersion)) return undefined;
  return { kind, keyVersion, commitment: wrapped.subarray(4, 4 + commitmentBytes), blob: wrapped.subarray(end) };
}

/** Which provider and which version of its key a wrap says it is of; for progress and records, not for trust. Undefined when it is no such wrap. */
export function wrapVersion(wrapped: Buffer): { kind: KeyProviderKind; keyVersion: string } | undefined {
  const parsed = parseEnvelope(wrapped);
  return parsed && { kind: parsed.kind, keyVersion: parsed.keyVersion };
}

/** Ties a wrap to the key in it and to its context, without telling anything about the key: it is of 256 random bits. */
export function wrapCommitment(key: Secret<Buffer>, kind: KeyProviderKind, context: readonly string[]): Buffer {
  assert(key.expose().length === keyBytes, 'a key is 32 bytes');
  assertContext(context);
  return hkdf(key.expose(), Buffer.alloc(0), ['alcove/provider/1/commitment', kind, ...context], commitmentBytes);
}

/** Takes over what a provider unwrapped. Problem `vault.corrupt`, and the bytes are overwritten, when it is not the key that the envelope was made for. */
export function acceptUnwrapped(plain: Buffer, envelope: WrapEnvelope, context: readonly string[]): Secret<Buffer> {
  const key = new Secret(plain);
  if (plain.length === keyBytes && timingSafeEqual(wrapCommitment(key, envelope.kind, context), envelope.commitment)) return key;
  wipe(plain);
  throw corruptWrap('key commitment');
}

export function assertContext(context: readonly string[]): void {
  const bytes = context.reduce((sum, part) => sum + Buffer.byteLength(part), 0);
  assert(context.length > 0 && context.length <= maxContextParts && bytes <= maxContextBytes, 'a context has 1 to 16 parts and at most 768 bytes');
  assert(context.every((part) => part.isWellFormed()), 'a context is of well-formed text');
}

export function corruptWrap(what: string, cause?: unknown): Problem {
  return new Problem('vault.corrupt', { detail: `a wrapped key does not open (${what})`, cause });
}
