import { createHash } from 'node:crypto';
import { type FileHandle, mkdir, open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { limits, type Secret } from '@alcove/base';
import { type ImageRef, Problem } from '@alcove/contracts';
import { StreamSealer } from '@alcove/vault';
import { PagePacker, type PageRun, packState } from './chunk-packer';
import { compress } from './compress';
import { asStoreProblem, syncFolder } from './durable';
import { encodeEnd } from './image-chunks';
import { checksum, encodePrologue, type ImageHeader } from './image-header';
import { type OpenedChunk, readImage } from './image-reader';
import { mapAhead } from './pipeline';

/** Chunks that are being compressed while one is sealed and written. */
const compressAhead = 3;
export const lastChunkFlag = 0x8000_0000;

export interface ImageContent {
  state: Buffer;
  /** Ascending; ends before the writer is done with them. */
  pages: AsyncIterable<PageRun>;
}

/**
 * Writes a sealed image: under a temporary name, made durable, renamed, and then read back and opened from the first chunk to the last before it is acknowledged. Holds
 * a few MiB at a time. Nothing is left behind when it fails. Problems: `host.disk_full`, `image.corrupt` (what was read back is not what was written).
 */
export function writeImage(path: string, header: ImageHeader, key: Secret<Buffer>, content: ImageContent): Promise<ImageRef> {
  const packer = new PagePacker();
  return writeSealed(path, header, key, compressedChunks(content, packer), () => packer.pages);
}

/**
 * Writes another image's chunks, as openChunks gives them, sealed anew under this header and key, as writeImage does. `pages`: how many they hold; it is verified.
 * Problems as writeImage, and what the source rejects with.
 */
export function resealImage(path: string, header: ImageHeader, key: Secret<Buffer>, chunks: AsyncIterable<OpenedChunk>, pages: number): Promise<ImageRef> {
  return writeSealed(path, header, key, chunks, () => pages);
}

/** `pages` is asked for when all chunks were written. */
async function writeSealed(path: string, header: ImageHeader, key: Secret<Buffer>, chunks: AsyncIterable<OpenedChunk>, pages: () => number): Promise<ImageRef> {
  const partial = `${path}.partial`;
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    const written = await writeFile(partial, header, key, chunks);
    await rename(partial, path);
    await syncFolder(dirname(path));
    const { memoryBytes: _memory, pageBytes: _page, ...named } = header;
    const image: ImageRef = { ...named, bytes: written.bytes, pages: pages(), sha256: written.sha256 };
    await verify(path, image, key);
    return image;
  } catch (error) {
    await Promise.all([rm(partial, { force: true }), rm(path, { force: true })]);
    throw asStoreProblem(error);
  }
}

interface Written {
  bytes: number;
  sha256: string;
}

async function writeFile(path: string, header: ImageHeader, key: Secret<Buffer>, chunks: AsyncIterable<OpenedChunk>): Promise<Written> {
  const file = await open(path, 'wx', 0o600);
  const prologue = encodePrologue(header);
  const sealer = new StreamSealer(key, prologue);
  const sink = new Sink(file);
  try {
    await sink.write([prologue, sealer.preamble, checksum(prologue, sealer.preamble)]);
    let count = 0;
    for await (const { chunk, last } of chunks) {
      if (!last && ++count >= limits.image.chunks) throw new Problem('guest.limit', { detail: 'the image has too many chunks' });
      await sink.writeChunk(sealer.sealParts(chunk, last), last);
    }
    await file.sync();
    return { bytes: sink.bytes, sha256: sink.digest() };
  } finally {
    sealer.close();
    await file.close();
  }
}

async function* compressedChunks(content: ImageContent, packer: PagePacker): AsyncGenerator<OpenedChunk> {
  for await (const chunk of mapAhead(plainChunks(content, packer), compressAhead, compress)) yield { chunk, last: false };
  const end = encodeEnd({ stateBytes: content.state.length, pages: packer.pages, zeroPages: packer.zeroPages });
  yield { chunk: await compress(end), last: true };
}

async function* plainChunks(content: ImageContent, packer: PagePacker): AsyncGenerator<Buffer> {
  yield* packState(content.state);
  for await (const run of content.pages) yield* packer.add(run);
  yield* packer.finish();
}

/** Writes and counts and hashes what it has written. */
class Sink {
  readonly #file: FileHandle;
  readonly #hash = createHash('sha256');
  bytes = 0;
  constructor(file: FileHandle) {
    this.#file = file;
  }
  async write(parts: Buffer[]): Promise<void> {
    for (const part of parts) {
      this.#hash.update(part);
      for (let done = 0; done < part.length; ) {
        const { bytesWritten } = await this.#file.write(part, done, part.length - done, this.bytes + done);
        done += bytesWritten;
      }
      this.bytes += part.length;
    }
  }
  writeChunk([ciphertext, tag]: [Buffer, Buffer], last: boolean): Promise<void> {
    const length = Buffer.alloc(4);
    length.writeUInt32LE(((ciphertext.length + tag.length) | (last ? lastChunkFlag : 0)) >>> 0);
    return this.write([length, ciphertext, tag]);
  }
  digest(): string {
    return this.#hash.digest('hex');
  }
}

async function verify(path: string, image: ImageRef, key: Secret<Buffer>): Promise<void> {
  const hash = createHash('sha256');
  let seen = 0;
  for await (const part of readImage(path, image, key, (bytes) => hash.update(bytes))) {
    if (part.kind === 'pages') for (const run of part.runs) seen += run.count;
  }
  if (seen !== image.pages || hash.digest('hex') !== image.sha256) throw new Problem('image.corrupt', { detail: 'what was read back is not what was written' });
}
