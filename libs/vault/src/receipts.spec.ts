import { createPrivateKey, createPublicKey, generateKeyPairSync } from 'node:crypto';
import { chmod, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ErasureReceipt } from '@alcove/contracts';
import fc from 'fast-check';
import { canonicalJson } from './canonical-json';
import { createReceiptKeyFile, openReceiptKey, ReceiptKey, receiptText, signReceipt, verifyReceipt, verifyReceiptText } from './receipts';

/** A key from a fixed seed (RFC 8032 test 1), so that the golden signature is the same for ever: Ed25519 is deterministic. */
const seed = '9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60';
const key = new ReceiptKey(createPrivateKey({ key: Buffer.from(`302e020100300506032b657004220420${seed}`, 'hex'), format: 'der', type: 'pkcs8' }));
const receipt: ErasureReceipt = {
  version: 1,
  kind: 'erasure',
  id: 'rcpt_1',
  subject: { tenantId: '0191f3a0-0000-7000-8000-000000000001', userId: 'ann' },
  startedAt: '2030-01-01T00:00:00.000Z',
  finishedAt: '2030-01-01T00:00:01.000Z',
  keys: [{ keyId: 'user/1', version: 1, destroyedAt: '2030-01-01T00:00:00.500Z' }],
  objects: [{ kind: 'memory_image', id: 'img_1', bytes: 4096, sha256: 'ab'.repeat(32) }, { kind: 'record', id: 'rec_1', bytes: 0, sha256: null }],
  evidence: [{ kind: 'memory_image', id: 'img_1', sha256: 'ab'.repeat(32), triedAt: '2030-01-01T00:00:00.900Z', code: 'vault.key_unavailable' }],
  notCovered: [{ what: 'backups of the database of wraps', until: '2030-01-08T00:00:00.000Z' }, { what: 'what the provider of the model logged (Anbieter für Sprache: ä)', until: null }],
};
const signed = signReceipt(receipt, key);
const issued = Buffer.from(receiptText(signed));
const verdict = (bytes: Buffer, pem = key.publicKeyPem): string => {
  const found = verifyReceiptText(bytes, pem);
  return found.verdict === 'genuine' ? 'genuine' : found.reason;
};

describe('receipts', () => {
  it('keep their text and signature: a golden of version 1', () => {
expect([key.keyId, signed.signature.value]).toEqual([golden.keyId, golden.value]);
    expect(issued.toString()).toBe(golden.text);
  });

  it('verify with the public key alone, as text and as a value whose members are in another order', () => {
    expect(verifyReceiptText(issued, key.publicKeyPem)).toEqual({ verdict: 'genuine', receipt });
    const turned = { signature: { ...signed.signature }, receipt: Object.fromEntries(Object.entries(receipt).reverse()) };
    expect(verifyReceipt(turned, key.publicKeyPem).verdict).toBe('genuine');
  });

  it('are refused when any bit of any byte was changed', () => {
    for (let at = 0; at < issued.length; at++) {
      const bad = Buffer.from(issued);
      bad[at] = (bad[at] ?? 0) ^ (1 << (at & 7));
      expect(['layout', 'key', 'signature']).toContain(verdict(bad));
    }
  });

  it('are refused after any edit of their text', () => {
    const edit = fc.tuple(fc.nat(issued.length), fc.nat(8), fc.uint8Array({ maxLength: 8 }));
    fc.assert(
      fc.property(edit, ([at, cut, put]) => {
        const bad = Buffer.concat([issued.subarray(0, at), Buffer.from(put), issued.subarray(at + cut)]);
        return bad.equals(issued) || verdict(bad) !== 'genuine';
      }),
      { seed: 20261126, numRuns: 1500 },
    );
  });

  it('are refused in another spelling: spaces, order, a name twice, an escape, no line end', () => {
    const text = issued.toString();
    const bad = [text.trimEnd(), ` ${text}`, JSON.stringify(signed, null, 1), text.replace('"version":1}', '"version":1 }'), text.replace('"kind":"erasure"', '"kind":"erasure","kind":"erasure"'), text.replace('ä', '\\u00e4'), text.replace('4096', '4.096e3'), `\ufeff${text}`];
    for (const one of bad) expect(verdict(Buffer.from(one))).not.toBe('genuine');
    expect(verdict(Buffer.from(text.replace('\n', '\r\n')))).not.toBe('genuine');
  });

  it('are refused with another key, and with a key id that was changed to fit', () => {
    const other = new ReceiptKey(generateKeyPairSync('ed25519').privateKey);
    expect(verdict(issued, other.publicKeyPem)).toBe('key');
    const forged = { ...signed, signature: { ...signed.signature, keyId: other.keyId } };
    expect(verdict(Buffer.from(receiptText(forged)), other.publicKeyPem)).toBe('signature');
    const resigned = signReceipt({ ...receipt, notCovered: [] }, other);
    expect(verdict(Buffer.from(receiptText(resigned)))).toBe('key');
  });

  it('are signed only when they are exact', () => {
    const bad = [{ ...receipt, more: 1 }, { ...receipt, finishedAt: '2029-01-01T00:00:00.000Z' }, { ...receipt, version: 2 }, { ...receipt, objects: [{ ...receipt.objects[0], bytes: -1 }] }];
    for (const one of bad) expect(() => signReceipt(one as ErasureReceipt, key)).toThrow();
  });

  it('take no other kind of key', () => {
    const rsa = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    expect(() => new ReceiptKey(rsa.privateKey)).toThrow(TypeError);
    expect(() => verifyReceipt(signed, rsa.publicKey.export({ type: 'spki', format: 'pem' }) as string)).toThrow(TypeError);
    expect(() => verifyReceipt(signed, 'x')).toThrow(TypeError);
  });
});

