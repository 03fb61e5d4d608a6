import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { z } from 'zod';
import { HttpEmulator, type EmulatedAnswer, type EmulatedRequest } from './http-emulator';

interface TransitKey {
  versions: Buffer[];
  minDecryptionVersion: number;
  deletionAllowed: boolean;
}

/** Bodies of the public API (https://developer.hashicorp.com/vault/api-docs/secret/transit); Vault ignores fields that it does not know, this refuses them. */
const bodies = {
  create: z.strictObject({ type: z.literal('aes256-gcm96') }),
  config: z.strictObject({ min_decryption_version: z.int().min(1).optional(), deletion_allowed: z.boolean().optional() }),
  rotate: z.strictObject({}),
  encrypt: z.strictObject({ plaintext: z.base64(), associated_data: z.base64().optional() }),
  decrypt: z.strictObject({ ciphertext: z.string(), associated_data: z.base64().optional() }),
  token: z.strictObject({ policies: z.array(z.string()), ttl: z.string().optional(), no_default_policy: z.boolean().optional() }),
  revoke: z.strictObject({ token: z.string() }),
  policy: z.strictObject({ policy: z.string() }),
};

class Refused extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

/** The part of Vault (and OpenBao) that the transit provider and its tests speak to: keys of transit at `transit/`, tokens. One process's memory; no policies are kept. */
export class VaultEmulator {
  static readonly rootToken = 'root-token';
  readonly #keys = new Map<string, TransitKey>();
  readonly #tokens = new Set([VaultEmulator.rootToken]);
  http!: HttpEmulator;

  static async start(): Promise<VaultEmulator> {
    const emulator = new VaultEmulator();
    emulator.http = await HttpEmulator.start((request) => emulator.#answer(request));
    return emulator;
  }

  #answer(request: EmulatedRequest): EmulatedAnswer {
    try {
      const data = this.#route(request);
      if (data === undefined) return { status: 204 };
      return { status: 200, headers: { 'content-type': 'application/json' }, body: JSON.stringify({ request_id: 'r', lease_id: '', renewable: false, lease_duration: 0, wrap_info: null, warnings: null, ...data }) };
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      return { status: error.status, headers: { 'content-type': 'application/json' }, body: JSON.stringify({ errors: [error.message] }) };
    }
  }

  #route({ method, path, headers, body }: EmulatedRequest): Record<string, unknown> | undefined {
    const token = headers['x-vault-token'];
    if (headers['x-vault-request'] !== 'true') throw new Refused(400, 'missing required request header');
    if (typeof token !== 'string' || !this.#tokens.has(token)) throw new Refused(403, 'permission denied');
    const [, version, mount, operation = '', name = '', action, ...more] = path.split('/');
    if (version !== 'v1' || more.length > 0) throw new Refused(404, `no handler for route "${path}"`);
    if (mount === 'sys' && operation === 'policies') return this.#read(bodies.policy, method, body) && undefined;
    if (mount === 'auth' && operation === 'token' && token === VaultEmulator.rootToken) return this.#tokenCall(name, method, body);
    if (mount !== 'transit' || !/^[A-Za-z0-9_-]+$/.test(name)) throw new Refused(404, `no handler for route "${path}". route entry not found.`);
    if (operation === 'keys') return this.#keyCall(name, action, method, body, token);
    if (action !== undefined) throw new Refused(404, `no handler for route "${path}"`);
    if (operation === 'encrypt') return { data: this.#encrypt(name, this.#read(bodies.encrypt, method, body)) };
    if (operation === 'decrypt') return { data: this.#decrypt(name, this.#read(bodies.decrypt, method, body)) };
    throw new Refused(405, 'unsupported operation');
  }

  #read<T>(schema: z.ZodType<T>, method: string, body: string): T {
    if (method !== 'POST' && method !== 'PUT') throw new Refused(405, 'unsupported operation');
    const parsed = schema.safeParse(body === '' ? {} : JSON.parse(body));
    if (!parsed.success) throw new Refused(400, `not in the public API: ${z.prettifyError(parsed.error)}`);
    return parsed.data;
  }

  #tokenCall(name: string, method: string, body: string): Record<string, unknown> | undefined {
    if (name === 'create') {
      this.#read(bodies.token, method, body);
      const token = `hvs.${randomBytes(18).toString('base64url')}`;
      this.#tokens.add(token);
      return { auth: { client_token: token, policies: ['default'], lease_duration: 3600, renewable: true } };
    }
    if (name === 'revoke') {
      this.#tokens.delete(this.#read(bodies.revoke, method, body).token);
      return undefined;
    }
    throw new Refused(404, 'no handler for route');
  }

