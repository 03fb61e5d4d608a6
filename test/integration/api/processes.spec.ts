import { spawn, type ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, existsSync } from 'node:fs';
import { join } from 'node:path';
import { createReceiptKeyFile, createRootKeyFile } from '@alcove/vault';
import { freePort } from '../../../apps/cli/src/embedded-postgres';
import { tlsFiles } from '../../../apps/cli/src/setup/certificates';
import { until } from './conditions';
import { ownDatabase, ownKeysDatabase } from './own-database';
import { makeIdentities, removeIdentities } from './rig';

/** The API and the worker as the supervisor runs them: compiled, in processes of their own. */
const compiled = (app: 'api' | 'worker'): string => join(__dirname, '../../../dist/apps', app, 'src/main.js');

interface Started {
  readonly child: ChildProcess;
  readonly output: () => string;
  readonly ended: Promise<number | null>;
}

const running: ChildProcess[] = [];
let identities: Awaited<ReturnType<typeof makeIdentities>>;
let settings: Record<string, string>;

beforeAll(async () => {
  if (!existsSync(compiled('api'))) throw new Error('the apps are not compiled: npx tsc -p tsconfig.build.json, or any ./alcove command');
  identities = await makeIdentities([]);
  const rootKeyFile = join(identities.folder, 'root.key');
  await createRootKeyFile(rootKeyFile);
  const receiptKeyFile = join(identities.folder, 'receipt.pem');
  await createReceiptKeyFile(receiptKeyFile);
  const tls = tlsFiles(identities.folder, 'control-plane');
  settings = {
    PATH: '/usr/bin:/bin',
    ALCOVE_DATABASE_URL: await ownDatabase(),
    ALCOVE_KEYS_DATABASE_URL: await ownKeysDatabase(),
    ALCOVE_QUEUE: 'postgres',
    ALCOVE_ROOT_KEY_FILE: rootKeyFile,
    ALCOVE_RECEIPT_KEY_FILE: receiptKeyFile,
    ALCOVE_TLS_CA: tls.ca,
    ALCOVE_TLS_CERT: tls.cert,
    ALCOVE_TLS_KEY: tls.key,
  };
});
afterAll(() => {
  for (const child of running) child.kill('SIGKILL');
  removeIdentities(identities);
});

async function apiSettings(): Promise<Record<string, string>> {
  const digest = createHash('sha256').update('operator').digest('hex');
  return { ...settings, ALCOVE_API_LISTEN: `127.0.0.1:${await freePort()}`, ALCOVE_INTERNAL_LISTEN: '127.0.0.1:0', ALCOVE_PLATFORM_KEY_SHA256: digest };
}

function start(app: 'api' | 'worker', env: Record<string, string>): Started {
  const child = spawn(process.execPath, ['--no-warnings', compiled(app)], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  running.push(child);
  let text = '';
  child.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (text += chunk.toString()));
  return { child, output: () => text, ended: new Promise((resolve) => child.once('close', resolve)) };
}

describe('the API as a process', () => {
  it('starts, answers, says its settings without secrets, and ends in order', async () => {
    const env = await apiSettings();
    const url = `http://${env['ALCOVE_API_LISTEN']}`;
    const api = start('api', env);
    await until('it is ready', async () => fetch(`${url}/readyz`).then((answer) => answer.status === 200, () => false));
    const tenants = await fetch(`${url}/v1/tenants`, { headers: { authorization: 'Bearer operator' } });
    expect([tenants.status, await tenants.json()]).toEqual([200, expect.objectContaining({ tenants: expect.any(Array) })]);
    api.child.kill('SIGTERM');
    expect(await api.ended).toBe(0);
    expect(api.output()).toContain('development root key');
    expect(api.output()).not.toContain(new URL(env['ALCOVE_DATABASE_URL'] ?? '').password);
  });

  it('refuses wrong settings with one line and exit code 78', async () => {
    const { ALCOVE_TLS_CERT: _, ...missing } = await apiSettings();
    const api = start('api', { ...missing, ALCOVE_DOCS: 'maybe' });
    expect(await api.ended).toBe(78);
    expect(api.output().trim().split('\n')).toEqual([expect.stringMatching(/^api: .*ALCOVE_TLS_CERT is missing.*ALCOVE_DOCS: /)]);
  });

  it('refuses a root key that others may read with exit code 78', async () => {
    const open = join(identities.folder, 'open.key');
    await createRootKeyFile(open);
    chmodSync(open, 0o644);
    const api = start('api', { ...(await apiSettings()), ALCOVE_ROOT_KEY_FILE: open });
    expect(await api.ended).toBe(78);
    expect(api.output()).toContain('chmod 600');
  });

  it('ends with exit code 75 when the database is not there', async () => {
    const api = start('api', { ...(await apiSettings()), ALCOVE_DATABASE_URL: `postgres://a:b@127.0.0.1:${await freePort()}/x` });
    expect(await api.ended).toBe(75);
  });
});

describe('the worker as a process', () => {
  it('starts, and ends in order', async () => {
    const worker = start('worker', settings);
    await until('it works', () => worker.output().includes('working'));
    worker.child.kill('SIGTERM');
    expect(await worker.ended).toBe(0);
  });

  it('refuses a setting that is not its own with exit code 78', async () => {
    const worker = start('worker', { ...settings, ALCOVE_API_LISTEN: '127.0.0.1:1' });
    expect(await worker.ended).toBe(78);
    expect(worker.output()).toBe('worker: ALCOVE_API_LISTEN: no such setting\n');
  });

  it('ends with exit code 75 when the database is not there', async () => {
    const worker = start('worker', { ...settings, ALCOVE_DATABASE_URL: `postgres://a:b@127.0.0.1:${await freePort()}/x` });
    expect(await worker.ended).toBe(75);
  });
});
