import { systemClock } from '@alcove/base';
import type { Tenant, TenantPage } from '@alcove/contracts';
import { ApiClient, ApiProblem } from '../api-client';
import type { Context } from '../context';
import { CliFailure, messageOf } from '../failure';
import { readSettingsFile } from '../home';
import { readLiveStatus, startTicksOf, type PlatformStatus } from '../supervisor/status-file';

/** More than the supervisor gives all its processes together. */
const stopTimeoutMs = 90_000;
const atOnce = 4;

/** Puts running rooms to sleep (unless `now`), then ends the supervisor and with it every process of the platform. Data stays. Does nothing when it is down. */
export async function takeDown(context: Context, now: boolean): Promise<void> {
  const status = await readLiveStatus(context.paths.status);
  if (!status) {
    context.progress.same('platform', 'it is down already');
    return;
  }
  if (!now && status.phase === 'ready') await sleepAll(context, status);
  await context.progress.step('stop the platform', () => stopPlatform(context, status));
}

/** Ends the supervisor and waits until it is gone. A start within the host's lease adopts the rooms that run; after that the warden ends them. */
export async function stopPlatform(context: Context, status: PlatformStatus): Promise<void> {
  signal(status.pid, 'SIGTERM');
  const deadline = systemClock.monotonic() + stopTimeoutMs;
  while ((await startTicksOf(status.pid)) === status.startTicks) {
    if (systemClock.monotonic() > deadline) {
      signal(status.pid, 'SIGKILL');
      throw new CliFailure(`the supervisor (process ${status.pid}) did not end by itself and was killed`, { mend: './alcove logs supervisor' });
    }
    await systemClock.sleep(50);
    if (!(await readLiveStatus(context.paths.status))) return;
  }
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // It has just ended by itself.
  }
}

/** Hibernates every running room of every tenant through the public API, with a short-lived key per tenant. A room that refuses is said, not fatal. */
async function sleepAll(context: Context, status: PlatformStatus): Promise<void> {
  const settings = await readSettingsFile(context.paths);
  if (!settings) return;
  const platform = new ApiClient(status.url, settings.platformKey);
  await context.progress.step(
    'put running rooms to sleep',
    async (say) => {
      let asleep = 0;
      for (const tenant of await tenants(platform)) {
        asleep += await sleepRoomsOf(context, platform, tenant, (room) => say(room));
      }
      return asleep;
    },
    (count) => (count === 1 ? '1 room' : `${count} rooms`),
  );
}

async function tenants(platform: ApiClient): Promise<Tenant[]> {
  const found: Tenant[] = [];
  let cursor: string | null = null;
  do {
    const page: TenantPage = await platform.json('GET', `/v1/tenants?limit=200${cursor === null ? '' : `&cursor=${encodeURIComponent(cursor)}`}`);
    found.push(...page.tenants);
    cursor = page.nextCursor;
  } while (cursor !== null);
  return found;
}

async function sleepRoomsOf(context: Context, platform: ApiClient, tenant: Tenant, say: (room: string) => void): Promise<number> {
  const expiresAt = new Date(systemClock.now() + 3600_000).toISOString();
  const key = await platform.json<{ id: string; key: string }>('POST', `/v1/tenants/${tenant.id}/keys`, { name: 'alcove down', scopes: ['rooms:read', 'rooms:write'], expiresAt });
  const client = new ApiClient(platform.url, key.key);
  let asleep = 0;
  try {
    const running: string[] = [];
    for await (const room of client.rooms({ state: 'running' })) running.push(room.id);
    const sleepNext = async (): Promise<void> => {
      for (let id = running.pop(); id !== undefined; id = running.pop()) {
        say(id);
        try {
          await client.hibernate(id);
          asleep++;
        } catch (error) {
          context.progress.warn(`${id} goes on running: ${error instanceof ApiProblem ? error.code : messageOf(error)}`);
        }
      }
    };
    await Promise.all(Array.from({ length: atOnce }, sleepNext));
  } finally {
    await platform.call('DELETE', `/v1/tenants/${tenant.id}/keys/${key.id}`);
  }
  return asleep;
}
