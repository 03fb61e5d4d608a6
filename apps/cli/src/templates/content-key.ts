import { createHash } from 'node:crypto';
import { lstat, readdir, readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';

/** A short key of everything below the folders (names, modes, contents, links), except what `skip` says. The same content has the same key on every machine. */
export async function keyOfFolders(folders: string[], extra: string[], skip: (path: string) => boolean = () => false): Promise<string> {
  const hash = createHash('sha256');
  for (const text of extra) hash.update(`${text.length}:${text}`);
  for (const folder of folders) {
    const names = (await readdir(folder, { recursive: true })).sort();
    for (const name of names) {
      if (skip(name)) continue;
      const path = join(folder, name);
      const about = await lstat(path);
      if (about.isDirectory()) continue;
      const content = about.isSymbolicLink() ? Buffer.from(await readlink(path)) : await readFile(path);
      hash.update(`${name}\0${(about.mode & 0o111) !== 0 ? 'x' : '-'}\0${content.length}\0`).update(content);
    }
  }
  return hash.digest('hex').slice(0, 24);
}
