import { createCipheriv, createDecipheriv, createHash, createHmac, randomBytes, randomUUID } from 'node:crypto';
import { z } from 'zod';
import { HttpEmulator, type EmulatedAnswer, type EmulatedRequest } from './http-emulator';

const keyId = z.string().min(1).max(2048);
const blob = z.base64().min(1).max(8192);
const context = z.record(z.string(), z.string()).optional();
const algorithm = z.literal('SYMMETRIC_DEFAULT').optional();

/** Request syntax of https://docs.aws.amazon.com/kms/latest/APIReference for symmetric keys; AWS ignores members that it does not know, this refuses them. */
const operations = {
  CreateKey: z.strictObject({ Description: z.string().optional() }),
  DescribeKey: z.strictObject({ KeyId: keyId }),
  DisableKey: z.strictObject({ KeyId: keyId }),
  Encrypt: z.strictObject({ KeyId: keyId, Plaintext: z.base64().min(1).max(5464), EncryptionContext: context, EncryptionAlgorithm: algorithm }),
  Decrypt: z.strictObject({ CiphertextBlob: blob, KeyId: keyId.optional(), EncryptionContext: context, EncryptionAlgorithm: algorithm }),
  ReEncrypt: z.strictObject({
    CiphertextBlob: blob, SourceKeyId: keyId.optional(), DestinationKeyId: keyId, SourceEncryptionContext: context, DestinationEncryptionContext: context,
    SourceEncryptionAlgorithm: algorithm, DestinationEncryptionAlgorithm: algorithm,
  }),
};
type Operation = keyof typeof operations;
type Context = Record<string, string> | undefined;

class Refused extends Error {
  constructor(
    readonly type: string,
    message = type,
    readonly status = 400,
  ) {
    super(message);
  }
}

export interface EmulatedAwsUser {
  accessKeyId: string;
  secretAccessKey: string;
}

/** The part of AWS KMS that the provider and its tests speak to, with its signatures (Signature Version 4) checked by a second implementation of them. */
export class KmsEmulator {
  readonly region = 'eu-central-1';
  readonly user: EmulatedAwsUser = { accessKeyId: `AKIA${'A'.repeat(16)}`, secretAccessKey: randomBytes(30).toString('base64') };
  readonly #keys = new Map<string, { material: Buffer; enabled: boolean }>();
  http!: HttpEmulator;

  /** `now`: wall clock in milliseconds; a signature is refused when its time is five minutes off. */
  constructor(private readonly now: () => number) {}

  static async start(now: () => number): Promise<KmsEmulator> {
    const emulator = new KmsEmulator(now);
    emulator.http = await HttpEmulator.start((request) => emulator.#answer(request));
    return emulator;
  }

  #answer(request: EmulatedRequest): EmulatedAnswer {
    const headers = { 'content-type': 'application/x-amz-json-1.1', 'x-amzn-requestid': randomUUID() };
    try {
      return { status: 200, headers, body: JSON.stringify(this.#run(request)) };
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      return { status: error.status, headers, body: JSON.stringify({ __type: error.type, message: error.message }) };
    }
  }

  #run(request: EmulatedRequest): Record<string, unknown> {
    if (request.method !== 'POST' || request.path !== '/') throw new Refused('UnknownOperationException', 'POST / only', 404);
    if (request.headers['content-type'] !== 'application/x-amz-json-1.1') throw new Refused('UnknownOperationException', 'content type', 404);
    const target = /^TrentService\.(\w+)$/.exec(String(request.headers['x-amz-target']))?.[1];
    if (target === undefined || !Object.hasOwn(operations, target)) throw new Refused('UnknownOperationException', 'x-amz-target', 404);
    this.#authenticate(request);
    const read = <O extends Operation>(operation: O): z.infer<(typeof operations)[O]> => {
      const parsed = operations[operation].safeParse(JSON.parse(request.body));
      if (!parsed.success) throw new Refused('ValidationException', z.prettifyError(parsed.error));
      return parsed.data as z.infer<(typeof operations)[O]>;
    };
    switch (target as Operation) {
      case 'CreateKey':
        read('CreateKey');
        return this.#create();
      case 'DescribeKey':
        return this.#describe(read('DescribeKey').KeyId);
      case 'DisableKey':
        this.#key(read('DisableKey').KeyId, true).enabled = false;
        return {};
      case 'Encrypt': {
        const asked = read('Encrypt');
        return { CiphertextBlob: this.#seal(asked.KeyId, Buffer.from(asked.Plaintext, 'base64'), asked.EncryptionContext), KeyId: asked.KeyId, EncryptionAlgorithm: 'SYMMETRIC_DEFAULT' };
      }
      case 'Decrypt': {
        const asked = read('Decrypt');
        const { plain, arn } = this.#open(asked.CiphertextBlob, asked.KeyId, asked.EncryptionContext);
        return { Plaintext: plain.toString('base64'), KeyId: arn, EncryptionAlgorithm: 'SYMMETRIC_DEFAULT', KeyMaterialId: '0'.repeat(64) };
      }
      case 'ReEncrypt':
        return this.#reEncrypt(read('ReEncrypt'));
    }
  }

  #reEncrypt(asked: z.infer<typeof operations.ReEncrypt>): Record<string, unknown> {
    const { plain, arn } = this.#open(asked.CiphertextBlob, asked.SourceKeyId, asked.SourceEncryptionContext);
    const algorithms = { SourceEncryptionAlgorithm: 'SYMMETRIC_DEFAULT', DestinationEncryptionAlgorithm: 'SYMMETRIC_DEFAULT' };
    return { CiphertextBlob: this.#seal(asked.DestinationKeyId, plain, asked.DestinationEncryptionContext), SourceKeyId: arn, KeyId: asked.DestinationKeyId, ...algorithms };
  }

  #create(): Record<string, unknown> {
    const arn = `arn:aws:kms:${this.region}:111122223333:key/${randomUUID()}`;
    this.#keys.set(arn, { material: randomBytes(32), enabled: true });
    return this.#describe(arn);
  }

  #describe(arn: string): Record<string, unknown> {
    const { enabled } = this.#key(arn, true);
    const state = { Enabled: enabled, KeyState: enabled ? 'Enabled' : 'Disabled', KeyUsage: 'ENCRYPT_DECRYPT', KeySpec: 'SYMMETRIC_DEFAULT', EncryptionAlgorithms: ['SYMMETRIC_DEFAULT'] };
    return { KeyMetadata: { AWSAccountId: '111122223333', KeyId: arn.split('/')[1], Arn: arn, CreationDate: 1764000000.5, Description: '', Origin: 'AWS_KMS', KeyManager: 'CUSTOMER', MultiRegion: false, ...state } };
  }

