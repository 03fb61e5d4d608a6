/** Folders, entries and watches of a real room through the SDK. */
import type { FilesystemEvent, Sandbox, WatchHandle } from 'e2b';
import { until } from '../../e2e/platform';
import { failureOf, Tenancy } from './sdk';

jest.setTimeout(180_000);
let mine: Tenancy;
let sandbox: Sandbox;
beforeAll(async () => {
  mine = await Tenancy.open('qemu');
  sandbox = await mine.create();
});
afterAll(() => mine?.close());

const sh = async (command: string): Promise<string> => (await sandbox.commands.run(command)).stdout;

describe('entries', () => {
  it('getInfo tells all of a file, a folder and a link', async () => {
    await sh('mkdir -p info/folder && echo -n 12345 > info/file && chmod 640 info/file && ln -s file info/link && ln -s nowhere info/dangling');
    expect(await sandbox.files.getInfo('info/file')).toMatchObject({ name: 'file', path: '/home/user/info/file', type: 'file', size: 5, mode: 0o640, permissions: '-rw-r-----', owner: 'user', group: 'user', modifiedTime: expect.any(Date) as Date });
    expect(await sandbox.files.getInfo('info/folder')).toMatchObject({ name: 'folder', type: 'dir', mode: 0o755, permissions: expect.stringMatching(/^d?rwxr-xr-x$/) as string });
    expect(await sandbox.files.getInfo('info/link')).toMatchObject({ name: 'link', type: 'file', size: 5, mode: 0o640, symlinkTarget: '/home/user/info/file' });
    expect((await failureOf(sandbox.files.getInfo('info/nothing'))).name).toBe('FileNotFoundError');
    expect((await sandbox.files.getInfo('info/file')).symlinkTarget).toBeUndefined();
  });

  it('exists says yes and no', async () => {
    await sh('touch there');
    expect([await sandbox.files.exists('there'), await sandbox.files.exists('not-there'), await sandbox.files.exists('/home/user')]).toEqual([true, false, true]);
  });

  it('list walks in order, as deep as asked, under the path that was asked for', async () => {
    await sh('mkdir -p tree/b/c/d tree/a && touch tree/z tree/a/1 tree/b/c/2 tree/b/c/d/3');
    const paths = async (path: string, depth?: number): Promise<string[]> => (await sandbox.files.list(path, depth === undefined ? {} : { depth })).map((entry) => entry.path);
    expect(await paths('/home/user/tree')).toEqual(['a', 'b', 'z'].map((name) => `/home/user/tree/${name}`));
    expect(await paths('/home/user/tree', 3)).toEqual(['a', 'a/1', 'b', 'b/c', 'b/c/2', 'b/c/d', 'z'].map((name) => `/home/user/tree/${name}`));
    expect(await paths('tree', 1)).toHaveLength(3);
    await sh('ln -s tree linked');
    expect(await paths('/home/user/linked')).toEqual(['a', 'b', 'z'].map((name) => `/home/user/linked/${name}`));
  });

  it('list refuses a file, what is not there, and no depth', async () => {
    await sh('touch a-file');
    expect((await failureOf(sandbox.files.list('a-file'))).name).toBe('InvalidArgumentError');
    expect((await failureOf(sandbox.files.list('not-there'))).name).toBe('FileNotFoundError');
    expect((await failureOf(sandbox.files.list('.', { depth: 0 }))).name).toBe('InvalidArgumentError');
    expect(await sandbox.files.list((await sandbox.files.makeDir('bare'), 'bare'))).toEqual([]);
  });

  it('lists a thousand', async () => {
    await sh('mkdir thousand && cd thousand && seq -f "f%04.0f" 1 1000 | xargs touch');
    const names = (await sandbox.files.list('thousand')).map(({ name }) => name);
    expect(names).toHaveLength(1000);
    expect(names).toEqual([...names].sort());
  });

  it('makeDir makes the folders above it too, and says false of one that is there', async () => {
    expect(await sandbox.files.makeDir('made/deep/er')).toBe(true);
    expect(await sandbox.files.makeDir('made/deep/er')).toBe(false);
    expect(await sh('stat -c "%F %U" made/deep/er')).toBe('directory user\n');
    await sh('touch made/file');
    expect((await failureOf(sandbox.files.makeDir('made/file'))).name).toBe('InvalidArgumentError');
  });

  it('rename moves, makes folders on the way, and fails of what is not there', async () => {
    await sandbox.files.write('old.txt', 'moved');
    expect(await sandbox.files.rename('old.txt', 'new/place/new.txt')).toMatchObject({ name: 'new.txt', path: '/home/user/new/place/new.txt', type: 'file' });
    expect(await sandbox.files.exists('old.txt')).toBe(false);
    expect(await sandbox.files.read('new/place/new.txt')).toBe('moved');
    expect((await failureOf(sandbox.files.rename('not-there', 'x'))).name).toBe('FileNotFoundError');
  });

  it('remove takes a file, a whole folder, and what is not there', async () => {
    await sh('mkdir -p gone/deep && touch gone/deep/file gone-file');
    await sandbox.files.remove('gone');
    await sandbox.files.remove('gone-file');
    await sandbox.files.remove('never-there');
    expect([await sandbox.files.exists('gone'), await sandbox.files.exists('gone-file')]).toEqual([false, false]);
  });

  it('acts for the user that is named: at its home, and what is made is its own; the rights are the platform\'s, as with E2B', async () => {
    for (const [user, home] of [['root', '/root'], ['user', '/home/user']] as const) {
      await sandbox.files.makeDir('made-for', { user });
      expect(await sandbox.files.getInfo('made-for', { user })).toMatchObject({ path: `${home}/made-for`, owner: user, group: user });
    }
    expect((await sandbox.files.list('/root', { user: 'user' })).map(({ path }) => path)).toContain('/root/made-for');
  });
});

