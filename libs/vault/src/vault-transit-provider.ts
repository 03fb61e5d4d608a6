import type { Secret } from '@alcove/base';
import { z } from 'zod';
import { parseToken, readCredential } from './credential-file';
import { callProvider, type HttpAnswer, type HttpClient } from './http';
import { KeyUnavailable, type KeyProvider, type KeyProviderDescription } from './key-provider';
import { encodeParts } from './parts';
import type { KeyProviderSettings } from './provider-settings';
import { wipe } from './keys';
import { acceptUnwrapped, assertContext, corruptWrap, decodeEnvelope, encodeEnvelope, wrapCommitment, type WrapEnvelope } from './wrap-envelope';

type Settings = Extract<KeyProviderSettings, { kind: 'vault_transit' }>;

const Ciphertext = z.string().max(4096).regex(/^vault:v[1-9]\d{0,8}:[A-Za-z0-9+/]+={0,2}$/);
const Encrypted = z.object({ data: z.object({ ciphertext: Ciphertext }) });
const Decrypted = z.object({ data: z.object({ plaintext: z.base64().max(1024) }) });
const Described = z.object({ data: z.object({ type: z.string(), latest_version: z.int().min(1), derived: z.boolean().optional() }) });
const Errors = z.object({ errors: z.array(z.string()) });

/** Ciphers of transit that take associated data. */
const aeadTypes = ['aes128-gcm96', 'aes256-gcm96', 'chacha20-poly1305', 'xchacha20-poly1305'];
const transientStatuses = [408, 412, 429, 500, 502, 503, 504];
/** What transit says (builtin/logical/transit, sdk/helper/keysutil) of a ciphertext that is not of this key and associated data, and of a key that may not be used. */
const damaged = /message authentication failed|invalid ciphertext|unable to decrypt|authentication tag/i;
const shut = /disallowed by policy|encryption key not found|key not found|no existing key|is disabled|soft.?deleted/i;

/**
 * A key of the transit engine of Vault or OpenBao. The context goes with every call as `associated_data`. Their `rewrap` takes none (hashicorp/vault#31791), so wrapping
 * again is a decryption and an encryption, and the wrapped key is in this process for that moment.
 */
export class VaultTransitProvider implements KeyProvider {
  readonly kind = 'vault_transit';
  readonly keyId: string;
  readonly #settings: Settings;
  readonly #client: HttpClient;

  constructor(settings: Settings, client: HttpClient) {
    this.#settings = settings;
    this.#client = client;
    const where = [new URL(settings.url).host, settings.namespace, settings.mount, settings.key].filter((part) => part !== undefined);
    this.keyId = `vault_transit:${where.join('/')}`;
  }

  opens(keyId: string): boolean {
    return keyId === this.keyId;
  }

  async describe(): Promise<KeyProviderDescription> {
    const answer = await this.#ask('keys');
    if (answer.status === 404) throw new KeyUnavailable('denied', `${this.keyId} is not there`);
    const { data } = this.#expect(Described, answer, 'keys');
    if (!aeadTypes.includes(data.type) || data.derived === true) throw new KeyUnavailable('denied', `${this.keyId} is of type ${data.type}: an underived one of ${aeadTypes.join(', ')} is needed`);
    return { kind: this.kind, keyId: this.keyId, keyVersion: String(data.latest_version) };
  }

  async wrap(key: Secret<Buffer>, context: readonly string[]): Promise<Buffer> {
    const commitment = wrapCommitment(key, this.kind, context);
    const answer = await this.#ask('encrypt', { plaintext: key.expose().toString('base64'), associated_data: associated(context) });
    const { ciphertext } = this.#expect(Encrypted, answer, 'encrypt').data;
    return encodeEnvelope({ kind: this.kind, keyVersion: versionOf(ciphertext), commitment, blob: Buffer.from(ciphertext, 'latin1') });
  }

  async unwrap(wrapped: Buffer, context: readonly string[]): Promise<Secret<Buffer>> {
    assertContext(context);
    const envelope = decodeEnvelope(wrapped, this.kind);
    const answer = await this.#ask('decrypt', { ciphertext: ciphertextOf(envelope), associated_data: associated(context) });
    return acceptUnwrapped(Buffer.from(this.#expect(Decrypted, answer, 'decrypt').data.plaintext, 'base64'), envelope, context);
  }

  async rewrap(wrapped: Buffer, context: readonly string[]): Promise<Buffer> {
    const key = await this.unwrap(wrapped, context);
    try {
      return await this.wrap(key, context);
    } finally {
      wipe(key.expose());
    }
  }

  async close(): Promise<void> {}

  #ask(operation: 'keys' | 'encrypt' | 'decrypt', body?: Record<string, string>): Promise<HttpAnswer> {
    const { url, mount, key, namespace, credentials } = this.#settings;
    return callProvider(this.#client, {
      what: `${operation} of ${this.keyId}`,
      request: async () => {
        const token = 'token' in credentials ? credentials.token : await readCredential(credentials.tokenFile, parseToken);
        const headers = {
          'x-vault-token': token.expose(),
          'x-vault-request': 'true',
          ...(namespace !== undefined && { 'x-vault-namespace': namespace }),
          ...(body && { 'content-type': 'application/json' }),
        };
        return { url: `${url.replace(/\/+$/, '')}/v1/${mount}/${operation}/${key}`, method: body ? 'POST' : 'GET', headers, ...(body && { body: JSON.stringify(body) }) };
      },
      transient: ({ status }) => transientStatuses.includes(status),
    });
  }

  /** What a good answer says; otherwise what a bad one means. */
  #expect<T>(schema: z.ZodType<T>, { status, body }: HttpAnswer, operation: string): T {
    const what = `${operation} of ${this.keyId}`;
    if (status === 200) {
      const parsed = schema.safeParse(body);
      if (parsed.success) return parsed.data;
      throw new KeyUnavailable('unreachable', `${what}: the answer is not one of transit`);
    }
    const said = Errors.safeParse(body).data?.errors.join('; ').slice(0, 300) ?? '';
    if (status === 400 && operation === 'decrypt' && damaged.test(said) && !shut.test(said)) throw corruptWrap(`${what}: ${said}`);
    const denied = status === 401 || status === 403 || status === 404 || (status === 400 && (operation === 'encrypt' || shut.test(said)));
    throw new KeyUnavailable(denied ? 'denied' : 'unreachable', `${what}: the provider answers ${status} ${said}`);
  }
}

function associated(context: readonly string[]): string {
  return encodeParts(['alcove/provider/1', ...context]).toString('base64');
}

function versionOf(ciphertext: string): string {
  return ciphertext.split(':')[1]?.slice(1) ?? '';
}

function ciphertextOf({ blob, keyVersion }: WrapEnvelope): string {
  const parsed = Ciphertext.safeParse(blob.toString('latin1'));
  if (!parsed.success || versionOf(parsed.data) !== keyVersion) throw corruptWrap('ciphertext of transit');
  return parsed.data;
}
