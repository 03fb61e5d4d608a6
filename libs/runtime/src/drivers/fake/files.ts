import { posix } from 'node:path';
import { limits } from '@alcove/base';
import { type FileChange, type FileEntry, Problem } from '@alcove/contracts';
import { type FakeUser, fakeUsers, userNamed } from './users';

/** One path of a fake room's disk. `data` is base64 so that a disk is plain JSON; of a symbolic link, where it leads. */
export interface FileNode {
  kind: 'file' | 'directory' | 'symlink';
  mode: string;
  modifiedMs: number;
  data: string;
  /** The user whose it is; `user` unless told, with a group of the same name. */
  owner?: string;
  metadata?: Record<string, string>;
}
export type FileTable = Record<string, FileNode>;

const home = '/home/user';
/** A fake disk is small, so that filling one is quick. */
export const fakeDiskBytes = 64 << 20;
const linksMax = 40;

export function blankFiles(nowMs: number): FileTable {
  const folder = (mode: string, owner?: string): FileNode => ({ kind: 'directory', mode, modifiedMs: nowMs, data: '', ...(owner ? { owner } : {}) });
  const passwd = fakeUsers.map(({ name, uid, gid, home: at }) => `${name}:x:${uid}:${gid}::${at}:/bin/bash\n`).join('');
  const etc = { '/etc': folder('0755', 'root'), '/etc/passwd': { kind: 'file' as const, mode: '0644', modifiedMs: nowMs, data: Buffer.from(passwd).toString('base64'), owner: 'root' } };
  return { '/': folder('0755', 'root'), ...etc, '/home': folder('0755', 'root'), [home]: folder('0755'), '/root': folder('0700', 'root'), '/tmp': folder('1777', 'root') };
}

/** `user`: whose it will be what is made. */
export interface MakeOptions {
  mode?: string;
  makeParents?: boolean;
  user?: FakeUser;
  metadata?: Readonly<Record<string, string>>;
}

export type ChangeListener = (full: string, change: FileChange['change']) => void;

/** The files of one room: the same answers as the guest agent's, with the same codes; only rights there are none. Every change goes through `changed`, and to those who watch. */
export class FakeFiles {
  readonly #watchers = new Set<ChangeListener>();

  constructor(
    private readonly table: FileTable,
    private readonly nowMs: () => number,
    private readonly changed: () => void,
  ) {}

