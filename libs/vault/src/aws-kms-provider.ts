import type { Secret } from '@alcove/base';
import { z } from 'zod';
import { readCredential } from './credential-file';
import { callProvider, type HttpAnswer, type HttpClient } from './http';
import { KeyUnavailable, type KeyProvider, type KeyProviderDescription } from './key-provider';
import { AwsCredentials, type KeyProviderSettings } from './provider-settings';
import { acceptUnwrapped, assertContext, corruptWrap, decodeEnvelope, encodeEnvelope, wrapCommitment } from './wrap-envelope';

type Settings = Extract<KeyProviderSettings, { kind: 'aws_kms' }>;
type Operation = 'Encrypt' | 'Decrypt' | 'ReEncrypt' | 'DescribeKey';

const Blob = z.base64().min(1).max(8192);
const Encrypted = z.object({ CiphertextBlob: Blob, KeyId: z.string() });
const Decrypted = z.object({ Plaintext: Blob, KeyId: z.string() });
const Described = z.object({ KeyMetadata: z.object({ Arn: z.string(), KeyState: z.string(), KeyUsage: z.string(), KeySpec: z.string() }) });
const ErrorBody = z.object({ __type: z.string(), message: z.string().optional(), Message: z.string().optional() });

/** https://docs.aws.amazon.com/kms/latest/APIReference: the operations' own errors and the common ones. */
const corruptErrors = ['InvalidCiphertextException', 'IncorrectKeyException'];
const deniedErrors = [
  'AccessDeniedException', 'DisabledException', 'KMSInvalidStateException', 'NotFoundException', 'InvalidArnException', 'InvalidKeyUsageException', 'UnrecognizedClientException', 'InvalidClientTokenId',
  'InvalidSignatureException', 'SignatureDoesNotMatch', 'ExpiredTokenException', 'IncompleteSignature', 'IncompleteSignatureException', 'MissingAuthenticationToken',
  'MissingAuthenticationTokenException', 'NotAuthorized', 'OptInRequired', 'ValidationException',
];
const transientErrors = ['ThrottlingException', 'LimitExceededException', 'DependencyTimeoutException', 'KMSInternalException', 'KeyUnavailableException', 'ServiceUnavailable', 'InternalFailure', 'RequestTimeoutException'];

/**
 * A symmetric key of AWS KMS. The context is the encryption context, under one name as a JSON list: CloudTrail shows it, and a key policy can demand it. A version of ours
 * is a key of theirs (AWS's own rotation keeps all old material and needs nothing from us): to rotate so that the old can be shut, name a new key, list the old one as
 * former, wrap all again, take it off and disable it.
 */
export class AwsKmsProvider implements KeyProvider {
  readonly kind = 'aws_kms';
  readonly keyId: string;
  readonly #settings: Settings;
  readonly #client: HttpClient;
  readonly #endpoint: string;
  readonly #region: string;

  constructor(settings: Settings, client: HttpClient) {
    this.#settings = settings;
    this.#client = client;
    this.keyId = keyIdOf(settings.keyArn);
    const [, partition, , region = ''] = settings.keyArn.split(':');
    this.#region = region;
    this.#endpoint = settings.endpoint ?? `https://kms.${region}.amazonaws.com${partition === 'aws-cn' ? '.cn' : ''}/`;
  }

  opens(keyId: string): boolean {
    return this.#arns().some((arn) => keyIdOf(arn) === keyId);
  }

  async describe(): Promise<KeyProviderDescription> {
    const { KeyMetadata: key } = this.#expect(Described, 'DescribeKey', await this.#ask('DescribeKey', { KeyId: this.#settings.keyArn }));
    const usable = key.Arn === this.#settings.keyArn && key.KeyState === 'Enabled' && key.KeyUsage === 'ENCRYPT_DECRYPT' && key.KeySpec === 'SYMMETRIC_DEFAULT';
    if (!usable) throw new KeyUnavailable('denied', `${this.keyId} is ${key.KeyState}, for ${key.KeyUsage}, of ${key.KeySpec}`);
    return { kind: this.kind, keyId: this.keyId, keyVersion: versionOf(key.Arn) };
  }

  async wrap(key: Secret<Buffer>, context: readonly string[]): Promise<Buffer> {
    const commitment = wrapCommitment(key, this.kind, context);
    const answer = await this.#ask('Encrypt', { KeyId: this.#settings.keyArn, Plaintext: key.expose().toString('base64'), EncryptionContext: encryptionContext(context) });
    return this.#envelope(this.#expect(Encrypted, 'Encrypt', answer), commitment);
  }

