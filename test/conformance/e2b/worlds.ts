import { environment } from '../../test.config';
import { startPlatform, type Platform, type PlatformOptions } from '../../e2e/platform';
import { addressesOf } from './addresses';

/** A running platform as the suites reach it: what one process can tell another. */
export interface World {
  /** The data folder that `./alcove` was started in. */
  home: string;
  /** Of /v1, on loopback. */
  url: string;
  /** The operator's key: it makes tenants. */
  platformKey: string;
  /** What E2B_DOMAIN must be: a name and the edge's port. */
  domain: string;
  /** The authority that signed the edge's certificate. */
  caFile: string;
}

export type WorldName = 'qemu' | 'fake';

const published: Record<WorldName, string> = { qemu: 'ALCOVE_TEST_E2B_QEMU', fake: 'ALCOVE_TEST_E2B_FAKE' };
const options: Record<WorldName, PlatformOptions> = { qemu: {}, fake: { env: { ALCOVE_DRIVER: 'fake' } } };

/** Starts one platform and makes it known to every suite of this run; null where one is known already, because whoever started this run has it up. */
export async function startWorld(name: WorldName): Promise<Platform | null> {
  if (environment.published(published[name]) !== undefined) return null;
  const platform = await startPlatform(options[name]);
  const { url, home, operatorKey: platformKey } = platform;
  const world: World = { home, url, platformKey, ...(await addressesOf(home)) };
  environment.publish(published[name], JSON.stringify(world));
  return platform;
}

/** The platform that this run of jest has started with that driver. */
export function worldOf(name: WorldName): World {
  return JSON.parse(environment.published(published[name]) ?? '{}') as World;
}
