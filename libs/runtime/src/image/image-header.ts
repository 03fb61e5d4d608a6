import { createHash } from 'node:crypto';
import { limits } from '@alcove/base';
import { type ImageRef, Problem } from '@alcove/contracts';
import { streamPreambleBytes } from '@alcove/vault';
import { z } from 'zod';

/**
 * The file of a sealed image, version 1. All integers are little-endian.
 *
 *     prologue   'A' 'L' 'C' 'O' 'V' 'E' 'I' 'M' · version u16 · length u16 · header (JSON)
 *     preamble   of the sealed stream (vault): salt and key commitment
 *     checksum   SHA-256 of all before it: tells damage from another's image or another key. It protects nothing: the prologue is bound to every chunk
 *     chunks     length u32 (highest bit: the last one) · sealed bytes
 *
 * The prologue is the sealed stream's associated header. Each chunk is a zstd frame of at most `limits.image.chunkBytes` and its tables (image-chunks.ts).
 */
const magic = Buffer.from('ALCOVEIM', 'latin1');
const formatVersion = 1;
const fixedBytes = magic.length + 4;
const checksumBytes = 32;

/** All that may be read of an image without its key. */
export const ImageHeader = z.strictObject({
  id: z.string().regex(/^img_[0-9a-f]{20}$/),
  roomId: z.string().regex(/^room_[0-9a-f]{20}$/),
  incarnation: z.int().min(1),
  generation: z.int().min(1),
  templateId: z.string().max(64),
  compatibility: z.string().regex(/^[0-9a-f]{64}$/),
  diskState: z.string().max(64),
  /** The guest's memory. */
  memoryBytes: z.int().positive(),
  pageBytes: z.int().positive(),
});
export type ImageHeader = z.infer<typeof ImageHeader>;

/** What comes before the preamble; bound to every chunk. */
export function encodePrologue(header: ImageHeader): Buffer {
  const json = Buffer.from(JSON.stringify(ImageHeader.parse(header)), 'utf8');
  const fixed = Buffer.alloc(fixedBytes);
  magic.copy(fixed);
  fixed.writeUInt16LE(formatVersion, magic.length);
  fixed.writeUInt16LE(json.length, magic.length + 2);
  return Buffer.concat([fixed, json]);
}

export function checksum(prologue: Buffer, preamble: Buffer): Buffer {
  return createHash('sha256').update(prologue).update(preamble).digest();
}

export interface ImageStart {
  header: ImageHeader;
  prologue: Buffer;
  preamble: Buffer;
  /** Where the chunks begin. */
  bytes: number;
}

/**
 * Reads the start of an image from its first bytes (`limits.image.headerBytes` of them, or the whole file when it is shorter). Problem `image.corrupt` when it is not
 * what was written, `image.incompatible` for a version that this program does not know.
 */
export function decodeStart(bytes: Buffer): ImageStart {
  if (bytes.length < fixedBytes || !bytes.subarray(0, magic.length).equals(magic)) throw corrupt('magic');
  const prologueEnd = fixedBytes + bytes.readUInt16LE(magic.length + 2);
  const preambleEnd = prologueEnd + streamPreambleBytes;
  const end = preambleEnd + checksumBytes;
  if (end > limits.image.headerBytes || end > bytes.length) throw corrupt('length');
  const prologue = Buffer.from(bytes.subarray(0, prologueEnd));
  const preamble = Buffer.from(bytes.subarray(prologueEnd, preambleEnd));
  if (!checksum(prologue, preamble).equals(bytes.subarray(preambleEnd, end))) throw corrupt('checksum');
  const version = prologue.readUInt16LE(magic.length);
  if (version !== formatVersion) throw new Problem('image.incompatible', { detail: `an image of format ${version}` });
  return { header: parseHeader(prologue.subarray(fixedBytes)), prologue, preamble, bytes: end };
}

function parseHeader(json: Buffer): ImageHeader {
  try {
    return ImageHeader.parse(JSON.parse(json.toString('utf8')));
  } catch (error) {
    throw new Problem('image.corrupt', { detail: 'the header is not valid', cause: error });
  }
}

/** Refuses an image that is not the one that was asked for: `image.wrong_room`, `image.stale`, `image.incompatible`. */
export function checkHeader(header: ImageHeader, wanted: ImageRef): void {
  if (header.roomId !== wanted.roomId) throw new Problem('image.wrong_room', { detail: `it belongs to ${header.roomId}` });
  if (header.generation !== wanted.generation || header.incarnation !== wanted.incarnation || header.id !== wanted.id) {
    throw new Problem('image.stale', { detail: `it is generation ${header.generation}, asked for was ${wanted.generation}` });
  }
  if (header.compatibility !== wanted.compatibility || header.templateId !== wanted.templateId) throw new Problem('image.incompatible', { detail: 'it names another engine or template' });
  if (header.diskState !== wanted.diskState) throw new Problem('image.disk_mismatch', { detail: 'it names another state of the disk' });
}

function corrupt(what: string): Problem {
  return new Problem('image.corrupt', { detail: `the start of the file is damaged (${what})` });
}
