import { constants, createCipheriv, createPrivateKey, type KeyObject, publicEncrypt, randomBytes, X509Certificate } from 'node:crypto';
import { Secret } from '@alcove/base';
import { Problem } from '@alcove/contracts';
import { der, derOid, derSequence, derSmallInteger, derTags } from './der';
import { keyBytes, wipe } from './keys';
import { tagBytes } from './xaes';

/** Most bytes of one export: it is held in memory whole, twice. */
export const exportBytesMax = 64 << 20;
const nonceBytes = 12;
const rsaBits = { min: 2048, max: 8192 };
const certificateCharsMax = 64 << 10;
const oids = {
  data: '1.2.840.113549.1.7.1', authEnvelopedData: '1.2.840.113549.1.9.16.1.23', aes256Gcm: '2.16.840.1.101.3.4.1.46', rsaesOaep: '1.2.840.113549.1.1.7', mgf1: '1.2.840.113549.1.1.8', sha256: '2.16.840.1.101.3.4.2.1',
};

interface Recipient {
  publicKey: KeyObject;
  /** IssuerAndSerialNumber, DER. */
  identifier: Buffer;
}

/**
 * Seals an export to the owner of an X.509 certificate: CMS AuthEnvelopedData (RFC 5083) of AES-256-GCM (RFC 5084), its key by RSAES-OAEP with SHA-256 (RFC 3560), as DER.
 * `openssl cms -decrypt -inform DER -inkey KEY -recip CERT` of OpenSSL 3 opens it; its output is worth nothing when it exits with another code than 0. EnvelopedData would
 * be read by older programs too, and cannot tell whether it was changed.
 *
 * `now`: wall clock, milliseconds. Problems: `request.too_large`; `request.invalid` for a certificate that is none, is not valid now, is not of RSA with 2048 to 8192 bits (node-forge
 * reads no other), or may not be used to encipher keys. Nobody checks who issued it: that is for whoever gave it.
 */
