import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

/** Where the edge of a home is, and who vouches for it. */
export async function addressesOf(home: string): Promise<{ domain: string; caFile: string }> {
  const settings = JSON.parse(await readFile(join(home, 'settings.json'), 'utf8')) as { ports: { edge: number } };
  return { domain: `alcove.test:${settings.ports.edge}`, caFile: join(home, 'tls', 'ca.crt') };
}
