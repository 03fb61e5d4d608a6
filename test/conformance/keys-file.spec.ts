import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { addRootKeyVersion, createRootKeyFile, FileKeyProvider, shutRootKeyVersions } from '@alcove/vault';
import { describeKeyProvider, type KeyProviderBench } from '../../libs/testing/src/key-provider-contract';

async function bench(): Promise<KeyProviderBench> {
  const folder = await mkdtemp(join(tmpdir(), 'alcove-keys-'));
  const path = join(folder, 'root.key');
  const other = join(folder, 'other.key');
  await createRootKeyFile(path);
  await createRootKeyFile(other);
  let newest = 1;
  const opened = (): Promise<FileKeyProvider> => FileKeyProvider.open(path);
  return {
    provider: await opened(),
    another: await FileKeyProvider.open(other),
    rotate: async () => {
      newest = await addRootKeyVersion(path);
      return opened();
    },
    shutOld: async () => {
      await shutRootKeyVersions(path, newest);
      return opened();
    },
    revoke: async () => {
      await chmod(path, 0o644);
      return opened();
    },
    askNobody: () => FileKeyProvider.open(join(folder, 'missing')),
    close: () => rm(folder, { recursive: true }),
  };
}

describeKeyProvider('file', bench);
