import type { FileEntry } from '@alcove/contracts';
import { entryInfo, permissions } from './entries';

const entry: FileEntry = { name: 'x', kind: 'file', size: 2 ** 40, mode: '0644', modifiedAt: '2026-01-01T00:00:00.000Z', uid: 1000, gid: 7, target: null };

it.each<[FileEntry['kind'], number, string]>([
  ['file', 0o644, '-rw-r--r--'],
  ['directory', 0o755, 'drwxr-xr-x'],
  ['directory', 0o1777, 'dtrwxrwxrwx'],
  ['symlink', 0o777, 'Lrwxrwxrwx'],
  ['file', 0o4755, 'urwxr-xr-x'],
])('%s %o is %s', (kind, mode, text) => expect(permissions(kind, mode)).toBe(text));

it('is JSON as proto3 writes it', () => {
  expect(entryInfo(entry, '/a/x')).toEqual({
    name: 'x', type: 'FILE_TYPE_FILE', path: '/a/x', size: '1099511627776', mode: 0o644, permissions: '-rw-r--r--', owner: '1000', group: '7', modifiedTime: '2026-01-01T00:00:00.000Z',
  });
  expect(entryInfo({ ...entry, owner: 'user', group: 'user', target: '/b', metadata: { a: 'b' }, mode: '1777' }, '/a/x')).toMatchObject({ owner: 'user', symlinkTarget: '/b', metadata: { a: 'b' }, mode: 0o777 });
  expect(entryInfo({ ...entry, metadata: {} }, '/a/x')).not.toHaveProperty('metadata');
});
