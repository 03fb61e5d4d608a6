/** jest's globalTeardown: ends what start-postgres.ts started and removes its data. */
import { rm } from 'node:fs/promises';
import type { TestPostgres } from './start-postgres';

export default async function stop(): Promise<void> {
  const running = (globalThis as { alcoveTestPostgres?: TestPostgres }).alcoveTestPostgres;
  if (!running) return;
  await running.postgres.stop();
  await rm(running.folder, { recursive: true, force: true });
}
