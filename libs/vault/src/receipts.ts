import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, sign, verify } from 'node:crypto';
import { ErasureReceipt, SignedReceipt } from '@alcove/contracts';
import { canonicalJson } from './canonical-json';
import { KeyUnavailable } from './key-provider';
import { readSecretFile, writeSecretFile } from './key-ring';
import { wipe } from './keys';

/** What is signed begins so, so that the key's signatures mean nothing else. */
const domain = 'alcove/receipt/1\n';
const maxKeyFileBytes = 4 << 10;
/** Most bytes of a receipt that is verified. */
export const receiptBytesMax = 64 << 20;

/** The key that signs receipts: Ed25519 (RFC 8032). It cannot be taken out of here. */
export class ReceiptKey {
  readonly #key: KeyObject;
  readonly keyId: string;
  /** SPKI, PEM: what whoever verifies a receipt needs, and must have from us by another way than the receipt. */
  readonly publicKeyPem: string;

  constructor(key: KeyObject) {
    if (key.type !== 'private' || key.asymmetricKeyType !== 'ed25519') throw new TypeError('receipts are signed by an Ed25519 key');
    this.#key = key;
    const publicKey = createPublicKey(key);
    this.keyId = receiptKeyId(publicKey);
    this.publicKeyPem = publicKey.export({ type: 'spki', format: 'pem' }) as string;
  }

  sign(bytes: Buffer): Buffer {
    return sign(null, bytes, this.#key);
  }
}

/** `sha256:` and the SHA-256 of the public key as SPKI DER. */
export function receiptKeyId(publicKey: KeyObject): string {
  return `sha256:${createHash('sha256').update(publicKey.export({ type: 'spki', format: 'der' })).digest('hex')}`;
}

/** Makes the file of a signing key (PKCS#8, PEM, mode 0600), durable when this resolves. Never overwrites: Problem `vault.key_unavailable`. */
export async function createReceiptKeyFile(path: string): Promise<void> {
  const { privateKey } = generateKeyPairSync('ed25519');
  const pem = Buffer.from(privateKey.export({ type: 'pkcs8', format: 'pem' }));
  try {
    await writeSecretFile(path, pem, 'new');
  } finally {
    wipe(pem);
  }
}

/** Reads the signing key. Problem `vault.key_unavailable` as for a root key file, or when it holds no Ed25519 key. */
export async function openReceiptKey(path: string): Promise<ReceiptKey> {
  const pem = await readSecretFile(path, maxKeyFileBytes);
  try {
    return new ReceiptKey(createPrivateKey({ key: pem, format: 'pem' }));
  } catch (cause) {
    throw new KeyUnavailable('denied', `${path} holds no Ed25519 key in PEM`, cause);
  } finally {
    wipe(pem);
  }
}

/** Signs a receipt. Throws a ZodError when it is none: nothing that is not exact is signed. */
export function signReceipt(receipt: ErasureReceipt, key: ReceiptKey): SignedReceipt {
  const checked = ErasureReceipt.parse(receipt);
  const signature = { algorithm: 'ed25519' as const, keyId: key.keyId };
  return { receipt: checked, signature: { ...signature, value: key.sign(signedBytes(checked, signature)).toString('base64') } };
}

/** The receipt as a file: its canonical JSON and a line end. `verifyReceiptText` takes nothing else. */
export function receiptText(signed: SignedReceipt): string {
  return `${canonicalJson(signed)}\n`;
}

/** `key`: signed by another key than the one given. `signature`: changed after it was signed, or never signed. `layout`: no receipt of a version that is known. */
export type ReceiptVerdict = { verdict: 'genuine'; receipt: ErasureReceipt } | { verdict: 'refused'; reason: 'layout' | 'key' | 'signature'; detail: string };

/** Whether a receipt is as it was signed by the owner of a public key (SPKI, PEM). Throws a TypeError when the PEM holds no Ed25519 public key. */
export function verifyReceipt(signed: unknown, publicKeyPem: string): ReceiptVerdict {
  const publicKey = readPublicKey(publicKeyPem);
  const parsed = SignedReceipt.safeParse(signed);
  if (!parsed.success) return refused('layout', `it is no signed receipt of version 1: ${parsed.error.issues[0]?.path.join('.') ?? ''} ${parsed.error.issues[0]?.message ?? ''}`);
  const { receipt, signature } = parsed.data;
  if (signature.keyId !== receiptKeyId(publicKey)) return refused('key', `it is signed by ${signature.keyId}, the key given is ${receiptKeyId(publicKey)}`);
  const value = Buffer.from(signature.value, 'base64');
  // Base64 has spellings of the same bytes; one of them was signed.
  const spelled = value.toString('base64') === signature.value;
  const genuine = spelled && verify(null, signedBytes(receipt, { algorithm: signature.algorithm, keyId: signature.keyId }), publicKey, value);
  return genuine ? { verdict: 'genuine', receipt } : refused('signature', 'the signature does not fit: it was changed, or never signed by this key');
}

/** As verifyReceipt, for a file's bytes, which must be those that were issued, one by one: another order, a space more or a name twice is refused, so nothing reads it otherwise. */
export function verifyReceiptText(bytes: Buffer, publicKeyPem: string): ReceiptVerdict {
  if (bytes.length > receiptBytesMax) return refused('layout', `it has more than ${receiptBytesMax} bytes`);
  const text = bytes.toString('utf8');
  let signed: unknown;
  try {
    signed = JSON.parse(text);
  } catch {
    return refused('layout', 'it is no JSON');
  }
  const found = verifyReceipt(signed, publicKeyPem);
  if (found.verdict === 'refused') return found;
  const same = bytes.equals(Buffer.from(receiptText(SignedReceipt.parse(signed))));
  return same ? found : refused('layout', 'its text is not the one that was issued');
}

function readPublicKey(pem: string): KeyObject {
  let key: KeyObject;
  try {
    key = createPublicKey(pem);
  } catch (cause) {
    throw new TypeError('this is no public key in PEM', { cause });
  }
  if (key.asymmetricKeyType !== 'ed25519') throw new TypeError('this is no Ed25519 key');
  return key;
}

function signedBytes(receipt: ErasureReceipt, signature: { algorithm: 'ed25519'; keyId: string }): Buffer {
  return Buffer.from(domain + canonicalJson({ receipt, signature }));
}

function refused(reason: 'layout' | 'key' | 'signature', detail: string): ReceiptVerdict {
  return { verdict: 'refused', reason, detail };
}
