import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { homePaths, prepareHome } from '../home';
import { ensureRootKey } from './root-key';

describe('the root key of a home', () => {
  let home: string;
  beforeEach(async () => {
    home = await mkdtemp(join(tmpdir(), 'alcove-home-'));
  });
  afterEach(() => rm(home, { recursive: true }));

  it('is made once, for its owner only', async () => {
    const paths = homePaths(home);
    await prepareHome(paths);
    expect(await ensureRootKey(paths)).toBe(true);
    const key = await readFile(paths.rootKey);
    expect((await stat(paths.rootKey)).mode & 0o077).toBe(0);
    expect(await ensureRootKey(paths)).toBe(false);
    expect(await readFile(paths.rootKey)).toEqual(key);
  });

  it('is made by the setup after one that was interrupted before there was a database', async () => {
    const paths = homePaths(home);
    await prepareHome(paths);
    expect((await prepareHome(paths)).made).toBe(false);
    expect(await ensureRootKey(paths)).toBe(true);
  });

  it.each([true, false])('is never replaced in a home that has a database (settings there: %s)', async (settings) => {
    const paths = homePaths(home);
    await prepareHome(paths);
    await ensureRootKey(paths);
    await mkdir(paths.postgres, { recursive: true });
    await writeFile(join(paths.postgres, 'PG_VERSION'), '17\n');
    await rm(paths.rootKey);
    if (!settings) await rm(paths.settings);
    const refused = ensureRootKey(paths);
    await expect(refused).rejects.toMatchObject({ exitCode: 78, options: { mend: expect.stringContaining('put the key back') } });
    await expect(stat(paths.rootKey)).rejects.toMatchObject({ code: 'ENOENT' });
  });
});
