/** The only place where tests' set-up touches the environment. */
import { homedir } from 'node:os';
import { join } from 'node:path';

const asRoot = process.getuid?.() === 0;
const defaultCache = asRoot ? '/var/cache/alcove' : join(homedir(), '.cache/alcove');
const defaultHome = asRoot ? '/var/lib/alcove' : join(homedir(), '.local/share/alcove');

export const environment = {
  /** Where downloads and builds that can be made again are kept, outside the clone. */
  cacheFolder: process.env['ALCOVE_CACHE'] ?? defaultCache,
  /** The home that `./alcove setup` prepared: its templates serve the suites with real rooms. */
  homeFolder: process.env['ALCOVE_HOME'] ?? defaultHome,
  /** Real key services for test/conformance/keys-*: keys are made and left there. Absent: emulators. Vault needs a root token and transit at `transit/`. */
  vault: process.env['VAULT_ADDR'] === undefined ? null : { url: process.env['VAULT_ADDR'], token: process.env['VAULT_TOKEN'] ?? '' },
  /** A real Qdrant server for test/integration/memory/qdrant-server: collections named `alcove_test_…` are made and left there. Absent: emulators only. */
  qdrant: process.env['QDRANT_URL'] === undefined ? null : { url: process.env['QDRANT_URL'], apiKey: process.env['QDRANT_API_KEY'] ?? null },
  /** AWS KMS, in `AWS_REGION`, with a user that may make and disable keys; `AWS_ENDPOINT_URL_KMS` for another server that speaks its API. */
  aws:
    process.env['ALCOVE_TEST_AWS'] === undefined
      ? null
      : {
          region: process.env['AWS_REGION'] ?? 'eu-central-1',
          endpoint: process.env['AWS_ENDPOINT_URL_KMS'],
          accessKeyId: process.env['AWS_ACCESS_KEY_ID'] ?? '',
          secretAccessKey: process.env['AWS_SECRET_ACCESS_KEY'] ?? '',
          sessionToken: process.env['AWS_SESSION_TOKEN'],
        },
  /** A token of SoftHSM that `./alcove test` made (apps/cli/src/checks/softhsm.ts); its library reads SOFTHSM2_CONF itself. */
  pkcs11: process.env['TEST_PKCS11'] === undefined ? null : (JSON.parse(process.env['TEST_PKCS11']) as { addon: string; library: string; token: string; pinFile: string }),
  /** What publish() made visible. */
  published: (name: string): string | undefined => process.env[name],
  /** Makes a value visible to every suite of this jest run. */
  publish(name: string, value: string): void {
    process.env[name] = value;
  },
};
