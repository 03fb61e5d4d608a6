import { randomBytes } from 'node:crypto';
import type { Clock, Secret } from '@alcove/base';
import type { AesGCM, Handle, Mechanism } from 'pkcs11js';
import { KeyUnavailable, type KeyProvider, type KeyProviderDescription } from './key-provider';
import { keyBytes, wipe } from './keys';
import { encodeParts } from './parts';
import { Pkcs11Token, pkcs11Code, type OpenSession } from './pkcs11-token';
import type { KeyProviderSettings } from './provider-settings';
import { acceptUnwrapped, assertContext, corruptWrap, decodeEnvelope, encodeEnvelope, wrapCommitment } from './wrap-envelope';
import { tagBytes } from './xaes';

type Settings = Extract<KeyProviderSettings, { kind: 'pkcs11' }>;

interface TokenKey {
  handle: Handle;
  /** CKA_ID in hexadecimal. */
  version: string;
}

const nonceBytes = 12;
const sealedBytes = keyBytes + tagBytes;
const maxVersions = 64;

/**
 * A key in a hardware module (or SoftHSM): AES-256 objects of one label, that cannot be read out, of which CKA_ID is the version (a number in bytes, the largest is the newest).
 * The module encrypts by CKM_AES_GCM; the context is its associated data:
 *
 *     nonce (12) · AES-256-GCM ciphertext (32) · tag (16)
 *
 * The objects are looked up for every call, so that one that was destroyed counts at once.
 */
export class Pkcs11Provider implements KeyProvider {
  readonly kind = 'pkcs11';
  readonly keyId: string;
  readonly #settings: Settings;
  readonly #token: Pkcs11Token;

  constructor(settings: Settings, clock: Clock) {
    this.#settings = settings;
    this.keyId = `pkcs11:${settings.token}/${settings.keyLabel}`;
    this.#token = new Pkcs11Token(settings, clock);
  }

  opens(keyId: string): boolean {
    return keyId === this.keyId;
  }

  async describe(): Promise<KeyProviderDescription> {
    const { version } = await this.#use(async (session) => this.#newest(session));
    return { kind: this.kind, keyId: this.keyId, keyVersion: version };
  }

  async wrap(key: Secret<Buffer>, context: readonly string[]): Promise<Buffer> {
    const commitment = wrapCommitment(key, this.kind, context);
    return this.#use(async (session) => {
      const { handle, version } = this.#newest(session);
      return encodeEnvelope({ kind: this.kind, keyVersion: version, commitment, blob: await encrypt(session, handle, key.expose(), context) });
    });
  }

  async unwrap(wrapped: Buffer, context: readonly string[]): Promise<Secret<Buffer>> {
    assertContext(context);
    const envelope = decodeEnvelope(wrapped, this.kind);
    if (envelope.blob.length !== nonceBytes + sealedBytes) throw corruptWrap('length');
    const plain = await this.#use(async (session) => {
      const key = this.#keys(session).find(({ version }) => version === envelope.keyVersion);
      if (!key) throw new KeyUnavailable('denied', `${this.keyId} has no version ${envelope.keyVersion}`);
      return decrypt(session, key.handle, envelope.blob, context);
    });
    return acceptUnwrapped(plain, envelope, context);
  }

  async rewrap(wrapped: Buffer, context: readonly string[]): Promise<Buffer> {
    const key = await this.unwrap(wrapped, context);
    try {
      return await this.wrap(key, context);
    } finally {
      wipe(key.expose());
    }
  }

  async close(): Promise<void> {
    await this.#token.close();
  }

  async #use<T>(work: (session: OpenSession) => Promise<T>): Promise<T> {
    try {
      return await this.#token.use(work);
    } catch (error) {
      if (pkcs11Code(error) === undefined) throw error;
      throw new KeyUnavailable('unreachable', `${this.keyId}: the token fails (${error instanceof Error ? error.message : ''})`, error);
    }
  }

  #newest(session: OpenSession): TokenKey {
    const [newest] = this.#keys(session).sort((a, b) => (BigInt(`0x${a.version}`) < BigInt(`0x${b.version}`) ? 1 : -1));
    if (!newest) throw new KeyUnavailable('denied', `${this.keyId} is not there`);
    return newest;
  }

  #keys(session: OpenSession): TokenKey[] {
    const { module, handle, constants: c } = session;
    module.C_FindObjectsInit(handle, [
      { type: c.CKA_CLASS, value: c.CKO_SECRET_KEY },
      { type: c.CKA_LABEL, value: this.#settings.keyLabel },
    ]);
    let found: Handle[];
    try {
      found = module.C_FindObjects(handle, maxVersions);
    } finally {
      module.C_FindObjectsFinal(handle);
    }
    return found.map((key) => this.#checked(session, key));
  }

  /** A key that could be read out of the module, or that is no AES-256, is not the key that was asked for. */
  #checked({ module, handle, constants: c }: OpenSession, key: Handle): TokenKey {
    const types = [c.CKA_ID, c.CKA_KEY_TYPE, c.CKA_VALUE_LEN, c.CKA_EXTRACTABLE, c.CKA_SENSITIVE];
    const [id, type, bytes, extractable, sensitive] = module.C_GetAttributeValue(handle, key, types.map((one) => ({ type: one }))).map(({ value }) => Buffer.from(value as Buffer));
    const fits = type?.readUInt8(0) === c.CKK_AES && bytes?.readUInt8(0) === keyBytes && extractable?.[0] === 0 && sensitive?.[0] === 1;
    if (!fits || !id || id.length < 1 || id.length > 32) throw new KeyUnavailable('denied', `${this.keyId} must be AES-256, sensitive, not extractable, with a CKA_ID of 1 to 32 bytes`);
    return { handle: key, version: id.toString('hex') };
  }
}

