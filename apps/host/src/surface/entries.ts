import { posix } from 'node:path';
import type { FileChange, FileEntry } from '@alcove/contracts';

/** filesystem.EntryInfo in the JSON of proto3: a 64-bit number is a string, a time is RFC 3339. */
export interface EntryInfo {
  name: string;
  type: 'FILE_TYPE_FILE' | 'FILE_TYPE_DIRECTORY' | 'FILE_TYPE_SYMLINK' | 'FILE_TYPE_UNSPECIFIED';
  path: string;
  size: string;
  mode: number;
  permissions: string;
  owner: string;
  group: string;
  modifiedTime: string;
  symlinkTarget?: string;
  metadata?: Record<string, string>;
}

const types = { file: 'FILE_TYPE_FILE', directory: 'FILE_TYPE_DIRECTORY', symlink: 'FILE_TYPE_SYMLINK', other: 'FILE_TYPE_UNSPECIFIED' } as const;
const letters = { file: '', directory: 'd', symlink: 'L', other: '?' } as const;

/** What a listing says of an entry. `path` is absolute. */
export function entryInfo(entry: FileEntry, path: string): EntryInfo {
  const mode = Number.parseInt(entry.mode, 8);
  const { metadata } = entry;
  return {
    name: posix.basename(path),
    type: types[entry.kind],
    path,
    size: String(entry.size),
    mode: mode & 0o777,
    permissions: permissions(entry.kind, mode),
    owner: entry.owner ?? String(entry.uid),
    group: entry.group ?? String(entry.gid),
    modifiedTime: entry.modifiedAt,
    ...(entry.target === null ? {} : { symlinkTarget: entry.target }),
    ...(metadata === undefined || Object.keys(metadata).length === 0 ? {} : { metadata }),
  };
}

/** As Go's fs.FileMode writes it, because that is what E2B's callers read: `drwxr-xr-x`, `-rw-r--r--`, `dtrwxrwxrwx`. */
export function permissions(kind: FileEntry['kind'], mode: number): string {
  const special = `${letters[kind]}${mode & 0o4000 ? 'u' : ''}${mode & 0o2000 ? 'g' : ''}${mode & 0o1000 ? 't' : ''}`;
  const bits = [...'rwxrwxrwx'].map((letter, i) => (mode & (0o400 >> i) ? letter : '-')).join('');
  return (special === '' ? '-' : special) + bits;
}

export function eventType(change: FileChange['change']): string {
  return `EVENT_TYPE_${change.toUpperCase()}`;
}
