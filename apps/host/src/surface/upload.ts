import type { IncomingHttpHeaders } from 'node:http';
import { posix } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { Busboy, type BusboyHeaders, type BusboyInstance } from '@fastify/busboy';
import { limits } from '@alcove/base';
import { FileWriteQuery, isProblem, Problem } from '@alcove/contracts';
import { check, sendJson } from '../http/answer';
import { countedBody, quieted } from '../http/body';
import { storeFile } from '../services/files';
import { checkedName, placeOf, userInAddress } from './accounts';
import type { Call } from './call';
import { SurfaceError } from './surface-error';

interface Written {
  name: string;
  path: string;
  type: 'file';
  metadata?: Record<string, string>;
}

const filesMax = 1024;
const uploadBytesMax = limits.http.fileBytes + limits.http.bodyBytes;
const metadataPrefix = 'x-metadata-';
const metadataKeyBytes = 246;

/** `POST /files?path&username`: one file as the body (`application/octet-stream`), or several as a form, each named by its own path. What is not whole is not there. */
export async function upload(call: Call): Promise<void> {
  const { request, response, query } = call.exchange;
  const type = (request.headers['content-type'] ?? '').split(';', 1)[0]?.trim().toLowerCase() ?? '';
  const user = userInAddress(query);
  checkedName(user);
  const path = query.get('path') ?? '';
  const metadata = metadataOf(request.headers);
  if (Number(request.headers['content-length'] ?? 0) > uploadBytesMax) throw new Problem('request.too_large');
  const body = decoded(request, request.headers['content-encoding']);
  const store = (where: string, bytes: Readable) => write(call, user, where, bytes, metadata);
  if (type === 'multipart/form-data') {
    sendJson(response, 200, await storeForm(body, request.headers, path, store));
  } else if (type === 'application/octet-stream') {
    if (path === '') throw new SurfaceError('invalid_argument', 'path is required');
    sendJson(response, 200, [await store(path, body)]);
  } else throw new SurfaceError('invalid_argument', 'a file comes as multipart/form-data or application/octet-stream', 415);
}

async function write({ guest, signal }: Call, user: string | undefined, where: string, body: Readable, metadata: Record<string, string> | undefined): Promise<Written> {
  const { path, rights } = await placeOf(guest, user, where, signal);
  const order = check(FileWriteQuery, { path });
  await storeFile(guest, order, body, signal, { ...rights, ...(metadata ? { metadata } : {}) }).catch((error: unknown) => {
    if (isProblem(error, 'file.kind')) throw new SurfaceError('invalid_argument', `path '${path}' is a directory`);
    if (isProblem(error, 'file.no_space')) throw new SurfaceError('resource_exhausted', 'not enough disk space available', 507);
    throw error;
  });
  return { name: posix.basename(path), path, type: 'file', ...(metadata ? { metadata } : {}) };
}

/** What `X-Metadata-<key>` headers say; header names come in lower case, and so do the keys. Undefined when there is none. */
export function metadataOf(headers: IncomingHttpHeaders): Record<string, string> | undefined {
  const found: [string, string][] = [];
  let bytes = 0;
  for (const [name, value] of Object.entries(headers)) {
    if (!name.startsWith(metadataPrefix) || value === undefined) continue;
    const key = name.slice(metadataPrefix.length);
    const text = String(value);
    if (key === '' || key.length > metadataKeyBytes) throw new SurfaceError('invalid_argument', `a metadata key has 1…${metadataKeyBytes} characters`);
    if (!/^[\x20-\x7e]*$/.test(text)) throw new SurfaceError('invalid_argument', `the metadata value of ${key} must be printable ASCII`);
    bytes += key.length + text.length;
    found.push([key, text]);
  }
  if (bytes > limits.files.metadataBytes) throw new SurfaceError('invalid_argument', `metadata may have ${limits.files.metadataBytes} bytes in all`);
  return found.length === 0 ? undefined : Object.fromEntries(found);
}

