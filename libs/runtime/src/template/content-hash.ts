import { createHash } from 'node:crypto';
import { open } from 'node:fs/promises';

const blockBytes = 1 << 20;

/**
 * SHA-256 over a file's content, without its blocks of zeros: for each block of 1 MiB that holds anything else, its index (u64, little-endian) and its bytes; at the
 * end the file's length (u64). Template files are sparse (a blank disk is some GiB of nothing), and hashing zeros would take most of the time.
 */
export async function contentHash(path: string): Promise<{ sha256: string; bytes: number }> {
  const hash = createHash('sha256');
  const file = await open(path, 'r');
  try {
    const { size } = await file.stat();
    const block = Buffer.alloc(blockBytes);
    const zeros = Buffer.alloc(blockBytes);
    const number = Buffer.alloc(8);
    for (let at = 0; at < size; at += blockBytes) {
      const length = Math.min(blockBytes, size - at);
      await readWhole(file, block, length, at);
      if (block.compare(zeros, 0, length, 0, length) === 0) continue;
      number.writeBigUInt64LE(BigInt(at / blockBytes));
      hash.update(number).update(block.subarray(0, length));
    }
    number.writeBigUInt64LE(BigInt(size));
    return { sha256: hash.update(number).digest('hex'), bytes: size };
  } finally {
    await file.close();
  }
}

async function readWhole(file: Awaited<ReturnType<typeof open>>, into: Buffer, length: number, position: number): Promise<void> {
  for (let done = 0; done < length; ) {
    const { bytesRead } = await file.read(into, done, length - done, position + done);
    if (bytesRead === 0) throw new Error('the file became shorter while it was read');
    done += bytesRead;
  }
}
