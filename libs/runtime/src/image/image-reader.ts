import { createHash } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import { errorCode, limits, type Secret } from '@alcove/base';
import { type ImageRef, isProblem, Problem } from '@alcove/contracts';
import { streamChunkOverheadBytes, StreamOpener } from '@alcove/vault';
import { decompress } from './compress';
import { type ChunkContent, decodeChunk, type ImageTotals, type PageContent } from './image-chunks';
import { checkHeader, decodeStart, type ImageHeader, type ImageStart } from './image-header';
import { mapAhead } from './pipeline';

const decompressAhead = 3;
const lastChunkFlag = 0x8000_0000;
/** A zstd frame of bytes that do not compress is a little longer than they are (zstd.h, ZSTD_COMPRESSBOUND). */
const sealedChunkBytesMax = limits.image.chunkBytes + (limits.image.chunkBytes >>> 8) + 1024 + streamChunkOverheadBytes;

export type ImagePart = { kind: 'state'; bytes: Buffer } | { kind: 'pages'; runs: PageContent[] };

/**
 * Opens a sealed image and yields what it holds, in order, a chunk at a time: device state first, then pages. What is yielded is authentic, but the image is whole only
 * when the generator has ended. Problems: `image.missing`, `image.corrupt`, `image.wrong_room`, `image.stale`, `image.incompatible`, `image.disk_mismatch`,
 * `image.wrong_key`. `onBytes` sees every byte of the file.
 */
export async function* readImage(path: string, wanted: ImageRef, key: Secret<Buffer>, onBytes?: (bytes: Buffer) => void): AsyncGenerator<ImagePart> {
  const { header, chunks, close } = await openChunks(path, wanted, key, onBytes);
  const totals: ImageTotals = { stateBytes: 0, pages: 0, zeroPages: 0 };
  let ended = false;
  try {
    for await (const content of mapAhead(chunks, decompressAhead, ({ chunk }) => decompress(chunk))) {
      const part = decodeChunk(content);
      if (ended) throw new Problem('image.corrupt', { detail: 'there is something after its end' });
      count(part, totals, header);
      if (part.kind === 'end') ended = true;
      else yield part;
    }
    if (!ended) throw new Problem('image.corrupt', { detail: 'its end is missing' });
  } finally {
    await close();
  }
}

/** A chunk as it was before it was sealed: compressed. */
export interface OpenedChunk {
  chunk: Buffer;
  last: boolean;
}

export interface OpenedImage {
  header: ImageHeader;
  /** Each is authentic; they are all there are when the generator has ended. */
  chunks: AsyncGenerator<OpenedChunk>;
  /** To be called in any case; again does nothing. */
  close(): Promise<void>;
}

/** Opens a sealed image without looking into its chunks. Problems as readImage. */
export async function openChunks(path: string, wanted: ImageRef, key: Secret<Buffer>, onBytes?: (bytes: Buffer) => void): Promise<OpenedImage> {
  const file = await openImage(path);
  try {
    const { size } = await file.stat();
    const start = await readStart(file, size);
    checkHeader(start.header, wanted);
    if (!StreamOpener.fits(key, start.preamble)) throw new Problem('image.wrong_key', { detail: 'it was sealed with another key' });
    if (size !== wanted.bytes) throw new Problem('image.corrupt', { detail: `it has ${size} bytes of ${wanted.bytes}` });
    onBytes?.(await readAt(file, 0, start.bytes));
    const opener = new StreamOpener(key, start.prologue, start.preamble);
    const close = (): Promise<void> => {
      opener.close();
      return file.close();
    };
    return { header: start.header, chunks: openedChunks(file, start.bytes, size, opener, onBytes), close };
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** Reads only what needs no key. Problems as readImage. */
export async function readImageStart(path: string): Promise<ImageStart & { fileBytes: number }> {
  const file = await openImage(path);
  try {
    const { size } = await file.stat();
    return { ...(await readStart(file, size)), fileBytes: size };
  } finally {
    await file.close();
  }
}

async function openImage(path: string): Promise<FileHandle> {
  try {
    return await open(path, 'r');
  } catch (error) {
    if (errorCode(error) === 'ENOENT') throw new Problem('image.missing', { detail: 'there is no such image on this host', cause: error });
    throw error;
  }
}

async function readStart(file: FileHandle, size: number): Promise<ImageStart> {
  return decodeStart(await readAt(file, 0, Math.min(size, limits.image.headerBytes)));
}

async function readAt(file: FileHandle, position: number, length: number): Promise<Buffer> {
  const bytes = Buffer.allocUnsafe(length);
  for (let done = 0; done < length; ) {
    const { bytesRead } = await file.read(bytes, done, length - done, position + done);
    if (bytesRead === 0) throw new Problem('image.corrupt', { detail: 'it ends early' });
    done += bytesRead;
  }
  return bytes;
}

/** Reads and opens chunk after chunk. The stream's own final mark decides where it ends; what stands after it is refused. */
async function* openedChunks(file: FileHandle, from: number, size: number, opener: StreamOpener, onBytes?: (bytes: Buffer) => void): AsyncGenerator<OpenedChunk> {
  let at = from;
  try {
    for (let index = 0; !opener.finished; index++) {
      if (index >= limits.image.chunks) throw new Problem('image.corrupt', { detail: 'it has too many chunks' });
      if (at + 4 > size) throw new Problem('image.corrupt', { detail: 'its end is missing' });
      const head = await readAt(file, at, 4);
      const word = head.readUInt32LE();
      const last = word >= lastChunkFlag;
      const length = last ? word - lastChunkFlag : word;
      if (length > sealedChunkBytesMax || at + 4 + length > size) throw new Problem('image.corrupt', { detail: 'a chunk is longer than it can be' });
      const sealed = await readAt(file, at + 4, length);
      onBytes?.(head);
      onBytes?.(sealed);
      at += 4 + length;
      yield { chunk: opener.open(sealed, last), last };
    }
    if (at !== size) throw new Problem('image.corrupt', { detail: 'there is something after its end' });
  } catch (error) {
    throw isProblem(error, 'vault.corrupt') ? new Problem('image.corrupt', { detail: error.detail ?? 'it does not open', cause: error }) : error;
  }
}

/** Counts what an image holds against its limits and, at the end, against what it says itself. */
function count(part: ChunkContent, totals: ImageTotals, header: ImageHeader): void {
  if (part.kind === 'state') {
    totals.stateBytes += part.bytes.length;
    if (totals.stateBytes > limits.image.deviceStateBytes) throw new Problem('image.corrupt', { detail: 'too much device state' });
    return;
  }
  if (part.kind === 'pages') {
    const pagesMax = header.memoryBytes / header.pageBytes;
    for (const run of part.runs) {
      if (run.first + run.count > pagesMax) throw new Problem('image.corrupt', { detail: "it has pages outside the guest's memory" });
      totals.pages += run.count;
      if (run.data === undefined) totals.zeroPages += run.count;
    }
    return;
  }
  const same = part.totals.stateBytes === totals.stateBytes && part.totals.pages === totals.pages && part.totals.zeroPages === totals.zeroPages;
  if (!same) throw new Problem('image.corrupt', { detail: 'it does not hold what it says' });
}

/** SHA-256 of a file, as the image's reference has it. */
export async function hashOf(path: string): Promise<string> {
  const file = await openImage(path);
  const hash = createHash('sha256');
  try {
    for await (const part of file.createReadStream({ autoClose: false })) hash.update(part as Buffer);
    return hash.digest('hex');
  } finally {
    await file.close();
  }
}
