import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { homePaths, prepareHome, readSettingsFile, writeSettings, type Settings } from './home';

describe('the settings of a home', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'alcove-home-'));
  });
  afterEach(() => rm(folder, { recursive: true }));

  it('are drawn once, and kept secret', async () => {
    const paths = homePaths(folder);
    const { settings, made } = await prepareHome(paths);
    expect(made).toBe(true);
    expect(await prepareHome(paths)).toEqual({ settings, made: false });
    expect((await stat(paths.settings)).mode & 0o077).toBe(0);
  });

  it('of a home from before the edge can be read', async () => {
    const paths = homePaths(folder);
    const { settings } = await prepareHome(paths);
    const old: Settings = { ...settings, ports: { postgres: 1, api: 2, internal: 3, host: 4 } };
    await writeSettings(paths, old);
    expect(await readSettingsFile(paths)).toEqual(old);
  });

  it('of a home from before keys had a cluster of their own get its passwords, once', async () => {
    const paths = homePaths(folder);
    const { keys, ...old } = (await prepareHome(paths)).settings;
    await writeSettings(paths, old);
    const { settings } = await prepareHome(paths);
    expect(settings).toEqual({ ...old, keys: expect.objectContaining({ appPassword: expect.any(String) }) });
    expect(settings.keys).not.toEqual(keys);
    expect((await prepareHome(paths)).settings).toEqual(settings);
  });

  it('that are damaged are said to be, not replaced', async () => {
    const paths = homePaths(folder);
    const { settings } = await prepareHome(paths);
    await writeSettings(paths, { ...settings, ports: { edge: 1 } as unknown as Settings['ports'] });
    await expect(readSettingsFile(paths)).rejects.toThrow('cannot be used');
  });
});
