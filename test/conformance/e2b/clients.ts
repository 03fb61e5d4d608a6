/** Programs of others that speak to a platform as its users would run them: in processes of their own, told by their environment only. */
import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from '../../e2e/platform';
import type { Tenancy } from './sdk';

/** What E2B's clients read, and what stands for a DNS record and a certificate of a real domain. */
export function environmentOf({ at, world }: Tenancy): Record<string, string> {
  return { E2B_DOMAIN: at.domain, E2B_API_KEY: at.apiKey, NODE_EXTRA_CA_CERTS: world.caFile, NODE_OPTIONS: `--require ${join(__dirname, '../../../apps/edge/names.cjs')}`, NO_COLOR: '1', FORCE_COLOR: '0' };
}

/** A folder of its own with this package in it, from the registry. */
export async function installed(spec: string): Promise<{ folder: string; remove: () => Promise<void> }> {
  const folder = await mkdtemp(join(tmpdir(), 'alcove-e2b-client-'));
  const { code, stderr } = await run('npm', ['install', '--prefix', folder, '--ignore-scripts', '--no-audit', '--no-fund', spec], {});
  if (code !== 0) throw new Error(`npm install ${spec} ended with ${code}:\n${stderr}`);
  return { folder, remove: () => rm(folder, { recursive: true, force: true }) };
}

export interface AppAnswer {
  version: string;
  said: string;
  note: string;
  listed: boolean;
  killed: boolean;
  running: boolean;
}

/** Runs app.mjs with the SDK that is installed in this folder, or with this checkout's. */
export async function runApp(mine: Tenancy, folder?: string): Promise<AppAnswer> {
  const app = folder === undefined ? join(__dirname, 'app.mjs') : join(folder, 'app.mjs');
  if (folder !== undefined) await cp(join(__dirname, 'app.mjs'), app);
  const { code, stdout, stderr } = await run(process.execPath, [app], environmentOf(mine));
  if (code !== 0) throw new Error(`app.mjs ended with ${code}:\n${stdout}${stderr}`);
  return JSON.parse(stdout) as AppAnswer;
}