/** The body without its content encoding: so many bytes of it, however small they came. Of a form, what is no file is written nowhere, where it would be counted. */
export function decoded(request: Readable, encoding: string | undefined, bytesMax = uploadBytesMax): Readable {
  const coding = (encoding ?? 'identity').trim().toLowerCase();
  const sent = countedBody(request, bytesMax);
  if (coding === 'identity' || coding === '') return sent;
  if (coding !== 'gzip') throw new SurfaceError('invalid_argument', 'unsupported Content-Encoding: gzip and identity are taken');
  const gunzip = createGunzip();
  pipeline(sent, gunzip).catch(() => undefined);
  return quieted(countedBody(Readable.from(unzipped(gunzip), { objectMode: false }), bytesMax));
}

async function* unzipped(gunzip: Readable): AsyncGenerator<Buffer, void, void> {
  try {
    for await (const chunk of gunzip as AsyncIterable<Buffer>) yield chunk;
  } catch (error) {
    if (String((error as NodeJS.ErrnoException).code).startsWith('Z_')) throw new SurfaceError('invalid_argument', 'the body is not gzip');
    throw error;
  }
}

type Store = (path: string, bytes: Readable) => Promise<Written>;

/** The files of a form, one after the other, each no faster than the room takes it. A part named `file` is a file also without a file name: then the query's path names it. */
export async function storeForm(body: Readable, headers: IncomingHttpHeaders, queryPath: string, store: Store): Promise<Written[]> {
  const form = new Form(openForm(headers), queryPath, store);
  await form.read(body);
  if (form.written.length === 0) throw new SurfaceError('invalid_argument', 'the form has no file: a part named "file" is expected');
  return form.written;
}

function openForm(headers: IncomingHttpHeaders): BusboyInstance {
  try {
    return new Busboy({
      headers: headers as BusboyHeaders,
      preservePath: true,
      // Whatever a file that waits for its turn has buffered stops the parser: it is not to gather a whole form of small files.
      fileHwm: 1,
      isPartAFile: (field) => field === 'file',
      limits: { files: filesMax, fields: 64, fieldSize: 4096, parts: filesMax + 64, headerPairs: 32, headerSize: 16 << 10 },
    });
  } catch {
    throw new SurfaceError('invalid_argument', 'the form has no boundary');
  }
}

class Form {
  readonly written: Written[] = [];
  readonly #files = new Set<Readable>();
  readonly #paths = new Set<string>();
  #storing: Promise<void> = Promise.resolve();
  #failure: unknown;

  constructor(
    private readonly parser: BusboyInstance,
    private readonly queryPath: string,
    private readonly store: Store,
  ) {
    parser.on('file', (_field, file, name) => this.#take(quieted(file), typeof name === 'string' ? name : ''));
    const tooMany = () => this.#fail(new SurfaceError('invalid_argument', `a form may have ${filesMax} files`));
    parser.on('filesLimit', tooMany).on('partsLimit', tooMany);
  }

  /** Resolves when every file is stored; rejects with what went wrong first. */
  async read(body: Readable): Promise<void> {
    await pipeline(body, this.parser).catch((error: unknown) => {
      this.#fail(isProblem(error) || error instanceof SurfaceError || body.errored ? error : new SurfaceError('invalid_argument', 'the form is broken'));
    });
    await this.#storing;
    if (this.#failure !== undefined) throw this.#failure;
  }

  #take(file: Readable, name: string): void {
    this.#files.add(file);
    this.#storing = this.#storing.then(async () => {
      if (this.#failure !== undefined) return;
      try {
        this.written.push(await this.store(this.#pathFor(name), file));
        this.#files.delete(file);
      } catch (error) {
        this.#fail(error);
      }
    });
  }
  #pathFor(name: string): string {
    const path = this.queryPath || name;
    if (path === '') throw new SurfaceError('invalid_argument', 'path is required: as the file name of the part, or in the query');
    if (this.#paths.has(path)) throw new SurfaceError('invalid_argument', `cannot upload multiple files to same path '${path}'`);
    this.#paths.add(path);
    return path;
  }
  /** The first failure ends all: whoever still waits for bytes of the form gets it too. */
  #fail(error: unknown): void {
    this.#failure ??= error;
    for (const file of this.#files) file.destroy(this.#failure as Error);
    this.#files.clear();
    this.parser.destroy(this.#failure as Error);
  }
}
