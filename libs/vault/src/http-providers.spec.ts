import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Secret, systemClock, type Clock } from '@alcove/base';
import { HttpEmulator, KmsEmulator, VaultEmulator } from '@alcove/testing';
import { httpBounds } from './http';
import type { KeyProvider } from './key-provider';
import { openProvider, openTenantProvider } from './open-provider';
import { KeyProviderSettings, TenantKeyProviderSettings } from './provider-settings';
import { isPublicAddress } from './public-fetch';

/** Pauses and deadlines at once; the wall clock is the machine's. */
const impatient: Clock = { ...systemClock, sleep: async (ms, signal) => (ms === httpBounds.attemptMs ? systemClock.sleep(150, signal) : undefined) };
const key = new Secret(Buffer.alloc(32, 7));
const context = ['tenant-key', 't1'];
const json = { 'content-type': 'application/json' };

async function codeOf(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => 'fine',
    (error: { code?: string; reason?: string }) => error.reason ?? error.code ?? String(error),
  );
}

describe('providers over HTTP, when the other side misbehaves', () => {
  let server: HttpEmulator;
  let vault: VaultEmulator;
  let provider: KeyProvider;
  beforeEach(async () => {
    vault = await VaultEmulator.start();
    server = vault.http;
    await fetch(`${server.url}/v1/transit/keys/k`, { method: 'POST', headers: { 'x-vault-token': VaultEmulator.rootToken, 'x-vault-request': 'true' }, body: '{"type":"aes256-gcm96"}' });
    provider = await openProvider(KeyProviderSettings.parse({ kind: 'vault_transit', url: server.url, key: 'k', credentials: { token: VaultEmulator.rootToken } }), { clock: impatient });
    server.requests.length = 0;
  });
  afterEach(() => server.close());

  it('ask again, twice, after what passes; and no more', async () => {
    server.answerNext({ status: 503 }, { status: 429 });
    expect(await codeOf(provider.wrap(key, context))).toBe('fine');
    server.answerNext({ status: 500 }, { status: 502 }, { status: 504 });
    expect(await codeOf(provider.wrap(key, context))).toBe('unreachable');
    expect(server.requests.length).toBe(6);
  });

  it('do not ask again after a refusal', async () => {
    server.answerNext({ status: 403, headers: json, body: '{"errors":["permission denied"]}' });
    expect(await codeOf(provider.wrap(key, context))).toBe('denied');
    expect(server.requests.length).toBe(1);
  });

  it('end their wait for one that says nothing', async () => {
    server.answerNext({ status: 200, silent: true }, { status: 200, silent: true }, { status: 200, silent: true });
    expect(await codeOf(provider.wrap(key, context))).toBe('unreachable');
    server.answerNext({ status: 200, silent: true });
    expect(await codeOf(provider.wrap(key, context))).toBe('fine');
  });

  it('take no long, foreign or half answer, and follow nowhere', async () => {
    const answers = [
      { status: 200, body: 'x'.repeat(httpBounds.answerBytes + 1) }, { status: 200, body: '<html>' }, { status: 200, body: '' }, { status: 200, body: '{"data":{}}' }, { status: 204 },
      { status: 200, body: '{"data":{"ciphertext":"vault:v0:AAAA"}}' }, { status: 200, body: '{"data":{"ciphertext":"../../x"}}' }, { status: 302, headers: { location: `${server.url}/stolen` } },
    ];
    for (const answer of answers) {
      server.requests.length = 0;
      server.answerNext(answer);
      expect(await codeOf(provider.wrap(key, context))).toBe('unreachable');
      expect(server.requests.map(({ path }) => path)).toEqual(['/v1/transit/encrypt/k']);
    }
  });

  it('find out one that answers with another key, or without looking at the context', async () => {
    const wrapped = await provider.wrap(key, context);
    const other = (plain: Buffer): { status: number; body: string } => ({ status: 200, body: JSON.stringify({ data: { plaintext: plain.toString('base64') } }) });
    server.answerNext(other(Buffer.alloc(32, 8)), other(Buffer.alloc(31, 7)), other(Buffer.alloc(0)), other(Buffer.alloc(32, 7)), other(Buffer.alloc(32, 7)));
    for (const parts of [context, context, context, ['tenant-key', 't2']]) expect(await codeOf(provider.unwrap(wrapped, parts))).toBe('vault.corrupt');
    expect((await provider.unwrap(wrapped, context)).expose()).toEqual(key.expose());
  });

  it('show no token in what they throw or print', async () => {
    server.answerNext({ status: 403, body: '{"errors":["no"]}' });
    const error = await provider.wrap(key, context).catch((e: Error) => e);
    expect(JSON.stringify([provider, error, String(error)])).not.toContain(VaultEmulator.rootToken);
  });

  it('read a token from its file for every request', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'alcove-token-'));
    const tokenFile = join(folder, 'token');
    await writeFile(tokenFile, 'stale\n', { mode: 0o600 });
    const fromFile = await openProvider(KeyProviderSettings.parse({ kind: 'vault_transit', url: server.url, key: 'k', credentials: { tokenFile } }), { clock: impatient });
    expect(await codeOf(fromFile.describe())).toBe('denied');
    await writeFile(tokenFile, `${VaultEmulator.rootToken}\n`);
    expect(await codeOf(fromFile.describe())).toBe('fine');
    await rm(folder, { recursive: true });
    expect(await codeOf(fromFile.describe())).toBe('unreachable');
  });
});

