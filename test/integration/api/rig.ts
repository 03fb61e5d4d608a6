import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Secret, silentLog } from '@alcove/base';
import type { NewApiKey, Tenant, TlsIdentity } from '@alcove/contracts';
import { createReceiptKeyFile, createRootKeyFile } from '@alcove/vault';
import { createApi, type Api } from '../../../apps/api/src/app';
import type { ApiConfig } from '../../../apps/api/src/config';
import { ensureCertificates, tlsFiles } from '../../../apps/cli/src/setup/certificates';
import { ownDatabase, ownKeysDatabase } from './own-database';

/** The API as it runs, on ports of the kernel's choice, with keys to call it. */
export interface Rig {
  readonly api: Api;
  readonly url: string;
  readonly internalUrl: string;
  readonly platformKey: string;
  readonly config: ApiConfig;
  /** A new tenant with a key that may do everything a tenant's key may. */
  tenant(options?: { roomsPerUser?: number }): Promise<{ tenant: Tenant; key: NewApiKey }>;
  call(method: string, path: string, options?: CallOptions): Promise<Response>;
  close(): Promise<void>;
}

export interface CallOptions {
  readonly key?: string | null;
  readonly json?: unknown;
  readonly body?: string | Uint8Array | ReadableStream;
  readonly headers?: Record<string, string>;
  readonly signal?: AbortSignal;
}

function tlsOf(folder: string, name: string): TlsIdentity {
  const files = tlsFiles(folder, name);
  return { ca: readFileSync(files.ca, 'utf8'), cert: readFileSync(files.cert, 'utf8'), key: new Secret(readFileSync(files.key, 'utf8')) };
}

/** Certificates of one authority for the control plane and these hosts. */
export async function makeIdentities(hostIds: readonly string[]): Promise<{ folder: string; of(name: string): TlsIdentity }> {
  const folder = mkdtempSync(join(tmpdir(), 'alcove-api-test-'));
  await ensureCertificates(folder, ['control-plane', ...hostIds]);
  return { folder, of: (name) => tlsOf(folder, name) };
}

export interface RigOptions {
  readonly config?: Partial<ApiConfig>;
}

/** Starts an API on a database of its own. `identities` also holds the certificates of the hosts that the test runs. */
export async function startRig(identities: { folder: string; of(name: string): TlsIdentity }, options: RigOptions = {}): Promise<Rig> {
  const databaseUrl = await ownDatabase();
  const platformKey = `ak_platform_${randomBytes(32).toString('hex')}`;
  const rootKeyFile = join(identities.folder, `root-${randomBytes(4).toString('hex')}.key`);
  await createRootKeyFile(rootKeyFile);
  const receiptKeyFile = `${rootKeyFile}.receipts`;
  await createReceiptKeyFile(receiptKeyFile);
  const config: ApiConfig = {
    listen: { host: '127.0.0.1', port: 0 },
    internalListen: { host: '127.0.0.1', port: 0 },
    databaseUrl: new Secret(databaseUrl),
    queue: 'postgres',
    tls: identities.of('control-plane'),
    qdrant: null,
    keys: { databaseUrl: new Secret(await ownKeysDatabase()), cacheMs: 60_000, rootKeyFile, receiptKeyFile, backupsKeptMs: 7 * 24 * 3600_000 },
    platformKeySha256: createHash('sha256').update(platformKey).digest('hex'),
    docs: 'keys',
    trustProxy: false,
    logLevel: 'silent',
    ...options.config,
  };
  const api = await createApi(config, { log: silentLog });
  const addresses = await api.listen();
  const url = `http://127.0.0.1:${addresses.api.port}`;
  const call: Rig['call'] = (method, path, { key = null, json, body, headers = {}, signal } = {}) =>
    fetch(`${url}${path}`, {
      method,
      headers: { ...(key ? { authorization: `Bearer ${key}` } : {}), ...(json === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
      ...(json === undefined ? {} : { body: JSON.stringify(json) }),
      ...(body === undefined ? {} : { body, duplex: 'half' }),
      ...(signal ? { signal } : {}),
    } as RequestInit);
  const tenant: Rig['tenant'] = async (input = {}) => {
    const made = (await (await call('POST', '/v1/tenants', { key: platformKey, json: { name: `tenant-${randomBytes(6).toString('hex')}`, ...input } })).json()) as Tenant;
    const key = (await (await call('POST', `/v1/tenants/${made.id}/keys`, { key: platformKey, json: { name: 'test', ratePerSecond: 10_000, concurrent: 10_000 } })).json()) as NewApiKey;
    return { tenant: made, key };
  };
  return { api, url, internalUrl: `https://127.0.0.1:${addresses.internal.port}`, platformKey, config, tenant, call, close: () => api.close() };
}

export function removeIdentities(identities: { folder: string }): void {
  rmSync(identities.folder, { recursive: true, force: true });
}
