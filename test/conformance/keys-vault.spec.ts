import { randomBytes } from 'node:crypto';
import { systemClock } from '@alcove/base';
import { KeyProviderSettings, openProvider, type KeyProvider } from '@alcove/vault';
import { describeKeyProvider, type KeyProviderBench } from '../../libs/testing/src/key-provider-contract';
import { VaultEmulator } from '../../libs/testing/src/vault-emulator';
import { environment } from '../test.config';

/** What an administrator does, over the same API: at the emulator, or at the server that VAULT_ADDR and VAULT_TOKEN name. */
class Administrator {
  constructor(
    readonly url: string,
    private readonly token: string,
  ) {}
  async call(path: string, body: unknown): Promise<unknown> {
    const answer = await fetch(`${this.url}/v1/${path}`, { method: 'POST', headers: { 'x-vault-token': this.token, 'x-vault-request': 'true' }, body: JSON.stringify(body) });
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
    return answer.status === 204 ? {} : answer.json();
  }
  async newToken(): Promise<string> {
    const policy = ['encrypt', 'decrypt'].map((what) => `path "transit/${what}/*" { capabilities = ["update"] }`).join('\n');
    await this.call('sys/policies/acl/alcove-test', { policy: `${policy}\npath "transit/keys/*" { capabilities = ["read"] }` });
    return ((await this.call('auth/token/create', { policies: ['alcove-test'], ttl: '1h' })) as { auth: { client_token: string } }).auth.client_token;
  }
}

const open = (url: string, key: string, token: string): Promise<KeyProvider> =>
  openProvider(KeyProviderSettings.parse({ kind: 'vault_transit', url, key, credentials: { token } }), { clock: systemClock });

async function bench(): Promise<KeyProviderBench> {
  const emulator = environment.vault ? null : await VaultEmulator.start();
  const admin = new Administrator(environment.vault?.url ?? emulator?.http.url ?? '', environment.vault?.token ?? VaultEmulator.rootToken);
  const name = `alcove-${randomBytes(6).toString('hex')}`;
  for (const key of [name, `${name}-b`]) await admin.call(`transit/keys/${key}`, { type: 'aes256-gcm96' });
  const token = await admin.newToken();
  const provider = await open(admin.url, name, token);
  return {
    provider,
    another: await open(admin.url, `${name}-b`, token),
    rotate: async () => {
      await admin.call(`transit/keys/${name}/rotate`, {});
      return provider;
    },
    shutOld: async () => {
      await admin.call(`transit/keys/${name}/config`, { min_decryption_version: 2 });
      return provider;
    },
    revoke: async () => {
      await admin.call('auth/token/revoke', { token }).catch(() => undefined);
      return provider;
    },
    askNobody: async () => (await open('http://127.0.0.1:1', name, token)).describe(),
    close: async () => emulator?.http.close(),
  };
}

describeKeyProvider('vault_transit', bench);