export async function sealExport(content: Buffer, certificatePem: string, now: number): Promise<Buffer> {
  if (content.length > exportBytesMax) throw new Problem('request.too_large', { detail: `an export has at most ${exportBytesMax} bytes` });
  const { publicKey, identifier } = await readRecipient(certificatePem, now);
  const key = randomBytes(keyBytes);
  const nonce = randomBytes(nonceBytes);
  try {
    const cipher = createCipheriv('aes-256-gcm', key, nonce);
    const ciphertext = cipher.update(content);
    cipher.final();
    const wrapped = publicEncrypt({ key: publicKey, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha256' }, key);
    const keyTransport = derSequence(derSmallInteger(0), identifier, oaepSha256(), der(derTags.octetString, wrapped));
    const parameters = derSequence(der(derTags.octetString, nonce), derSmallInteger(tagBytes));
    const encrypted = derSequence(derOid(oids.data), derSequence(derOid(oids.aes256Gcm), parameters), der(derTags.context0, ciphertext));
    const enveloped = derSequence(derSmallInteger(0), der(derTags.set, keyTransport), encrypted, der(derTags.octetString, cipher.getAuthTag()));
    return derSequence(derOid(oids.authEnvelopedData), der(derTags.constructed0, enveloped));
  } finally {
    wipe(key);
  }
}

function oaepSha256(): Buffer {
  const sha256 = derSequence(derOid(oids.sha256));
  return derSequence(derOid(oids.rsaesOaep), derSequence(der(derTags.constructed0, sha256), der(derTags.constructed1, derSequence(derOid(oids.mgf1), sha256))));
}

async function readRecipient(pem: string, now: number): Promise<Recipient> {
  const certificate = readCertificate(pem);
  const { publicKey } = certificate;
  const bits = publicKey.asymmetricKeyDetails?.modulusLength ?? 0;
  if (publicKey.asymmetricKeyType !== 'rsa' || bits < rsaBits.min || bits > rsaBits.max) {
    throw invalid(`the certificate has a key of ${publicKey.asymmetricKeyType ?? 'an unknown kind'}${bits ? ` with ${bits} bits` : ''}: exports are sealed to RSA keys of ${rsaBits.min} to ${rsaBits.max} bits only`);
  }
  if (now < certificate.validFromDate.getTime() || now > certificate.validToDate.getTime()) throw invalid(`the certificate is valid from ${certificate.validFromDate.toISOString()} to ${certificate.validToDate.toISOString()} only`);
  // Most processes that know this lib never make an export, and node-forge is large.
  const { default: forge } = await import('node-forge');
  const parsed = parse(() => forge.pki.certificateFromAsn1(forge.asn1.fromDer(forge.util.createBuffer(certificate.raw.toString('latin1')))));
  const usage = parsed.getExtension('keyUsage') as { keyEncipherment?: boolean } | undefined | null;
  if (usage && usage.keyEncipherment !== true) throw invalid('the certificate may not be used to encipher keys (its key usage lacks keyEncipherment)');
  // Issuer and serial number as they stand in the certificate: another encoding of the same name would not be found again.
  const [tbs] = forge.asn1.fromDer(certificate.raw.toString('latin1')).value as import('node-forge').asn1.Asn1[];
  const fields = (tbs?.value as import('node-forge').asn1.Asn1[]).filter(({ tagClass }) => tagClass === forge.asn1.Class.UNIVERSAL);
  const [serial, , issuer] = fields.map((field) => Buffer.from(forge.asn1.toDer(field).getBytes(), 'latin1'));
  if (!serial || !issuer) throw invalid('the certificate cannot be read');
  return { publicKey, identifier: derSequence(issuer, serial) };
}

function readCertificate(pem: string): X509Certificate {
  if (pem.length > certificateCharsMax) throw invalid(`a certificate has at most ${certificateCharsMax} characters`);
  return parse(() => new X509Certificate(pem));
}

function parse<T>(read: () => T): T {
  try {
    return read();
  } catch (cause) {
    throw invalid('this is no X.509 certificate in PEM that can be read', cause);
  }
}

/**
 * A PKCS#12 file (RFC 7292) of a private key and its certificate, as other programs import it, and its password: 26 letters and digits drawn here (130 bits), because the file's own
 * guard against guessing is weak (PBKDF2 and PKCS#12's derivation with HMAC-SHA-1, 2048 rounds: node-forge writes no other, and does the second in JavaScript, some 0.3 s of this
 * process: for handing out a key once, never on a hot path). Hand them out by different ways. Problem `request.invalid` when key and certificate do not belong together or are
 * not of RSA.
 */
export async function packPkcs12(privateKeyPem: string, certificatePem: string, friendlyName: string): Promise<{ file: Buffer; password: Secret<string> }> {
  const certificate = readCertificate(certificatePem);
  const key = parse(() => createPrivateKey(privateKeyPem));
  if (key.asymmetricKeyType !== 'rsa') throw invalid(`a key of ${key.asymmetricKeyType ?? 'an unknown kind'} cannot be packed: RSA only`);
  if (!certificate.checkPrivateKey(key)) throw invalid('the certificate is of another key');
  const password = drawPassword();
  const { default: forge } = await import('node-forge');
  const forgeKey = forge.pki.privateKeyFromPem(key.export({ type: 'pkcs1', format: 'pem' }) as string);
  const forgeCertificate = parse(() => forge.pki.certificateFromPem(certificatePem));
  const asn1 = forge.pkcs12.toPkcs12Asn1(forgeKey, [forgeCertificate], password, { algorithm: 'aes256', count: 2048, saltSize: 16, friendlyName });
  return { file: Buffer.from(forge.asn1.toDer(asn1).getBytes(), 'latin1'), password: new Secret(password) };
}

/** Of 32 signs that are not mistaken for each other (Crockford's base 32), five bits each. */
function drawPassword(): string {
  return Array.from(randomBytes(26), (byte) => '0123456789abcdefghjkmnpqrstvwxyz'[byte & 31]).join('');
}

function invalid(detail: string, cause?: unknown): Problem {
  return new Problem('request.invalid', { detail, cause });
}
