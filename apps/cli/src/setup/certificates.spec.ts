import { X509Certificate } from 'node:crypto';
import { mkdtemp, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ensureCertificates, tlsFiles } from './certificates';

describe('development certificates', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'alcove-tls-'));
  });
  afterEach(() => rm(folder, { recursive: true }));

  it('are made once, name who they are for, and keep their keys private', async () => {
    expect(await ensureCertificates(folder, ['control-plane', 'host_1'])).toEqual(['ca', 'control-plane', 'host_1']);
    expect(await ensureCertificates(folder, ['control-plane', 'host_1'])).toEqual([]);
    const files = tlsFiles(folder, 'host_1');
    const certificate = new X509Certificate(await readFile(files.cert));
    expect(certificate.subject).toBe('CN=host_1');
    expect(certificate.subjectAltName).toContain('IP Address:127.0.0.1');
    expect(certificate.verify(new X509Certificate(await readFile(files.ca)).publicKey)).toBe(true);
    for (const key of ['ca.key', 'host_1.key']) expect((await stat(join(folder, key))).mode & 0o077).toBe(0);
    expect((await readdir(folder)).filter((name) => name.startsWith('.new-'))).toEqual([]);
  });

  it('have one for clients, made again when the domain is another', async () => {
    expect(await ensureCertificates(folder, ['edge'], 'alcove.test')).toEqual(['ca', 'edge', 'public']);
    expect(await ensureCertificates(folder, ['edge'], 'alcove.test')).toEqual([]);
    const read = async () => new X509Certificate(await readFile(tlsFiles(folder, 'public').cert));
    for (const host of ['alcove.test', 'api.alcove.test', '49983-i0123.alcove.test']) expect((await read()).checkHost(host)).toBeDefined();
    expect((await read()).checkHost('a.b.alcove.test')).toBeUndefined();
    expect((await read()).keyUsage).toEqual(['1.3.6.1.5.5.7.3.1']);
    expect(await ensureCertificates(folder, ['edge'], 'rooms.example.com')).toEqual(['public']);
    expect((await read()).checkHost('api.rooms.example.com')).toBeDefined();
    expect((await read()).checkHost('api.alcove.test')).toBeUndefined();
  });

  it('are made again when damaged, and all of them when the authority is', async () => {
    await ensureCertificates(folder, ['control-plane']);
    await writeFile(join(folder, 'control-plane.crt'), 'nonsense');
    expect(await ensureCertificates(folder, ['control-plane'])).toEqual(['control-plane']);
    await writeFile(join(folder, 'ca.crt'), 'nonsense');
    expect(await ensureCertificates(folder, ['control-plane'])).toEqual(['ca', 'control-plane']);
  });
});