describe('the file of the signing key', () => {
  it('is made once with mode 0600, is readable by openssl, and refused when others may read it', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'alcove-receipt-'));
    const path = join(folder, 'receipt.pem');
    await createReceiptKeyFile(path);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    await expect(createReceiptKeyFile(path)).rejects.toMatchObject({ code: 'vault.key_unavailable' });
    const made = await openReceiptKey(path);
    expect(createPublicKey(await readFile(path)).export({ type: 'spki', format: 'pem' })).toBe(made.publicKeyPem);
    expect(JSON.stringify(made)).not.toContain('PRIVATE');
    await chmod(path, 0o640);
    await expect(openReceiptKey(path)).rejects.toMatchObject({ reason: 'denied' });
    await writeFile(join(folder, 'other'), 'x', { mode: 0o600 });
    await expect(openReceiptKey(join(folder, 'other'))).rejects.toMatchObject({ reason: 'denied' });
    await rm(folder, { recursive: true });
  });
});

describe('canonical JSON', () => {
  it('is that of the examples of RFC 8785', () => {
    expect(canonicalJson({ numbers: [333333333.33333329, 4.5, 2e-3, 0.000000000000000000000000001], string: '\u20ac$\u000F\u000aA\'\u0042\u0022\u005c\\\"\/', literals: [null, true, false] })).toBe(
      '{"literals":[null,true,false],"numbers":[333333333.3333333,4.5,0.002,1e-27],"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}',
    );
    expect(canonicalJson({ '\u20ac': 1, '\r': 2, '\ufb33': 3, '1': 4, '\u{1f600}': 5, '\u0080': 6, '\u00f6': 7 })).toBe('{"\\r":2,"1":4,"\u0080":6,"ö":7,"€":1,"😀":5,"\ufb33":3}');
  });

  it('refuses what JSON cannot say', () => {
    for (const bad of [undefined, NaN, Infinity, 2 ** 53, '\ud800', { '\udc00': 1 }, [undefined], { a: undefined }, new Date(0), () => 1, 1n, new Map()]) expect(() => canonicalJson(bad)).toThrow(TypeError);
  });

  it('is the same for equal values, and parses to the value', () => {
    fc.assert(
      fc.property(fc.jsonValue({ noUnicodeString: true }), (value) => {
        const plain = JSON.parse(JSON.stringify(value), (_, one: unknown) => (Number.isInteger(one) && !Number.isSafeInteger(one) ? 0 : one)) as unknown;
        expect(JSON.parse(canonicalJson(plain))).toEqual(plain);
      }),
      { seed: 20261127, numRuns: 300 },
    );
  });
});

/** Made by a second implementation, in Python. */
const golden = {
  keyId: 'sha256:06e3fd8fda29bb60ab59557de61edb0aecdb231134be30e75b455f8e1b792fa9',
  value: '8s0Im10nxHK4kTM5rsWtyar56LEVKreonQa8Jqi+DCPNNpzkT0kaHQhSnwFn9suU2qfSPz4ejy6erolCAWghCA==',
  text:
    '{"receipt":{"evidence":[{"code":"vault.key_unavailable","id":"img_1","kind":"memory_image","sha256":"abababababababababababababababababababababababababababababababab","triedAt":"2030-01-01T00:00:00.900Z"}],"finishedAt":"2030-01-01T00:00:01.000Z","id":"rcpt_1","keys":[{"destroyedAt":"2030-01-01T00:00:00.500Z","keyId":"user/1","version":1}],"kind":"erasure","notCovered":[{"until":"2030-01-08T00:00:00.000Z","what":"backups of the database of wraps"},{"until":null,"what":"what the provider of the model logged (Anbieter für Sprache: ä)"}],"objects":[{"bytes":4096,"id":"img_1","kind":"memory_image","sha256":"abababababababababababababababababababababababababababababababab"},{"bytes":0,"id":"rec_1","kind":"record","sha256":null}],"startedAt":"2030-01-01T00:00:00.000Z","subject":{"tenantId":"0191f3a0-0000-7000-8000-000000000001","userId":"ann"},"version":1},"signature":{"algorithm":"ed25519","keyId":"sha256:06e3fd8fda29bb60ab59557de61edb0aecdb231134be30e75b455f8e1b792fa9","value":"8s0Im10nxHK4kTM5rsWtyar56LEVKreonQa8Jqi+DCPNNpzkT0kaHQhSnwFn9suU2qfSPz4ejy6erolCAWghCA=="}}\n',
};
