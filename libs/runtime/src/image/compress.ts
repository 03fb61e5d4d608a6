import { promisify } from 'node:util';
import { constants, zstdCompress, zstdDecompress } from 'node:zlib';
import { Problem } from '@alcove/contracts';
import { plainChunkBytesMax } from './image-chunks';

const compressAsync = promisify(zstdCompress);
const decompressAsync = promisify(zstdDecompress);

/** zstd (RFC 8878) at level 1, in Node's thread pool: the event loop goes on. */
export function compress(chunk: Buffer): Promise<Buffer> {
  return compressAsync(chunk, { params: { [constants.ZSTD_c_compressionLevel]: 1 } });
}

/** Problem `image.corrupt` when it is not a zstd frame or becomes longer than a chunk can be. */
export async function decompress(compressed: Buffer): Promise<Buffer> {
  try {
    return await decompressAsync(compressed, { maxOutputLength: plainChunkBytesMax });
  } catch (error) {
    throw new Problem('image.corrupt', { detail: 'a chunk does not decompress', cause: error });
  }
}
