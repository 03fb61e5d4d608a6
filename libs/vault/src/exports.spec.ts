import { execFileSync, spawnSync } from 'node:child_process';
import { createPrivateKey, randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { der, derOid } from './der';
import { exportBytesMax, packPkcs12, sealExport } from './exports';

describe('exports', () => {
  let folder: string;
  let certificate: string;
  let key: string;
  const at = (name: string): string => join(folder, name);
  const openssl = (...args: string[]): Buffer => execFileSync('openssl', args, { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'], maxBuffer: 1 << 28 });
  /** A certificate of its own, valid for all of the tests' times. */
  const issue = async (name: string, ...more: string[]): Promise<string> => {
    openssl('req', '-x509', '-nodes', '-keyout', `${name}.key`, '-out', `${name}.crt`, '-subj', '/O=Ünternehmen, Inc./CN=Änn & Bob', '-utf8', '-set_serial', '0x00ff0102030405060708', '-days', '20000', ...more);
    return readFile(at(`${name}.crt`), 'utf8');
  };
  const open = (file: string, name = 'rsa'): { status: number | null; output: Buffer } => {
    const { status, stdout } = spawnSync('openssl', ['cms', '-decrypt', '-inform', 'DER', '-in', file, '-inkey', `${name}.key`, '-recip', `${name}.crt`], { cwd: folder, maxBuffer: 1 << 28 });
    return { status, output: stdout };
  };
  /** A time at which all of them are valid: they are made within minutes of the first. */
  const soon = (): number => new Date(certificateTimes(certificate).from).getTime() + 3600_000;
  const certificateTimes = (pem: string): { from: string } => ({ from: execFileSync('openssl', ['x509', '-noout', '-startdate'], { input: pem, encoding: 'utf8' }).trim().slice('notBefore='.length) });

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'alcove-exports-'));
    certificate = await issue('rsa', '-newkey', 'rsa:2048');
    key = await readFile(at('rsa.key'), 'utf8');
  });
  afterAll(() => rm(folder, { recursive: true }));

  it('are opened by openssl cms -decrypt, of any size', async () => {
    for (const bytes of [0, 1, 16, 127, 128, 65_535, 3 << 20]) {
      const content = randomBytes(bytes);
      const sealed = await sealExport(content, certificate, soon());
      expect(bytes > 16 && sealed.includes(content.subarray(0, 17))).toBe(false);
      await writeFile(at('export.cms'), sealed);
      const { status, output } = open('export.cms');
      expect([status, output.equals(content)]).toEqual([0, true]);
    }
  });

  it('are refused by openssl when they were changed, or for another key', async () => {
    const sealed = await sealExport(Buffer.from('content of the user'), certificate, soon());
    for (const back of [1, 16, 20, 30]) {
      const bad = Buffer.from(sealed);
      bad[bad.length - back] = (bad[bad.length - back] ?? 0) ^ 1;
      await writeFile(at('bad.cms'), bad);
      expect(open('bad.cms').status).not.toBe(0);
    }
    await issue('other', '-newkey', 'rsa:2048');
    await writeFile(at('export.cms'), sealed);
    expect(open('export.cms', 'other').output.toString()).not.toContain('content');
  });

  it('are sealed to certificates of RSA only, valid now, that may encipher keys', async () => {
    const refusal = (pem: string, when = soon()): Promise<string> => sealExport(Buffer.alloc(1), pem, when).then(() => 'sealed', (error: { code: string; detail: string }) => `${error.code}: ${error.detail}`);
    expect(await refusal(await issue('ec', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256'))).toMatch(/request.invalid: .* key of ec: .*RSA keys/);
    expect(await refusal(await issue('ed', '-newkey', 'ed25519'))).toMatch(/key of ed25519/);
    expect(await refusal(await issue('pss', '-newkey', 'rsa-pss', '-pkeyopt', 'rsa_keygen_bits:2048'))).toMatch(/key of rsa-pss/);
    expect(await refusal(await issue('small', '-newkey', 'rsa:1024'))).toMatch(/1024 bits/);
    expect(await refusal(await issue('signing', '-newkey', 'rsa:2048', '-addext', 'keyUsage=digitalSignature'))).toMatch(/keyEncipherment/);
    expect(await refusal(await issue('usable', '-newkey', 'rsa:2048', '-addext', 'keyUsage=keyEncipherment'))).toBe('sealed');
    expect([await refusal(certificate, soon() - 1e12), await refusal(certificate, soon() + 1e13)]).toEqual([expect.stringContaining('valid from'), expect.stringContaining('valid from')]);
    for (const bad of ['', 'x', key, certificate.replace(/[A-Za-z]{6}\n/, '!!!!!!\n'), 'x'.repeat(70_000)]) expect(await refusal(bad)).toMatch(/^request.invalid/);
  });

  it('are bounded', async () => {
    await expect(sealExport(Buffer.alloc(exportBytesMax + 1), certificate, soon())).rejects.toMatchObject({ code: 'request.too_large' });
  });

  it('hand out a key and its certificate as PKCS#12 that openssl opens with the password, and not without', async () => {
    const { file, password } = await packPkcs12(key, certificate, 'export key');
    expect(password.expose()).toMatch(/^[0-9a-z]{26}$/);
    await writeFile(at('key.p12'), file);
    const opened = openssl('pkcs12', '-in', 'key.p12', '-nodes', '-passin', `pass:${password.expose()}`).toString();
    const pem = /-----BEGIN PRIVATE KEY-----[\s\S]+?-----END PRIVATE KEY-----/.exec(opened)?.[0] ?? '';
    expect(createPrivateKey(pem).equals(createPrivateKey(key))).toBe(true);
    expect(opened).toContain('friendlyName: export key');
    expect(opened.replace(/\s/g, '')).toContain(certificate.replace(/\s/g, ''));
    expect(() => openssl('pkcs12', '-in', 'key.p12', '-nodes', '-passin', 'pass:wrong')).toThrow();
    await issue('third', '-newkey', 'rsa:2048');
    await expect(packPkcs12(key, await readFile(at('third.crt'), 'utf8'), 'x')).rejects.toMatchObject({ detail: 'the certificate is of another key' });
    await issue('ec', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256');
    await expect(packPkcs12(await readFile(at('ec.key'), 'utf8'), await readFile(at('ec.crt'), 'utf8'), 'x')).rejects.toMatchObject({ detail: expect.stringContaining('RSA only') });
  });
});

it('DER is written as openssl writes it', () => {
  expect(derOid('1.2.840.113549.1.9.16.1.23').toString('hex')).toBe('060b2a864886f70d0109100117');
  expect(derOid('2.16.840.1.101.3.4.1.46').toString('hex')).toBe('060960864801650304012e');
  expect([0, 127, 128, 255, 256, 65_536].map((bytes) => der(4, Buffer.alloc(bytes)).subarray(0, 5).toString('hex').slice(0, 10))).toEqual(['0400', '047f000000', '0481800000', '0481ff0000', '0482010000', '0483010000']);
});
