/** jest's globalSetup for the suites that drive E2B's SDK: two whole platforms, one with real VMs and one with the fake driver, both behind an edge of their own. */
import '../../resolve-aliases';
import type { Platform } from '../../e2e/platform';
import { startWorld } from './worlds';

export default async function start(): Promise<void> {
  const platforms: Platform[] = [];
  (globalThis as { alcoveWorlds?: Platform[] }).alcoveWorlds = platforms;
  for (const name of ['fake', 'qemu'] as const) {
    const platform = await startWorld(name);
    if (platform) platforms.push(platform);
  }
}
