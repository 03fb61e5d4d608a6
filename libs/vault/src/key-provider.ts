import type { Secret } from '@alcove/base';
import { Problem } from '@alcove/contracts';

export const keyProviderKinds = ['file', 'pkcs11', 'aws_kms', 'vault_transit'] as const;
export type KeyProviderKind = (typeof keyProviderKinds)[number];

/** What may be shown and logged about a provider; nothing secret. */
export interface KeyProviderDescription {
  readonly kind: KeyProviderKind;
  /** The same as `KeyProvider.keyId`. */
  readonly keyId: string;
  /** The version that wraps now, in the provider's words: a number, or an identifier of key material. */
  readonly keyVersion: string;
}

/**
 * What holds a key that wraps other keys: the platform's root key, or a tenant's own. It never gives that key away. `context` says what a wrapped key is for and whose
 * it is, part by part; it is authenticated with the wrap and stays readable to the provider and in its logs, so it holds ids only. At most 16 parts and 768 bytes.
 *
 * Problems of every call: `vault.key_unavailable` (a KeyUnavailable, whose `reason` says whether asking again can help).
 */
export interface KeyProvider {
  readonly kind: KeyProviderKind;
  /** Names the key that wraps, for the record beside what it wrapped; the same for all of its versions; says nothing about it. */
  readonly keyId: string;
  /** Whether it unwraps what is recorded under that key id: its own, and those of keys that it was moved away from (AWS KMS, `formerKeyArns`). */
  opens(keyId: string): boolean;
  /** Asks the provider, so it also tells whether the key may be used. */
  describe(): Promise<KeyProviderDescription>;
  /** Wraps a key of 32 bytes under the newest version. */
  wrap(key: Secret<Buffer>, context: readonly string[]): Promise<Buffer>;
  /** Problem `vault.corrupt` when it was wrapped by another key, for another context, or is damaged. */
  unwrap(wrapped: Buffer, context: readonly string[]): Promise<Secret<Buffer>>;
  /**
   * Wraps under the newest version what an older one wrapped; the wrapped key stays the same. Where the provider can (AWS KMS), the key does not leave it meanwhile.
   * Problem `vault.corrupt` as unwrap.
   */
  rewrap(wrapped: Buffer, context: readonly string[]): Promise<Buffer>;
  /** Lets go of sessions and overwrites what this process holds of the key. Nothing works afterwards. */
  close(): Promise<void>;
}

/** `unreachable`: no usable answer, asking again may help. `denied`: the provider answered that this key may not be used (revoked, disabled, destroyed, no right). */
export type KeyUnavailableReason = 'unreachable' | 'denied';

/** The Problem `vault.key_unavailable` with its reason. On `denied` drop every key that was unwrapped under this provider at once. */
export class KeyUnavailable extends Problem {
  constructor(
    readonly reason: KeyUnavailableReason,
    detail: string,
    cause?: unknown,
  ) {
    super('vault.key_unavailable', { detail: `${detail} (${reason})`, cause });
  }
}

/** The reason of a KeyUnavailable; undefined for every other error. */
export function keyUnavailableReason(error: unknown): KeyUnavailableReason | undefined {
  return error instanceof KeyUnavailable ? error.reason : undefined;
}