  #keyCall(name: string, action: string | undefined, method: string, body: string, token: string): Record<string, unknown> | undefined {
    if (method === 'GET' && action === undefined) return { data: this.#described(name) };
    if (token !== VaultEmulator.rootToken) throw new Refused(403, '1 error occurred:\n\t* permission denied\n\n');
    if (method === 'DELETE' && action === undefined) {
      if (!this.#key(name).deletionAllowed) throw new Refused(400, 'deletion is not allowed for this key');
      this.#keys.delete(name);
      return undefined;
    }
    if (action === undefined) {
      this.#read(bodies.create, method, body);
      if (!this.#keys.has(name)) this.#keys.set(name, { versions: [randomBytes(32)], minDecryptionVersion: 1, deletionAllowed: false });
      return { data: this.#described(name) };
    }
    const key = this.#key(name);
    if (action === 'rotate') {
      this.#read(bodies.rotate, method, body);
      key.versions.push(randomBytes(32));
    } else if (action === 'config') {
      const { min_decryption_version: least = key.minDecryptionVersion, deletion_allowed: deletable = key.deletionAllowed } = this.#read(bodies.config, method, body);
      if (least > key.versions.length) throw new Refused(400, `cannot set min decryption version of ${least}, latest key version is ${key.versions.length}`);
      key.minDecryptionVersion = least;
      key.deletionAllowed = deletable;
    } else throw new Refused(404, 'no handler for route');
    return { data: this.#described(name) };
  }

  #described(name: string): Record<string, unknown> {
    const key = this.#keys.get(name);
    if (!key) throw new Refused(404, '');
    const keys = Object.fromEntries(key.versions.map((_, index) => [String(index + 1), 1764000000]));
    return {
      type: 'aes256-gcm96', name, keys, latest_version: key.versions.length, min_decryption_version: key.minDecryptionVersion, min_encryption_version: 0, min_available_version: 0, deletion_allowed: key.deletionAllowed,
      derived: false, exportable: false, allow_plaintext_backup: false, supports_encryption: true, supports_decryption: true, supports_signing: false, supports_derivation: true,
    };
  }

  #key(name: string): TransitKey {
    const key = this.#keys.get(name);
    if (!key) throw new Refused(400, 'encryption key not found');
    return key;
  }

  #encrypt(name: string, { plaintext, associated_data: aad }: z.infer<typeof bodies.encrypt>): Record<string, unknown> {
    const { versions } = this.#key(name);
    const nonce = randomBytes(12);
    const cipher = createCipheriv('aes-256-gcm', versions.at(-1) as Buffer, nonce);
    if (aad !== undefined) cipher.setAAD(Buffer.from(aad, 'base64'));
    const sealed = Buffer.concat([nonce, cipher.update(Buffer.from(plaintext, 'base64')), cipher.final(), cipher.getAuthTag()]);
    return { ciphertext: `vault:v${versions.length}:${sealed.toString('base64')}`, key_version: versions.length };
  }

  #decrypt(name: string, { ciphertext, associated_data: aad }: z.infer<typeof bodies.decrypt>): Record<string, unknown> {
    const { versions, minDecryptionVersion } = this.#key(name);
    const parts = /^vault:v(\d+):(.*)$/s.exec(ciphertext);
    if (!parts) throw new Refused(400, 'invalid ciphertext: no prefix');
    const version = Number(parts[1]);
    if (version > versions.length) throw new Refused(400, 'invalid ciphertext: version is too new');
    if (version < minDecryptionVersion) throw new Refused(400, 'ciphertext or signature version is disallowed by policy (too old)');
    const text = parts[2] ?? '';
    const sealed = Buffer.from(text, 'base64');
    // Go's decoder is lenient about bits after the end, as Node's is; about everything else it is strict.
    if (!/^[A-Za-z0-9+/]*={0,2}$/.test(text) || text.length % 4 !== 0) throw new Refused(400, 'invalid ciphertext: could not decode base64');
    if (sealed.length < 28) throw new Refused(400, 'invalid ciphertext length');
    const decipher = createDecipheriv('aes-256-gcm', versions[version - 1] as Buffer, sealed.subarray(0, 12));
    if (aad !== undefined) decipher.setAAD(Buffer.from(aad, 'base64'));
    decipher.setAuthTag(sealed.subarray(-16));
    const plain = decipher.update(sealed.subarray(12, -16));
    try {
      decipher.final();
    } catch {
      throw new Refused(400, 'cipher: message authentication failed');
    }
    return { plaintext: plain.toString('base64') };
  }
}
