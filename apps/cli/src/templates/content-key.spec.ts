import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { keyOfFolders } from './content-key';

it('changes with every name, mode and content, and with nothing else', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'alcove-key-'));
  const key = () => keyOfFolders([folder], ['v1'], (path) => path.endsWith('.md'));
  await mkdir(join(folder, 'a'));
  await writeFile(join(folder, 'a', 'b.sh'), 'one');
  const first = await key();
  await writeFile(join(folder, 'a', 'README.md'), 'words');
  expect(await key()).toBe(first);
  await writeFile(join(folder, 'a', 'b.sh'), 'two');
  const second = await key();
  await chmod(join(folder, 'a', 'b.sh'), 0o755);
  const third = await key();
  await writeFile(join(folder, 'c'), '');
  expect(new Set([first, second, third, await key()]).size).toBe(4);
  expect(await keyOfFolders([folder], ['v2'], (path) => path.endsWith('.md'))).not.toBe(await key());
  await rm(folder, { recursive: true });
});
