import type { Secret } from '@alcove/base';
import { KeyUnavailable, type KeyProvider, type KeyProviderDescription } from './key-provider';
import { readKeyRing, type KeyRing } from './key-ring';
import { unwrapKey, wrapKey } from './value';
import { wipe } from './keys';
import { acceptUnwrapped, assertContext, corruptWrap, decodeEnvelope, encodeEnvelope, wrapCommitment } from './wrap-envelope';

const firstVersion = 1;

/** The root key in a file that only its owner may read (its layouts: key-ring.ts): for development and single machines. */
export class FileKeyProvider implements KeyProvider {
  readonly kind = 'file';
  readonly keyId: string;
  readonly #ring: KeyRing;
  readonly #newest: number;
  private constructor(ring: KeyRing) {
    this.#ring = ring;
    this.keyId = `file:${ring.id}`;
    this.#newest = Math.max(...ring.keys.keys());
  }
  /**
   * Reads the key. A KeyUnavailable: `unreachable` when the file is missing or cannot be read, `denied` when it is not regular, another user's, readable or writable by
   * others, or no key file.
   */
  static async open(path: string): Promise<FileKeyProvider> {
    return new FileKeyProvider(await readKeyRing(path));
  }
  opens(keyId: string): boolean {
    return keyId === this.keyId;
  }
  async describe(): Promise<KeyProviderDescription> {
    return { kind: this.kind, keyId: this.keyId, keyVersion: String(this.#newest) };
  }
  async wrap(key: Secret<Buffer>, context: readonly string[]): Promise<Buffer> {
    return this.#wrap(key, context);
  }
  async unwrap(wrapped: Buffer, context: readonly string[]): Promise<Secret<Buffer>> {
    assertContext(context);
    // Wraps of homes that were made before the envelope: version 1 of the layout of value.ts, bare.
    if (wrapped[1] === 0x56) return unwrapKey(this.#key(firstVersion), wrapped, context);
    const envelope = decodeEnvelope(wrapped, this.kind);
    if (!/^[1-9]\d{0,8}$/.test(envelope.keyVersion)) throw corruptWrap('key version');
    return acceptUnwrapped(unwrapKey(this.#key(Number(envelope.keyVersion)), envelope.blob, context).expose(), envelope, context);
  }
  async rewrap(wrapped: Buffer, context: readonly string[]): Promise<Buffer> {
    const key = await this.unwrap(wrapped, context);
    try {
      return this.#wrap(key, context);
    } finally {
      wipe(key.expose());
    }
  }
  async close(): Promise<void> {
    for (const key of this.#ring.keys.values()) wipe(key.expose());
    this.#ring.keys.clear();
  }

  #wrap(key: Secret<Buffer>, context: readonly string[]): Buffer {
    const blob = wrapKey(this.#key(this.#newest), key, context);
    return encodeEnvelope({ kind: this.kind, keyVersion: String(this.#newest), commitment: wrapCommitment(key, this.kind, context), blob });
  }

  #key(version: number): Secret<Buffer> {
    const key = this.#ring.keys.get(version);
    if (!key) throw new KeyUnavailable('denied', `version ${version} of the root key was shut`);
    return key;
  }
}