  #key(arn: string, alsoDisabled = false): { material: Buffer; enabled: boolean } {
    if (!arn.startsWith('arn:aws:kms:')) throw new Refused('NotFoundException', `Invalid keyId ${arn}`);
    const key = this.#keys.get(arn);
    if (!key) throw new Refused('NotFoundException', `Key '${arn}' does not exist`);
    if (!key.enabled && !alsoDisabled) throw new Refused('DisabledException', `${arn} is disabled.`);
    return key;
  }

  /** AWS does not say how its ciphertext looks; this one names the key, and binds it and the context. */
  #seal(arn: string, plain: Buffer, about: Context): string {
    const { material } = this.#key(arn);
    const name = Buffer.from(arn);
    const nonce = randomBytes(12);
    const cipher = createCipheriv('aes-256-gcm', material, nonce).setAAD(bound(arn, about));
    return Buffer.concat([Buffer.from([1, name.length]), name, nonce, cipher.update(plain), cipher.final(), cipher.getAuthTag()]).toString('base64');
  }

  #open(text: string, expected: string | undefined, about: Context): { plain: Buffer; arn: string } {
    const bytes = Buffer.from(text, 'base64');
    const end = 2 + (bytes[1] ?? 0);
    const arn = bytes.subarray(2, end).toString();
    const named = this.#keys.get(arn);
    if (bytes[0] !== 1 || bytes.length < end + 28 || !named) throw new Refused('InvalidCiphertextException', 'InvalidCiphertextException');
    if (expected !== undefined && (this.#key(expected), expected !== arn)) throw new Refused('IncorrectKeyException', 'The key ID in the request does not identify a CMK that can perform this operation.');
    const decipher = createDecipheriv('aes-256-gcm', this.#key(arn).material, bytes.subarray(end, end + 12)).setAAD(bound(arn, about));
    decipher.setAuthTag(bytes.subarray(-16));
    const plain = decipher.update(bytes.subarray(end + 12, -16));
    try {
      decipher.final();
    } catch {
      throw new Refused('InvalidCiphertextException', 'InvalidCiphertextException');
    }
    return { plain, arn };
  }

  /** Signature Version 4 (https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html). */
  #authenticate({ headers, body, method, path }: EmulatedRequest): void {
    const parts = /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([^/]+)\/([^/]+)\/aws4_request, SignedHeaders=([a-z0-9;-]+), Signature=([0-9a-f]{64})$/.exec(headers.authorization ?? '');
    if (!parts) throw new Refused('MissingAuthenticationTokenException', 'Request is missing Authentication Token');
    const [, accessKeyId, day = '', region = '', service = '', signed = '', signature] = parts;
    if (accessKeyId !== this.user.accessKeyId) throw new Refused('UnrecognizedClientException', 'The security token included in the request is invalid.');
    const date = String(headers['x-amz-date']);
    const at = Date.parse(date.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, '$1-$2-$3T$4:$5:$6Z'));
    if (!(Math.abs(at - this.now()) < 5 * 60_000) || !date.startsWith(day)) throw new Refused('InvalidSignatureException', 'Signature expired');
    const names = signed.split(';');
    for (const needed of ['host', 'x-amz-date', 'x-amz-target']) if (!names.includes(needed)) throw new Refused('InvalidSignatureException', `${needed} is not signed`);
    const canonical = [method, path, '', ...names.map((name) => `${name}:${String(headers[name]).trim().replace(/ +/g, ' ')}`), '', signed, sha256(body)].join('\n');
    const toSign = ['AWS4-HMAC-SHA256', date, `${day}/${region}/${service}/aws4_request`, sha256(canonical)].join('\n');
    const key = ['aws4_request', service, region, day].reduceRight((under: string | Buffer, text) => hmac(under, text), `AWS4${this.user.secretAccessKey}`);
    if (service !== 'kms' || region !== this.region || hmac(key, toSign).toString('hex') !== signature) throw new Refused('InvalidSignatureException', 'The request signature we calculated does not match');
  }
}

function bound(arn: string, about: Context): Buffer {
  return Buffer.from(JSON.stringify([arn, Object.entries(about ?? {}).sort(([a], [b]) => (a < b ? -1 : 1))]));
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

function hmac(key: string | Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest();
}