  /** Tells of every change from now on; the result stops it. */
  watch(listener: ChangeListener): () => void {
    this.#watchers.add(listener);
    return () => this.#watchers.delete(listener);
  }
  /** Relative paths start at `cwd`, else at the user's home. */
  resolve(path: string, user?: FakeUser, cwd?: string): string {
    return posix.resolve(cwd ?? user?.home ?? home, path);
  }
  exists(path: string): boolean {
    return this.#find(this.resolve(path)) !== undefined;
  }
  isFolder(path: string): boolean {
    return this.#find(this.resolve(path))?.node.kind === 'directory';
  }
  stat(path: string, follow = false): FileEntry {
    const full = this.resolve(path);
    const place = this.#place(full);
    return this.#entry(posix.basename(full), place, this.#need(place, full), follow);
  }
  read(path: string): { node: FileNode; data: Buffer } {
    const { node } = this.#needReal(this.resolve(path));
    if (node.kind !== 'file') throw new Problem('file.kind', { detail: `${path} is a folder` });
    return { node, data: Buffer.from(node.data, 'base64') };
  }
  /** A part of a file in slices, each as the file is when it is asked for: one that shrinks meanwhile ends early. */
  *slices(path: string, from: number, to: number): Generator<Buffer> {
    let { node, data } = this.read(path);
    for (let at = from; at < to; ) {
      if (this.#needReal(this.resolve(path)).node !== node) ({ node, data } = this.read(path));
      const slice = data.subarray(at, Math.min(to, at + limits.channel.frameBytes));
      if (slice.length === 0) return;
      yield slice;
      at += slice.length;
    }
  }
  write(path: string, data: Buffer, options: MakeOptions): void {
    const full = this.#find(this.resolve(path))?.full ?? this.#place(this.resolve(path));
    const before = this.table[full];
    if (before?.kind === 'directory') throw new Problem('file.kind', { detail: `${path} is a folder` });
    if (this.#used() + data.length > fakeDiskBytes) throw new Problem('file.no_space');
    if (options.makeParents) this.#makeParents(full, options.user);
    this.#needFolder(posix.dirname(full));
    const mode = padMode(options.mode ?? before?.mode ?? '0644');
    this.table[full] = { kind: 'file', mode, modifiedMs: this.nowMs(), data: data.toString('base64'), ...owned(options.user), ...described(options.metadata) };
    if (!before) this.#tell(full, 'create');
    this.#tell(full, 'write');
    this.changed();
  }
  list(path: string, limit: number, look: { depth?: number; follow?: boolean } = {}): { entries: FileEntry[]; truncated: boolean } {
    const full = this.resolve(path);
    const { full: folder } = this.#needReal(full);
    this.#needFolder(folder);
    const depth = look.depth ?? 1;
    const found = this.#below(folder)
      .map(([name, node]) => ({ name, node, parts: relative(folder, name).split('/') }))
      .filter(({ name, parts }) => name !== folder && parts.length <= depth)
      .sort((a, b) => compareParts(a.parts, b.parts));
    return { entries: found.slice(0, limit).map(({ name, node, parts }) => this.#entry(parts.join('/'), name, node, look.follow ?? false)), truncated: found.length > limit };
  }
  /** Refuses to replace what is there. */
  move(from: string, to: string, options: MakeOptions = {}): void {
    const target = this.#place(this.resolve(to));
    this.#need(this.#place(this.resolve(from)), from);
    if (options.makeParents) this.#makeParents(target, options.user);
    this.#needFolder(posix.dirname(target));
    if (this.table[target]) throw new Problem('file.exists');
    this.rename(from, to);
  }
  /** rename(2): a file there is replaced. */
  rename(from: string, to: string): void {
    const source = this.#place(this.resolve(from));
    const target = this.#place(this.resolve(to));
    this.#need(source, from);
    this.#needFolder(posix.dirname(target));
    if (target.startsWith(`${source}/`) || this.table[target]?.kind === 'directory') throw new Problem('file.kind', { detail: 'a folder is there, or it would be in itself' });
    for (const [path, node] of this.#below(source)) {
      delete this.table[path];
      this.table[target + path.slice(source.length)] = node;
    }
    this.#tell(source, 'rename');
    this.#tell(target, 'create');
    this.changed();
  }
  remove(path: string, recursive: boolean): void {
    const full = this.#place(this.resolve(path));
    if (full === '/') throw new Problem('file.denied');
    this.#need(full, path);
    const doomed = this.#below(full);
    if (doomed.length > 1 && !recursive) throw new Problem('file.not_empty');
    for (const [name] of doomed.sort(([a], [b]) => (a < b ? 1 : -1))) {
      delete this.table[name];
      this.#tell(name, 'remove');
    }
    this.changed();
  }
  makeFolder(path: string, options: MakeOptions = {}): void {
    const full = this.#place(this.resolve(path));
    if (this.table[full]) throw new Problem('file.exists');
    this.#makeParents(full, options.user);
    this.#needFolder(posix.dirname(full));
    this.table[full] = { kind: 'directory', mode: padMode(options.mode ?? '0755'), modifiedMs: this.nowMs(), data: '', ...owned(options.user) };
    this.#tell(full, 'create');
    this.changed();
  }
  /** A symbolic link; what it leads to need not be there. */
  link(target: string, path: string, user?: FakeUser): void {
    const full = this.#place(this.resolve(path));
    if (this.table[full]) throw new Problem('file.exists');
    this.#needFolder(posix.dirname(full));
    this.table[full] = { kind: 'symlink', mode: '0777', modifiedMs: this.nowMs(), data: Buffer.from(target).toString('base64'), ...owned(user) };
    this.#tell(full, 'create');
    this.changed();
  }
  changeMode(path: string, mode: string): void {
    if (!/^[0-7]{3,4}$/.test(mode)) throw new Problem('request.invalid', { detail: 'a mode that is not octal' });
    const { full, node } = this.#needReal(this.resolve(path));
    this.table[full] = { ...node, mode: padMode(mode) };
    this.#tell(full, 'chmod');
    this.changed();
  }

  #tell(full: string, change: FileChange['change']): void {
    for (const listener of [...this.#watchers]) listener(full, change);
  }
  /** The path with every link before its last part followed. */
  #place(full: string): string {
    if (full === '/') return full;
    const parent = posix.dirname(full);
    return posix.join(this.#find(parent)?.full ?? parent, posix.basename(full));
  }
  /** What is there once every link was followed. */
  #find(full: string, links = linksMax): { full: string; node: FileNode } | undefined {
    if (full === '/') return { full, node: this.#need(full, full) };
    const parent = this.#find(posix.dirname(full), links);
    const place = parent && posix.join(parent.full, posix.basename(full));
    const node = place === undefined ? undefined : this.table[place];
    if (!parent || place === undefined || !node) return undefined;
    if (node.kind !== 'symlink') return { full: place, node };
    if (links === 0) throw new Problem('guest.io', { detail: 'too many levels of symbolic links' });
    return this.#find(posix.resolve(parent.full, targetOf(node)), links - 1);
  }
  #needReal(full: string): { full: string; node: FileNode } {
    const found = this.#find(full);
    if (!found) throw new Problem('file.not_found', { detail: full });
    return found;
  }
  #need(place: string, told: string): FileNode {
    const node = this.table[place];
    if (!node) throw new Problem('file.not_found', { detail: told });
    return node;
  }
  #needFolder(full: string): void {
    if (this.#needReal(full).node.kind !== 'directory') throw new Problem('file.kind', { detail: `${full} is not a folder` });
  }
  #makeParents(full: string, user?: FakeUser): void {
    const parent = posix.dirname(full);
    if (this.table[parent]) return;
    this.#makeParents(parent, user);
    this.table[parent] = { kind: 'directory', mode: '0755', modifiedMs: this.nowMs(), data: '', ...owned(user) };
    this.#tell(parent, 'create');
  }
  #below(full: string): [string, FileNode][] {
    const prefix = full === '/' ? '/' : `${full}/`;
    return Object.entries(this.table).filter(([name]) => name === full || name.startsWith(prefix));
  }
  #used(): number {
    return Object.values(this.table).reduce((sum, node) => sum + (node.data.length * 3) / 4, 0);
  }
  #entry(name: string, full: string, node: FileNode, follow: boolean): FileEntry {
    const link = node.kind === 'symlink';
    const real = link && follow ? this.#find(full) : undefined;
    const shown = real?.node ?? node;
    const owner = userNamed(shown.owner ?? 'user');
    const target = link ? (follow ? (real?.full ?? posix.resolve(posix.dirname(full), targetOf(node))) : targetOf(node)) : null;
    const size = shown.kind === 'directory' ? 0 : Buffer.byteLength(shown.data, 'base64');
    const ids = { uid: owner.uid, gid: owner.gid, owner: owner.name, group: owner.name };
    return { name, kind: shown.kind, size, mode: shown.mode, modifiedAt: new Date(shown.modifiedMs).toISOString(), ...ids, target, ...(shown.metadata ? { metadata: { ...shown.metadata } } : {}) };
  }
}

function targetOf(node: FileNode): string {
  return Buffer.from(node.data, 'base64').toString();
}

function owned(user: FakeUser | undefined): { owner?: string } {
  return user && user.name !== 'user' ? { owner: user.name } : {};
}

function described(metadata: Readonly<Record<string, string>> | undefined): { metadata?: Record<string, string> } {
  return metadata && Object.keys(metadata).length > 0 ? { metadata: { ...metadata } } : {};
}

/** `full` as seen from `folder`, which is above it. */
export function relative(folder: string, full: string): string {
  return full.slice(folder === '/' ? 1 : folder.length + 1);
}

/** A folder before what is in it, names in the order of their characters. */
function compareParts(a: readonly string[], b: readonly string[]): number {
  for (let at = 0; at < Math.min(a.length, b.length); at += 1) {
    const [mine = '', theirs = ''] = [a[at], b[at]];
    if (mine !== theirs) return mine < theirs ? -1 : 1;
  }
  return a.length - b.length;
}

function padMode(mode: string): string {
  return mode.padStart(4, '0');
}
