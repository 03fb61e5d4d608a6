import { chmod, mkdtemp, readdir, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Secret } from '@alcove/base';
import { FileKeyProvider } from './file-provider';
import { createRootKeyFile } from './key-ring';

describe('the root key file', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'alcove-vault-'));
  });
  afterEach(() => rm(folder, { recursive: true }));
  const refused = { code: 'vault.key_unavailable' };

  it('is made with mode 0600, is never overwritten, and leaves nothing beside it', async () => {
    const path = join(folder, 'root.key');
    await createRootKeyFile(path);
    const made = await stat(path);
    expect([made.mode & 0o777, made.size]).toEqual([0o600, 32]);
    const { keyId } = await FileKeyProvider.open(path);
    await expect(createRootKeyFile(path)).rejects.toMatchObject(refused);
    expect((await FileKeyProvider.open(path)).keyId).toBe(keyId);
    expect(await readdir(folder)).toEqual(['root.key']);
  });

  it('wraps and unwraps by context', async () => {
    const path = join(folder, 'root.key');
    await createRootKeyFile(path);
    const provider = await FileKeyProvider.open(path);
    const key = new Secret(Buffer.alloc(32, 1));
    const wrapped = await provider.wrap(key, ['tenant', 't1']);
    expect((await provider.unwrap(wrapped, ['tenant', 't1'])).expose()).toEqual(key.expose());
    await expect(provider.unwrap(wrapped, ['tenant', 't2'])).rejects.toMatchObject({ code: 'vault.corrupt' });
  });

  it('is refused when others may read it, when it is short, a link, a folder or missing', async () => {
    const path = join(folder, 'root.key');
    await createRootKeyFile(path);
    for (const mode of [0o640, 0o604, 0o620, 0o666]) {
      await chmod(path, mode);
      await expect(FileKeyProvider.open(path)).rejects.toMatchObject(refused);
    }
    await chmod(path, 0o400);
    await FileKeyProvider.open(path);
    await symlink(path, join(folder, 'link'));
    await writeFile(join(folder, 'short'), Buffer.alloc(31), { mode: 0o600 });
    await writeFile(join(folder, 'long'), Buffer.alloc(33), { mode: 0o600 });
    for (const bad of ['link', 'short', 'long', 'missing', '.']) await expect(FileKeyProvider.open(join(folder, bad))).rejects.toMatchObject(refused);
  });

  it('does not show in what a provider prints', async () => {
    const path = join(folder, 'root.key');
    await writeFile(path, 'k'.repeat(32), { mode: 0o600 });
    const provider = await FileKeyProvider.open(path);
    expect(JSON.stringify(provider)).not.toContain('kkkk');
  });
});
