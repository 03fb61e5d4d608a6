import { type LuksHeader, luksHeaderBytes, luksKeyMaterialOffset } from './luks';

/**
 * The layout of a blank, encrypted qcow2 file (QEMU, docs/interop/qcow2.rst, version 3). All integers are big-endian. Clusters:
 *
 *     0  header and its extension · 1  refcount table · 2  refcount block · 3 …  LUKS header · then the L1 table
 *
 * It names no backing file: who opens it gives one, so a store can be moved.
 */
const clusterBits = 16;
export const clusterBytes = 1 << clusterBits;
const headerBytes = 104;
const luksExtension = 0x0537be77;
const cryptLuks = 2;
const refcountOrder = 4; // 16-bit counts

const refcountTableCluster = 1;
const refcountBlockCluster = 2;
const luksCluster = 3;
const luksClusters = Math.ceil(luksHeaderBytes / clusterBytes);
const l1Cluster = luksCluster + luksClusters;

/** What an L2 table covers: one cluster of 8-byte entries. */
const bytesPerL1Entry = clusterBytes * (clusterBytes / 8);

export interface Piece {
  offset: number;
  data: Buffer;
}

/** The pieces of a blank disk of this virtual size that are not zero, and the file's length. */
export function layOutBlankDisk(virtualBytes: number, luks: LuksHeader): { pieces: Piece[]; fileBytes: number } {
  const l1Entries = Math.ceil(virtualBytes / bytesPerL1Entry);
  const l1Clusters = Math.max(1, Math.ceil((l1Entries * 8) / clusterBytes));
  const clusters = l1Cluster + l1Clusters;
  return {
    fileBytes: clusters * clusterBytes,
    pieces: [
      { offset: 0, data: encodeHeader(virtualBytes, l1Entries) },
      { offset: refcountTableCluster * clusterBytes, data: encodeU64(refcountBlockCluster * clusterBytes) },
      { offset: refcountBlockCluster * clusterBytes, data: encodeRefcounts(clusters) },
      { offset: luksCluster * clusterBytes, data: luks.head },
      { offset: luksCluster * clusterBytes + luksKeyMaterialOffset, data: luks.keyMaterial },
    ],
  };
}

function encodeHeader(virtualBytes: number, l1Entries: number): Buffer {
  const header = Buffer.alloc(headerBytes + 8 + 16 + 8);
  header.write('QFI\xfb', 0, 'latin1');
  header.writeUInt32BE(3, 4);
  header.writeUInt32BE(clusterBits, 20);
  header.writeBigUInt64BE(BigInt(virtualBytes), 24);
  header.writeUInt32BE(cryptLuks, 32);
  header.writeUInt32BE(l1Entries, 36);
  header.writeBigUInt64BE(BigInt(l1Cluster * clusterBytes), 40);
  header.writeBigUInt64BE(BigInt(refcountTableCluster * clusterBytes), 48);
  header.writeUInt32BE(1, 56);
  header.writeUInt32BE(refcountOrder, 96);
  header.writeUInt32BE(headerBytes, 100);
  // The one extension: where the encryption header stands. The zeros after it end the list.
  header.writeUInt32BE(luksExtension, headerBytes);
  header.writeUInt32BE(16, headerBytes + 4);
  header.writeBigUInt64BE(BigInt(luksCluster * clusterBytes), headerBytes + 8);
  header.writeBigUInt64BE(BigInt(luksHeaderBytes), headerBytes + 16);
  return header;
}

/** True for a header, of 104 bytes or more, that is not of this layout or makes its reader open other files: a backing file, or one for the data (an incompatible feature; ours has none). */
export function namesOtherFiles(header: Buffer): boolean {
  const ours = header.subarray(0, 4).equals(Buffer.from('QFI\xfb', 'latin1')) && header.readUInt32BE(4) === 3;
  return !ours || header.readBigUInt64BE(8) !== 0n || header.readBigUInt64BE(72) !== 0n;
}

function encodeU64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(value));
  return bytes;
}

/** Every cluster of the blank file is used once. */
function encodeRefcounts(clusters: number): Buffer {
  const counts = Buffer.alloc(clusters * 2);
  for (let index = 0; index < clusters; index++) counts.writeUInt16BE(1, index * 2);
  return counts;
}
