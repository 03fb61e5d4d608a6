import type { Clock } from '@alcove/base';
import { AwsKmsProvider } from './aws-kms-provider';
import { FileKeyProvider } from './file-provider';
import type { HttpFetch } from './http';
import type { KeyProvider } from './key-provider';
import { Pkcs11Provider } from './pkcs11-provider';
import type { KeyProviderSettings, TenantKeyProviderSettings } from './provider-settings';
import { publicFetch } from './public-fetch';
import { VaultTransitProvider } from './vault-transit-provider';

export interface ProviderOptions {
  clock: Clock;
  /** What makes HTTP requests; Node's own by default. A tenant's provider gets one that refuses addresses that are not public. */
  fetch?: HttpFetch;
}

/**
 * Opens a key provider. Asks it nothing that it need not: `describe()` tells whether the key can be used. Problem `vault.key_unavailable` when a file, a library or a token
 * that is needed cannot be had.
 */
export async function openProvider(settings: KeyProviderSettings, options: ProviderOptions): Promise<KeyProvider> {
  const client = { clock: options.clock, fetch: options.fetch ?? (fetch as HttpFetch) };
  switch (settings.kind) {
    case 'file':
      return FileKeyProvider.open(settings.path);
    case 'aws_kms':
      return new AwsKmsProvider(settings, client);
    case 'vault_transit':
      return new VaultTransitProvider(settings, client);
    case 'pkcs11':
      return new Pkcs11Provider(settings, options.clock);
  }
}

/** Opens a tenant's own provider: as openProvider, but requests go over HTTPS to public addresses only, unless a `fetch` is given (for tests). */
export async function openTenantProvider(settings: TenantKeyProviderSettings, options: ProviderOptions): Promise<KeyProvider> {
  return openProvider(settings, { ...options, fetch: options.fetch ?? publicFetch });
}