describe('AWS KMS', () => {
  it('is denied by a wrong signature, told apart from what passes, and signed with the time of the attempt', async () => {
    let offset = 0;
    const kms = await KmsEmulator.start(() => systemClock.now() + offset);
    const keyArn = `arn:aws:kms:${kms.region}:111122223333:key/00000000-0000-0000-0000-000000000000`;
    const open = (secretAccessKey: string): Promise<KeyProvider> =>
      openProvider(KeyProviderSettings.parse({ kind: 'aws_kms', keyArn, endpoint: kms.http.url, credentials: { ...kms.user, secretAccessKey } }), { clock: impatient });
    const provider = await open(kms.user.secretAccessKey);
    const said = async (): Promise<string> => provider.describe().then(() => '', (error: Error) => error.message);
    expect(await said()).toContain('NotFoundException (denied)');
    expect(await codeOf((await open('wrong')).describe())).toBe('denied');
    offset = 6 * 60_000;
    expect(await said()).toContain('InvalidSignatureException (denied)');
    kms.http.requests.length = 0;
    const busy = { status: 400, body: '{"__type":"com.amazonaws.kms#ThrottlingException"}' };
    kms.http.answerNext(busy, busy, busy);
    expect(await codeOf(provider.describe())).toBe('unreachable');
    expect(kms.http.requests.length).toBe(3);
    await kms.http.close();
  });
});

describe('settings of providers', () => {
  const arn = 'arn:aws:kms:eu-central-1:111122223333:key/0-0';
  const aws = { kind: 'aws_kms', keyArn: arn, credentials: { accessKeyId: 'A'.repeat(20), secretAccessKey: 's' } };
  const vault = { kind: 'vault_transit', url: 'https://vault.example.com', key: 'k', credentials: { token: 't' } };

  it('of a tenant name no file, no code, no endpoint of AWS, no plain HTTP', () => {
    expect([aws, vault].map((one) => TenantKeyProviderSettings.safeParse(one).success)).toEqual([true, true]);
    const bad = [
      { kind: 'file', path: '/etc/shadow' }, { kind: 'pkcs11', library: '/tmp/x.so', addon: '/', token: 't', keyLabel: 'k', pinFile: '/p' }, { ...aws, endpoint: 'https://x' },
      { ...aws, credentials: { credentialsFile: '/x' } }, { ...vault, credentials: { tokenFile: '/x' } }, { ...vault, url: 'http://vault.example.com' }, { ...vault, url: 'file:///etc/passwd' },
    ];
    for (const one of bad) expect(TenantKeyProviderSettings.safeParse(one).success).toBe(false);
  });

  it('let nothing into a path, a host or a header', () => {
    const bad = [
      { ...vault, key: '../sys/seal' }, { ...vault, key: 'a/b' }, { ...vault, mount: '../x' }, { ...vault, mount: 'a//b' }, { ...vault, mount: '/a' }, { ...vault, namespace: 'a\r\nb' },
      { ...vault, credentials: { token: 'a\nb' } }, { ...aws, keyArn: 'arn:aws:kms:evil.com/:111122223333:key/0' }, { ...aws, keyArn: 'arn:aws:kms:eu-central-1:111122223333:alias/x' },
      { ...aws, formerKeyArns: ['arn:aws:kms:us-east-1:111122223333:key/0'] }, { ...vault, more: 1 }, { ...vault, url: 'https://a:b@x' }, { ...vault, url: 'https://x/?y' },
    ];
    for (const one of bad) expect(KeyProviderSettings.safeParse(one).success).toBe(false);
  });

  it('print no credentials once they are parsed', () => {
    expect(JSON.stringify(KeyProviderSettings.parse({ ...vault, credentials: { token: 'hvs.secret' } }))).not.toContain('hvs.secret');
    expect(JSON.stringify(KeyProviderSettings.parse(aws).kind === 'aws_kms' && KeyProviderSettings.parse(aws))).toContain('[secret]');
  });
});

describe('requests to a provider of a tenant', () => {
  it('go to public addresses only', async () => {
    const inside = ['0.0.0.0', '10.1.2.3', '100.64.0.1', '127.0.0.1', '169.254.169.254', '172.31.0.1', '192.168.1.1', '198.18.0.1', '224.0.0.1', '255.255.255.255', '::', '::1', 'fe80::1', 'fd00::1', '::ffff:127.0.0.1', '64:ff9b::7f00:1', '2002:7f00:1::', '2001:db8::1', 'x', ''];
    expect(inside.filter(isPublicAddress)).toEqual([]);
    expect(['1.1.1.1', '172.32.0.1', '2606:4700::1111'].every(isPublicAddress)).toBe(true);
    for (const host of ['127.0.0.1', '0x7f.1', '2130706433', '[::1]', '[::ffff:127.0.0.1]', '169.254.169.254', 'localhost']) {
      const settings = TenantKeyProviderSettings.parse({ kind: 'vault_transit', url: `https://${host}:9`, key: 'k', credentials: { token: 't' } });
      const error = await (await openTenantProvider(settings, { clock: impatient })).describe().catch((e: { cause?: Error }) => e);
      expect(String((error as { cause?: Error }).cause)).toContain('public address');
    }
  });
});