  async unwrap(wrapped: Buffer, context: readonly string[]): Promise<Secret<Buffer>> {
    assertContext(context);
    const envelope = decodeEnvelope(wrapped, this.kind);
    const arn = this.#arnOf(envelope.keyVersion);
    const answer = await this.#ask('Decrypt', { KeyId: arn, CiphertextBlob: envelope.blob.toString('base64'), EncryptionContext: encryptionContext(context) });
    const { Plaintext: plain, KeyId: by } = this.#expect(Decrypted, 'Decrypt', answer);
    if (by !== arn) throw corruptWrap('another key of AWS KMS');
    return acceptUnwrapped(Buffer.from(plain, 'base64'), envelope, context);
  }

  async rewrap(wrapped: Buffer, context: readonly string[]): Promise<Buffer> {
    assertContext(context);
    const { keyVersion, blob, commitment } = decodeEnvelope(wrapped, this.kind);
    const same = encryptionContext(context);
    const request = { CiphertextBlob: blob.toString('base64'), SourceKeyId: this.#arnOf(keyVersion), SourceEncryptionContext: same, DestinationKeyId: this.#settings.keyArn, DestinationEncryptionContext: same };
    return this.#envelope(this.#expect(Encrypted, 'ReEncrypt', await this.#ask('ReEncrypt', request)), commitment);
  }

  async close(): Promise<void> {}

  #envelope({ CiphertextBlob, KeyId }: z.infer<typeof Encrypted>, commitment: Buffer): Buffer {
    if (KeyId !== this.#settings.keyArn) throw new KeyUnavailable('unreachable', `${this.keyId}: the provider wrapped with another key`);
    return encodeEnvelope({ kind: this.kind, keyVersion: versionOf(KeyId), commitment, blob: Buffer.from(CiphertextBlob, 'base64') });
  }

  #arns(): string[] {
    return [this.#settings.keyArn, ...this.#settings.formerKeyArns];
  }

  #arnOf(version: string): string {
    const arn = this.#arns().find((one) => versionOf(one) === version);
    if (arn === undefined) throw new KeyUnavailable('denied', `the key ${version.slice(0, 80)} of AWS KMS is not among those of this provider`);
    return arn;
  }

  #ask(operation: Operation, parameters: Record<string, unknown>): Promise<HttpAnswer> {
    const body = JSON.stringify(parameters);
    return callProvider(this.#client, {
      what: `${operation} by ${this.keyId}`,
      request: async () => {
        const { credentials } = this.#settings;
        const who = 'accessKeyId' in credentials ? credentials : await readCredential(credentials.credentialsFile, (text) => AwsCredentials.parse(JSON.parse(text)));
        // Loaded by who uses it: most processes that know this lib never do.
        const { AwsV4Signer } = await import('aws4fetch');
        const signer = new AwsV4Signer({
          method: 'POST',
          url: this.#endpoint,
          headers: { 'content-type': 'application/x-amz-json-1.1', 'x-amz-target': `TrentService.${operation}` },
          body,
          accessKeyId: who.accessKeyId,
          secretAccessKey: who.secretAccessKey.expose(),
          ...(who.sessionToken && { sessionToken: who.sessionToken.expose() }),
          service: 'kms',
          region: this.#region,
          datetime: new Date(this.#client.clock.now()).toISOString().replace(/[-:]|\.\d{3}/g, ''),
        });
        const signed = await signer.sign();
        return { url: String(signed.url), method: 'POST', headers: Object.fromEntries(signed.headers), body };
      },
      transient: ({ status, body: answer }) => status === 429 || (status >= 500 && errorName(answer) !== 'NotFoundException') || transientErrors.includes(errorName(answer)),
    });
  }

  #expect<T>(schema: z.ZodType<T>, operation: Operation, { status, body }: HttpAnswer): T {
    const what = `${operation} by ${this.keyId}`;
    if (status === 200) {
      const parsed = schema.safeParse(body);
      if (parsed.success) return parsed.data;
      throw new KeyUnavailable('unreachable', `${what}: the answer is not one of AWS KMS`);
    }
    const name = errorName(body);
    if (operation !== 'Encrypt' && corruptErrors.includes(name)) throw corruptWrap(`${what}: ${name}`);
    const denied = deniedErrors.includes(name) || status === 401 || status === 403;
    throw new KeyUnavailable(denied ? 'denied' : 'unreachable', `${what}: the provider answers ${status} ${name}`);
  }
}

function keyIdOf(arn: string): string {
  return `aws_kms:${arn}`;
}

function versionOf(arn: string): string {
  return arn.slice(arn.lastIndexOf('/') + 1);
}

function encryptionContext(context: readonly string[]): Record<string, string> {
  return { alcove: JSON.stringify(context) };
}

function errorName(body: unknown): string {
  const type = ErrorBody.safeParse(body).data?.__type ?? '';
  return type.slice(type.lastIndexOf('#') + 1).slice(0, 80);
}
