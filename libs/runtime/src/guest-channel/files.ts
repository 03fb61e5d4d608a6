import type { Readable } from 'node:stream';
import { limits } from '@alcove/base';
import type { FileEntry, FileListQuery, FileReadQuery, FileWriteQuery } from '@alcove/contracts';
import type { FileLook, FileRights } from '../guest-session';
import { ask, converse } from './ask';
import { Deferred } from './deferred';
import type { Fields } from './fields';
import { given } from './given';
import type { Mux } from './mux';
import { onAbort } from './on-abort';
import { beyond, broken } from './problems';
import { StreamDuplex } from './stream-duplex';

type Pair = [string, string | number];

const kinds: readonly FileEntry['kind'][] = ['file', 'directory', 'symlink', 'other'];
const nameBytesMax = 4096;
const ownerBytesMax = 256;
/** 9999-12-31T23:59:59Z: the last time that ISO 8601 writes with four digits. */
const lastMs = 253_402_300_799_000;

/** Whose rights, and whose what is made will be. */
export function rightsFields({ user, owner }: FileRights): Pair[] {
  return [...given('user', user), ...given('owner', owner)];
}

export async function readFile(mux: Mux, query: FileReadQuery, signal: AbortSignal, rights: FileRights = {}): Promise<{ size: number; mode: string; modifiedAt: string; body: Readable }> {
  signal.throwIfAborted();
  const fields: Pair[] = [['svc', 'fileRead'], ['path', query.path], ...given('offset', query.offset), ...given('length', query.length), ...rightsFields(rights)];
  return new Promise((resolve, reject) => {
    let answered = false;
    const onMessage = (message: Fields) => {
      if (answered) throw broken('two answers to one question');
      answered = true;
      resolve({ size: message.integer('size'), mode: decodeMode(message), modifiedAt: decodeTime(message), body });
    };
    const onEnd = () => {
      if (!answered) throw broken('no answer to a question');
    };
    const body = new StreamDuplex(mux, { fields, asked: 'file', signal }, { writable: false, bytesMax: query.length, onMessage, onEnd });
    body.once('error', reject);
  });
}

export type WriteRights = FileRights & { metadata?: Readonly<Record<string, string>> };

export async function writeFile(mux: Mux, query: FileWriteQuery, body: Readable, signal: AbortSignal, rights: WriteRights = {}): Promise<{ size: number }> {
  signal.throwIfAborted();
  const fields: Pair[] = [['svc', 'fileWrite'], ['path', query.path], ...given('mode', query.mode), ...rightsFields({ ...rights, user: rights.user ?? query.user }), ...given('makeParents', query.makeParents)];
  for (const [key, value] of Object.entries(rights.metadata ?? {})) fields.push(['meta', `${key}=${value}`]);
  const written = new Upload(mux, fields, body, signal);
  return { size: await written.size };
}

/** One fileWrite under way. When it fails, the body is destroyed, so that nobody waits for the other. */
class Upload {
  readonly size: Promise<number>;

  constructor(mux: Mux, fields: Pair[], body: Readable, signal: AbortSignal) {
    const written = new Deferred<number>();
    this.size = written.promise;
    let size: number | undefined;
    let unlisten = () => {};
    const stream = mux.open(
      fields,
      {
        answers: 'messages',
        readable: () => undefined,
        message: (message) => {
          if (size !== undefined) throw broken('two answers to one question');
          size = message.integer('size');
        },
        ended: () => {
          if (size === undefined || !stream.hostEnded) throw broken('a file that was written before it was sent');
          unlisten();
          written.resolve(size);
        },
        failed: (error) => {
          unlisten();
          body.destroy();
          written.reject(error);
        },
      },
      'file',
    );
    unlisten = onAbort(signal, (reason) => stream.cancel(reason));
    void send(body, stream);
  }
}

/** Never rejects: a failure of the body cancels the stream, and that fails the write. */
async function send(body: Readable, stream: { send(bytes: Buffer): Promise<void>; end(): void; cancel(error: Error): void }): Promise<void> {
  try {
    for await (const chunk of body) await stream.send(Buffer.from(chunk as Uint8Array));
    stream.end();
  } catch (error) {
    stream.cancel(error as Error);
  }
}

export async function listFiles(mux: Mux, query: FileListQuery, signal: AbortSignal, look: FileLook & { depth?: number } = {}): Promise<{ entries: FileEntry[]; truncated: boolean }> {
  // One more than wanted, to know whether there is more.
  const limit = query.limit + 1;
  const entries: FileEntry[] = [];
  let bytes = 0;
  await converse(
    mux,
    { fields: [['svc', 'fileList'], ['path', query.path], ['limit', limit], ...given('depth', look.depth), ...lookFields(look)], asked: 'file', signal },
    (message) => {
      if (entries.length === limit) throw beyond('a list that is longer than was asked for');
      bytes += message.bytes;
      if (bytes > limits.guest.listBytes) throw beyond('a list of too many bytes');
      entries.push(decodeEntry(message));
    },
    () => undefined,
  );
  return { entries: entries.slice(0, query.limit), truncated: entries.length > query.limit };
}

export function statFile(mux: Mux, path: string, signal: AbortSignal, look: FileLook = {}): Promise<FileEntry> {
  return ask(mux, { fields: [['svc', 'fileStat'], ['path', path], ...lookFields(look)], asked: 'file', signal }, decodeEntry);
}

function lookFields(look: FileLook): Pair[] {
  return [...given('follow', look.follow), ...rightsFields(look)];
}

function decodeEntry(message: Fields): FileEntry {
  const kind = kinds.find((name) => name === message.text('kind', 16));
  if (!kind) throw broken('a file of an unknown kind');
  return {
    name: message.text('name', nameBytesMax),
    kind,
    size: message.integer('size'),
    mode: decodeMode(message),
    modifiedAt: decodeTime(message),
    uid: message.integer('uid'),
    gid: message.integer('gid'),
    target: message.optional('target', nameBytesMax) ?? null,
    owner: message.optional('owner', ownerBytesMax),
    group: message.optional('group', ownerBytesMax),
    metadata: decodeMetadata(message),
  };
}

/** Undefined when the file has none. */
function decodeMetadata(message: Fields): Record<string, string> | undefined {
  if (!message.has('meta')) return undefined;
  const metadata = message.pairs('meta');
  const bytes = Object.entries(metadata).reduce((sum, [key, value]) => sum + Buffer.byteLength(key) + Buffer.byteLength(value), 0);
  // Bytes that are not UTF-8 have become three each.
  if (bytes > 3 * limits.files.metadataBytes) throw broken('too much metadata of a file');
  return metadata;
}

/** Permission bits, as four octal digits. */
function decodeMode(message: Fields): string {
  const mode = message.text('mode', 8);
  if (!/^[0-7]{1,4}$/.test(mode)) throw broken('a mode that is not octal');
  return mode.padStart(4, '0');
}

function decodeTime(message: Fields): string {
  return new Date(Math.min(message.integer('mtimeMs'), lastMs)).toISOString();
}
