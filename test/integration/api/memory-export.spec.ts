/** A user's memory, taken out through the API: in the clear, and sealed to a certificate that only its owner's key opens. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { MemoryAccessPage } from '@alcove/contracts';
import { makeIdentities, removeIdentities, type Rig, startRig } from './rig';

let identities: Awaited<ReturnType<typeof makeIdentities>>;
let rig: Rig;
let folder: string;
beforeAll(async () => {
  identities = await makeIdentities(['edge']);
  rig = await startRig(identities);
  folder = await mkdtemp(join(tmpdir(), 'alcove-export-'));
});
afterAll(async () => {
  await rig?.close();
  removeIdentities(identities);
  await rm(folder, { recursive: true });
});

async function certificate(name: string, ...key: string[]): Promise<string> {
  execFileSync('openssl', ['req', '-x509', '-nodes', '-keyout', `${name}.key`, '-out', `${name}.crt`, '-subj', '/CN=Ada', '-days', '20', ...key], { cwd: folder, stdio: 'pipe' });
  return readFile(join(folder, `${name}.crt`), 'utf8');
}
async function withMemory(): Promise<{ key: string }> {
  const { key } = await rig.tenant();
  const source = { kind: 'message', trust: 'user' };
  const said = async (path: string, json: object) => expect((await rig.call('POST', `/v1/users/ada/memory${path}`, { key: key.key, json })).status).toBe(201);
  await said('', { kind: 'fact', content: 'Ada grows dahlias.', tags: ['garden'], source });
  await said('/events', { session: 's', role: 'user', content: 'Hello', source });
  return { key: key.key };
}

it('is the same lines, sealed to whoever owns the certificate', async () => {
  const { key } = await withMemory();
  const plain = await (await rig.call('GET', '/v1/users/ada/memory/export', { key })).text();
  expect(plain.trimEnd().split('\n').map((line) => Object.keys(JSON.parse(line) as object))).toEqual([['memory'], ['event'], ['end']]);
  const answer = await rig.call('POST', '/v1/users/ada/memory/export', { key, json: { certificate: await certificate('ada', '-newkey', 'rsa:2048') } });
  expect([answer.status, answer.headers.get('content-type')]).toEqual([200, 'application/pkcs7-mime; smime-type=authEnveloped-data']);
  const sealed = Buffer.from(await answer.arrayBuffer());
  expect(sealed.includes('dahlias')).toBe(false);
  await writeFile(join(folder, 'export.cms'), sealed);
  const opened = spawnSync('openssl', ['cms', '-decrypt', '-inform', 'DER', '-in', 'export.cms', '-inkey', 'ada.key', '-recip', 'ada.crt'], { cwd: folder });
  expect([opened.status, opened.stdout.toString()]).toEqual([0, plain]);
  const log = (await (await rig.call('GET', '/v1/users/ada/memory/accesses', { key })).json()) as MemoryAccessPage;
  expect(log.accesses.filter(({ action }) => action === 'export')).toHaveLength(2);
});

it('is refused for a certificate that is none or cannot be sealed to, before anything is read', async () => {
  const { key } = await withMemory();
  for (const pem of ['x', await certificate('ec', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256')]) {
    const answer = await rig.call('POST', '/v1/users/ada/memory/export', { key, json: { certificate: pem } });
    expect(await answer.json()).toMatchObject({ status: 400, code: 'request.invalid' });
  }
  const log = (await (await rig.call('GET', '/v1/users/ada/memory/accesses', { key })).json()) as MemoryAccessPage;
  expect(log.accesses.filter(({ action }) => action === 'export')).toEqual([]);
});
