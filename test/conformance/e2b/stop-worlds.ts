/** jest's globalTeardown: ends what start-worlds.ts started, and removes their homes. */
import type { Platform } from '../../e2e/platform';

export default async function stop(): Promise<void> {
  await Promise.all(((globalThis as { alcoveWorlds?: Platform[] }).alcoveWorlds ?? []).map((platform) => platform.destroy()));
}