describe('watch', () => {
  const seen: FilesystemEvent[] = [];
  const watch = (path: string, options: Parameters<Sandbox['files']['watchDir']>[2] = {}): Promise<WatchHandle> => {
    seen.length = 0;
    return sandbox.files.watchDir(path, (event: FilesystemEvent) => void seen.push(event), { timeoutMs: 0, ...options });
  };
  const sees = (name: string, type: string): Promise<FilesystemEvent> => until(`${type} of ${name}`, () => Promise.resolve(seen.find((event) => event.name === name && String(event.type) === type)));

  it('tells of making, writing, changing rights, renaming and removing', async () => {
    await sandbox.files.makeDir('watched');
    const handle = await watch('watched');
    await sh('cd watched && echo x > file && chmod 600 file && mv file other && rm other');
    for (const [name, type] of [['file', 'create'], ['file', 'write'], ['file', 'chmod'], ['file', 'rename'], ['other', 'create'], ['other', 'remove']] as const) await sees(name, type);
    await handle.stop();
  });

  it('tells of what happens below, also in folders that came later', async () => {
    await sandbox.files.makeDir('deep/there');
    const handle = await watch('deep', { recursive: true });
    await sh('echo x > deep/there/one; mkdir -p deep/later/still; echo y > deep/later/still/two');
    await sees('there/one', 'create');
    await sees('later/still/two', 'create');
    await sh('echo z >> deep/later/still/two');
    await sees('later/still/two', 'write');
    await handle.stop();
  });

  it('tells nothing of what is below unless asked', async () => {
    await sandbox.files.makeDir('flat/below');
    const handle = await watch('flat');
    await sh('touch flat/below/unseen; touch flat/seen');
    await sees('seen', 'create');
    expect(seen.filter(({ name }) => name.includes('unseen'))).toEqual([]);
    await handle.stop();
  });

  it('tells of the entry when asked', async () => {
    await sandbox.files.makeDir('entries');
    const handle = await watch('entries', { includeEntry: true, allowNetworkMounts: true });
    await sandbox.files.write('entries/file', '12345');
    await until('an entry of the file', () => Promise.resolve(seen.find(({ name, entry }) => name === 'file' && entry?.path === '/home/user/entries/file' && entry.size === 5)));
    await sh('rm entries/file');
    expect((await sees('file', 'remove')).entry).toBeUndefined();
    await handle.stop();
  });

  it('hears a write through /files, with no name that nobody wrote', async () => {
    await sandbox.files.makeDir('uploads');
    const handle = await watch('uploads');
    await sandbox.files.write('uploads/file.txt', 'text');
    await sees('file.txt', 'write');
    expect(seen.filter(({ name }) => name !== 'file.txt')).toEqual([]);
    await handle.stop();
  });

  it('ends when stopped, without an error', async () => {
    const ends: (Error | undefined)[] = [];
    await sandbox.files.makeDir('stopped');
    const handle = await watch('stopped', { onExit: (error?: Error) => void ends.push(error) });
    await handle.stop();
    await until('it ended', () => Promise.resolve(ends.length > 0));
    await sh('touch stopped/later');
    expect(seen).toEqual([]);
  });

  it('FileNotFoundError for what is not there, InvalidArgumentError for a file', async () => {
    await sh('touch no-folder');
    expect((await failureOf(watch('not-there'))).name).toMatch(/NotFoundError$/);
    expect((await failureOf(watch('no-folder'))).name).toBe('InvalidArgumentError');
  });
});
