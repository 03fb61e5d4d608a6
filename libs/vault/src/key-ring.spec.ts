import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Secret } from '@alcove/base';
import { FileKeyProvider } from './file-provider';
import { addRootKeyVersion, createRootKeyFile, shutRootKeyVersions } from './key-ring';
import { wrapKey } from './value';
import { wrapVersion } from './wrap-envelope';

const key = new Secret(Buffer.alloc(32, 5));
const context = ['tenant-key', 't1'];

describe('a root key file with versions', () => {
  let folder: string;
  let path: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'alcove-ring-'));
    path = join(folder, 'root.key');
  });
  afterEach(() => rm(folder, { recursive: true }));

  it('keeps its layout and that of its wraps: goldens of version 1', async () => {
    await writeFile(path, Buffer.alloc(32, 7), { mode: 0o600 });
    const raw = await FileKeyProvider.open(path);
    expect(raw.keyId).toBe(golden.keyId);
    expect((await raw.unwrap(Buffer.from(golden.wrapped, 'hex'), context)).expose()).toEqual(key.expose());
    await writeFile(path, Buffer.from(golden.ring, 'hex'));
    const ring = await FileKeyProvider.open(path);
    expect([ring.keyId, await ring.describe()]).toEqual([golden.keyId, { kind: 'file', keyId: golden.keyId, keyVersion: '3' }]);
    expect((await ring.unwrap(Buffer.from(golden.wrapped, 'hex'), context)).expose()).toEqual(key.expose());
  });

  it('opens what was wrapped before there was an envelope, as its first version', async () => {
    await writeFile(path, Buffer.alloc(32, 7), { mode: 0o600 });
    const bare = wrapKey(new Secret(Buffer.alloc(32, 7)), key, context);
    expect(wrapVersion(bare)).toBeUndefined();
    await addRootKeyVersion(path);
    const provider = await FileKeyProvider.open(path);
    expect((await provider.unwrap(bare, context)).expose()).toEqual(key.expose());
    const fresh = await provider.rewrap(bare, context);
    expect(wrapVersion(fresh)).toEqual({ kind: 'file', keyVersion: '2' });
    await expect(provider.unwrap(bare, ['tenant-key', 't2'])).rejects.toMatchObject({ code: 'vault.corrupt' });
    await shutRootKeyVersions(path, 2);
    await expect((await FileKeyProvider.open(path)).unwrap(bare, context)).rejects.toMatchObject({ reason: 'denied' });
  });

  it('keeps its id and mode through sixteen rotations, and leaves nothing beside it', async () => {
    await createRootKeyFile(path);
    const { keyId } = await FileKeyProvider.open(path);
    for (let version = 2; version <= 16; version++) expect(await addRootKeyVersion(path)).toBe(version);
    await expect(addRootKeyVersion(path)).rejects.toMatchObject({ reason: 'denied' });
    expect([await shutRootKeyVersions(path, 9), await shutRootKeyVersions(path, 9), await addRootKeyVersion(path)]).toEqual([8, 0, 17]);
    await expect(shutRootKeyVersions(path, 8)).rejects.toMatchObject({ reason: 'denied' });
    expect((await FileKeyProvider.open(path)).keyId).toBe(keyId);
    expect([(await stat(path)).mode & 0o777, await readdir(folder)]).toEqual([0o600, ['root.key']]);
  });

  it('has every version of its own', async () => {
    await createRootKeyFile(path);
    const wrapped = await (await FileKeyProvider.open(path)).wrap(key, context);
    await addRootKeyVersion(path);
    const renamed = Buffer.from(wrapped);
    renamed[37] = '2'.charCodeAt(0);
    expect(wrapVersion(renamed)).toEqual({ kind: 'file', keyVersion: '2' });
    await expect((await FileKeyProvider.open(path)).unwrap(renamed, context)).rejects.toMatchObject({ code: 'vault.corrupt' });
  });

  it('is refused when it is cut, has a version twice or backwards, or may be read by others', async () => {
    const ring = Buffer.from(golden.ring, 'hex');
    const twice = Buffer.concat([ring, ring.subarray(20, 56)]);
    for (const bad of [ring.subarray(0, -1), ring.subarray(0, 20), Buffer.concat([ring, Buffer.alloc(1)]), twice, Buffer.concat([Buffer.from('AR\x01\x02'), ring.subarray(4)]), Buffer.alloc(0), Buffer.alloc(5000)]) {
      await writeFile(path, bad, { mode: 0o600 });
      await expect(FileKeyProvider.open(path)).rejects.toMatchObject({ reason: 'denied' });
      await expect(addRootKeyVersion(path)).rejects.toMatchObject({ reason: 'denied' });
      expect(await readFile(path)).toEqual(bad);
    }
    await writeFile(path, ring);
    await chmod(path, 0o640);
    await expect(addRootKeyVersion(path)).rejects.toMatchObject({ reason: 'denied' });
  });

  it('is not used any more once its provider is closed', async () => {
    await createRootKeyFile(path);
    const provider = await FileKeyProvider.open(path);
    const wrapped = await provider.wrap(key, context);
    await provider.close();
    await expect(provider.unwrap(wrapped, context)).rejects.toMatchObject({ code: 'vault.key_unavailable' });
  });
});

/** Key id and commitment were also computed by a second implementation, in Python. */
const golden = {
  keyId: 'file:ed548592668b13c042569198683fb3c3',
  wrapped: '415001017c6e598560610d45dbf244d9abbf3664294d7dc15d3843ff1760b85eb7e9ae1d013141560201090909090909090909090909090909090909090909090909394f1c21489162a78fd6af40c302cc6db50b9223559721c0fbbc457386400218b5a73b810201c8ba4b4b1247243a915867d21bbc95b7e6208fc51f09fc5b10c2f76d9757face383fb3a94b9704b95cee',
  ring: '41520101ed548592668b13c042569198683fb3c3000000010707070707070707070707070707070707070707070707070707070707070707000000030909090909090909090909090909090909090909090909090909090909090909',
};
