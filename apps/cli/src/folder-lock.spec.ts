import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { withFolderLock } from './folder-lock';

it('lets one in at a time and frees the lock after a failure', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'alcove-lock-'));
  let inside = 0;
  let most = 0;
  const visit = () =>
    withFolderLock(folder, () => undefined, async () => {
      most = Math.max(most, ++inside);
      await new Promise((resolve) => setImmediate(resolve));
      inside--;
    });
  await Promise.all([visit(), visit(), visit()]);
  expect(most).toBe(1);
  await expect(withFolderLock(folder, () => undefined, () => Promise.reject(new Error('no')))).rejects.toThrow('no');
  await visit();
  await rm(folder, { recursive: true });
});

it('says so when there is nothing to lock', async () => {
  await expect(withFolderLock('/nonexistent/folder', () => undefined, () => Promise.resolve())).rejects.toThrow('cannot be locked');
});
