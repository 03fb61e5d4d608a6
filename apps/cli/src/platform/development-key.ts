import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { errorCode } from '@alcove/base';
import type { NewApiKey, Tenant, TenantPage } from '@alcove/contracts';
import { z } from 'zod';
import { ApiClient, ApiProblem } from '../api-client';
import type { Context } from '../context';
import { writeWhole, type Settings } from '../home';

const DevelopmentKey = z.object({ tenantId: z.string(), key: z.string() });
export type DevelopmentKey = z.infer<typeof DevelopmentKey>;

const tenantName = 'development';

/** The key of the tenant `development`, made through the public API with the platform key when there is none that works. Kept in a 0600 file of the home. */
export async function developmentKey(context: Context, url: string, settings: Settings): Promise<DevelopmentKey> {
  const known = await read(context.paths.developmentKey);
  if (known && (await works(url, known.key))) return known;
  const platform = new ApiClient(url, settings.platformKey);
  const tenant = await ensureTenant(platform, tenantName);
  const made = await platform.json<NewApiKey>('POST', `/v1/tenants/${tenant.id}/keys`, { name: 'development' });
  const key: DevelopmentKey = { tenantId: tenant.id, key: made.key };
  await writeWhole(context.paths.developmentKey, `${JSON.stringify(key, null, 2)}\n`, 0o600);
  return key;
}

/** A tenant and a key of its own that nothing else uses: for the demo and the benchmarks. */
export async function freshTenant(url: string, settings: Pick<Settings, 'platformKey'>, purpose: string, limits: { roomsPerUser?: number; ratePerSecond?: number; concurrent?: number } = {}): Promise<ApiClient> {
  const platform = new ApiClient(url, settings.platformKey);
  const { roomsPerUser, ...ofKey } = limits;
  const tenant = await platform.json<Tenant>('POST', '/v1/tenants', { name: `${purpose}-${randomBytes(4).toString('hex')}`, ...(roomsPerUser && { roomsPerUser }) });
  const made = await platform.json<NewApiKey>('POST', `/v1/tenants/${tenant.id}/keys`, { name: purpose, ...ofKey });
  return new ApiClient(url, made.key);
}

async function ensureTenant(platform: ApiClient, name: string): Promise<Tenant> {
  try {
    return await platform.json<Tenant>('POST', '/v1/tenants', { name });
  } catch (error) {
    if (!(error instanceof ApiProblem && error.code === 'tenant.exists')) throw error;
  }
  let cursor: string | null = null;
  do {
    const page: TenantPage = await platform.json('GET', `/v1/tenants?limit=200${cursor === null ? '' : `&cursor=${encodeURIComponent(cursor)}`}`);
    const found = page.tenants.find((tenant) => tenant.name === name);
    if (found) return found;
    cursor = page.nextCursor;
  } while (cursor !== null);
  throw new Error(`the tenant ${name} exists and cannot be found`);
}

async function works(url: string, key: string): Promise<boolean> {
  try {
    await (await new ApiClient(url, key).call('GET', '/v1/rooms?limit=1')).arrayBuffer();
    return true;
  } catch (error) {
    if (error instanceof ApiProblem && error.status === 401) return false;
    throw error;
  }
}

async function read(path: string): Promise<DevelopmentKey | null> {
  try {
    return DevelopmentKey.parse(JSON.parse(await readFile(path, 'utf8')));
  } catch (error) {
    if (errorCode(error) === 'ENOENT' || error instanceof SyntaxError || error instanceof z.ZodError) return null;
    throw error;
  }
}