async function encrypt(session: OpenSession, key: Handle, plain: Buffer, context: readonly string[]): Promise<Buffer> {
  const nonce = randomBytes(nonceBytes);
  const out = Buffer.alloc(sealedBytes);
  withParameters(session, nonce, context, (mechanism) => session.module.C_EncryptInit(session.handle, mechanism, key));
  const sealed = await session.module.C_EncryptAsync(session.handle, plain, out);
  if (sealed.length !== sealedBytes) throw new KeyUnavailable('unreachable', 'the token did not encrypt as CKM_AES_GCM says');
  return Buffer.concat([nonce, sealed]);
}

async function decrypt(session: OpenSession, key: Handle, blob: Buffer, context: readonly string[]): Promise<Buffer> {
  // Some modules write the tag's bytes too before they check it.
  const out = Buffer.alloc(sealedBytes);
  withParameters(session, blob.subarray(0, nonceBytes), context, (mechanism) => session.module.C_DecryptInit(session.handle, mechanism, key));
  try {
    const plain = Buffer.from(await session.module.C_DecryptAsync(session.handle, blob.subarray(nonceBytes), out));
    return plain;
  } catch (error) {
    if (await saysDamaged(session, key, pkcs11Code(error))) throw corruptWrap('tag', error);
    throw error;
  } finally {
    wipe(out);
  }
}

/** CKR_ values for a ciphertext that does not open. SoftHSM says CKR_GENERAL_ERROR for it, so then the key is tried: if it works, it was the ciphertext. */
async function saysDamaged(session: OpenSession, key: Handle, code: number | undefined): Promise<boolean> {
  const c = session.constants;
  if (code === undefined) return false;
  if ([c.CKR_ENCRYPTED_DATA_INVALID, c.CKR_ENCRYPTED_DATA_LEN_RANGE, c.CKR_DATA_INVALID, c.CKR_DATA_LEN_RANGE, c.CKR_SIGNATURE_INVALID, 0x35].includes(code)) return true;
  if (code !== c.CKR_GENERAL_ERROR && code !== c.CKR_FUNCTION_FAILED) return false;
  const probe = Buffer.alloc(keyBytes, 1);
  const sealed = await encrypt(session, key, probe, ['probe']);
  withParameters(session, sealed.subarray(0, nonceBytes), ['probe'], (mechanism) => session.module.C_DecryptInit(session.handle, mechanism, key));
  return probe.equals(await session.module.C_DecryptAsync(session.handle, sealed.subarray(nonceBytes), Buffer.alloc(sealedBytes)));
}

/**
 * CK_GCM_PARAMS is of two shapes: with ulIvBits (2.40 with its errata, 3.0) and without (2.40 as first published). A module takes one of them and refuses the other by its
 * length, so both are tried.
 */
function withParameters({ constants: c }: OpenSession, iv: Buffer, context: readonly string[], init: (mechanism: Mechanism) => void): void {
  const parameters: AesGCM = { type: c.CK_PARAMS_AES_GCM_v240, iv, ivBits: nonceBytes * 8, aad: encodeParts(['alcove/provider/1', ...context]), tagBits: tagBytes * 8 };
  try {
    init({ mechanism: c.CKM_AES_GCM, parameter: parameters });
  } catch (error) {
    const code = pkcs11Code(error);
    if (code !== c.CKR_MECHANISM_PARAM_INVALID && code !== c.CKR_ARGUMENTS_BAD) throw error;
    init({ mechanism: c.CKM_AES_GCM, parameter: { ...parameters, type: c.CK_PARAMS_AES_GCM } });
  }
}
