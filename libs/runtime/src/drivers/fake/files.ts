import { posix } from 'node:path';
import { limits } from '@alcove/base';
import { Problem, type FileEntry } from '@alcove/contracts';

/** One path of a fake room's disk. `data` is base64 so that a disk is plain JSON. */
export interface FileNode {
  kind: 'file' | 'directory';
  mode: string;
  modifiedMs: number;
  data: string;
}
export type FileTable = Record<string, FileNode>;

const home = '/home/user';
/** A fake disk is small, so that filling one is quick. */
export const fakeDiskBytes = 64 << 20;

export function blankFiles(nowMs: number): FileTable {
  const folder = (): FileNode => ({ kind: 'directory', mode: '0755', modifiedMs: nowMs, data: '' });
  return { '/': folder(), '/home': folder(), [home]: folder(), '/tmp': folder() };
}

/** The files of one room: the same answers as the guest agent's, with the same codes. Every change goes through `changed`. */
export class FakeFiles {
  constructor(
    private readonly table: FileTable,
    private readonly nowMs: () => number,
    private readonly changed: () => void,
  ) {}

  resolve(path: string): string {
    const full = posix.resolve(home, path);
    return full;
  }
  stat(path: string): FileEntry {
    const full = this.resolve(path);
    return this.#entry(full, this.#need(full));
  }
  read(path: string): { node: FileNode; data: Buffer } {
    const node = this.#need(this.resolve(path));
    if (node.kind !== 'file') throw new Problem('file.kind', { detail: `${path} is a folder` });
    return { node, data: Buffer.from(node.data, 'base64') };
  }
  /** A part of a file in slices, each as the file is when it is asked for: one that shrinks meanwhile ends early. */
  *slices(path: string, from: number, to: number): Generator<Buffer> {
    let { node, data } = this.read(path);
    for (let at = from; at < to; ) {
      if (this.#need(this.resolve(path)) !== node) ({ node, data } = this.read(path));
      const slice = data.subarray(at, Math.min(to, at + limits.channel.frameBytes));
      if (slice.length === 0) return;
      yield slice;
      at += slice.length;
    }
  }
  write(path: string, data: Buffer, options: { mode?: string; makeParents: boolean }): void {
    const full = this.resolve(path);
    if (this.table[full]?.kind === 'directory') throw new Problem('file.kind', { detail: `${path} is a folder` });
    if (this.#used() + data.length > fakeDiskBytes) throw new Problem('file.no_space');
    if (options.makeParents) this.#makeParents(full);
    this.#needFolder(posix.dirname(full));
    this.table[full] = { kind: 'file', mode: padMode(options.mode ?? '0644'), modifiedMs: this.nowMs(), data: data.toString('base64') };
    this.changed();
  }
  list(path: string, limit: number): { entries: FileEntry[]; truncated: boolean } {
    const full = this.resolve(path);
    this.#needFolder(full);
    const children = Object.entries(this.table)
      .filter(([name]) => name !== '/' && posix.dirname(name) === full)
      .sort(([a], [b]) => (a < b ? -1 : 1));
    return { entries: children.slice(0, limit).map(([name, node]) => this.#entry(name, node)), truncated: children.length > limit };
  }
  move(from: string, to: string): void {
    const source = this.resolve(from);
    const target = this.resolve(to);
    this.#need(source);
    this.#needFolder(posix.dirname(target));
    if (this.table[target]) throw new Problem('file.exists');
    if (target.startsWith(`${source}/`)) throw new Problem('file.kind', { detail: 'a folder cannot move into itself' });
    for (const [path, node] of this.#below(source)) {
      delete this.table[path];
      this.table[target + path.slice(source.length)] = node;
    }
    this.changed();
  }
  remove(path: string, recursive: boolean): void {
    const full = this.resolve(path);
    if (full === '/') throw new Problem('file.denied');
    this.#need(full);
    const doomed = this.#below(full);
    if (doomed.length > 1 && !recursive) throw new Problem('file.not_empty');
    for (const [name] of doomed) delete this.table[name];
    this.changed();
  }
  makeFolder(path: string, mode?: string): void {
    const full = this.resolve(path);
    if (this.table[full]) throw new Problem('file.exists');
    this.#needFolder(posix.dirname(full));
    this.table[full] = { kind: 'directory', mode: padMode(mode ?? '0755'), modifiedMs: this.nowMs(), data: '' };
    this.changed();
  }

  #need(full: string): FileNode {
    const node = this.table[full];
    if (!node) throw new Problem('file.not_found', { detail: full });
    return node;
  }
  #needFolder(full: string): void {
    if (this.#need(full).kind !== 'directory') throw new Problem('file.kind', { detail: `${full} is not a folder` });
  }
  #makeParents(full: string): void {
    const parent = posix.dirname(full);
    if (this.table[parent]) return;
    this.#makeParents(parent);
    this.table[parent] = { kind: 'directory', mode: '0755', modifiedMs: this.nowMs(), data: '' };
  }
  #below(full: string): [string, FileNode][] {
    return Object.entries(this.table).filter(([name]) => name === full || name.startsWith(`${full}/`));
  }
  #used(): number {
    return Object.values(this.table).reduce((sum, node) => sum + (node.data.length * 3) / 4, 0);
  }
  #entry(full: string, node: FileNode): FileEntry {
    const size = node.kind === 'file' ? Buffer.byteLength(node.data, 'base64') : 0;
    return { name: posix.basename(full), kind: node.kind, size, mode: node.mode, modifiedAt: new Date(node.modifiedMs).toISOString(), uid: 1000, gid: 1000, target: null };
  }
}

function padMode(mode: string): string {
  return mode.padStart(4, '0');
}
