import { limits } from '@alcove/base';
import { Problem } from '@alcove/contracts';
import { pushVarint, VarintReader } from './varint';

/**
 * What a chunk holds, before it is compressed and sealed: one byte of kind, and then
 *
 *     1 state    a part of the device state
 *     2 pages    table length (varint) · table · contents. The table lists runs of pages: distance from the end of the run before (the first: from page 0) and
 *                `count × 2 + (1 if all its pages are zero)`, both varints. Contents: the pages that are not zero, in the table's order
 *     3 end      bytes of device state, pages in all, zero pages among them (varints). Always the last chunk, alone in it
 */
const kind = { state: 1, pages: 2, end: 3 } as const;

export const pageBytes = 4096;
/** Contents of a chunk: `limits.image.chunkBytes` less its table's share, in whole pages. */
export const pagesPerChunk = limits.image.chunkBytes / pageBytes - 4;
/** No chunk is longer before compression: contents, and at most ten bytes of table per page. */
export const plainChunkBytesMax = limits.image.chunkBytes;

export type ChunkContent =
  | { kind: 'state'; bytes: Buffer }
  | { kind: 'pages'; runs: PageContent[] }
  | { kind: 'end'; totals: ImageTotals };

/** Consecutive pages; `data` is undefined when all are zero. */
export interface PageContent {
  first: number;
  count: number;
  data: Buffer | undefined;
}

export interface ImageTotals {
  stateBytes: number;
  pages: number;
  zeroPages: number;
}

const zeroPage = Buffer.alloc(pageBytes);

export function isZeroPage(data: Buffer, offset: number): boolean {
  return data.compare(zeroPage, 0, pageBytes, offset, offset + pageBytes) === 0;
}

export function encodeState(part: Buffer): Buffer {
  return Buffer.concat([Buffer.from([kind.state]), part]);
}

export function encodeEnd(totals: ImageTotals): Buffer {
  const bytes: number[] = [kind.end];
  pushVarint(bytes, totals.stateBytes);
  pushVarint(bytes, totals.pages);
  pushVarint(bytes, totals.zeroPages);
  return Buffer.from(bytes);
}

/** Encodes runs of pages in ascending order; the caller keeps within `pagesPerChunk` pages that are not zero and the table within reason. */
export function encodePages(runs: readonly PageContent[]): Buffer {
  const table: number[] = [];
  const parts: Buffer[] = [];
  let after = 0;
  for (const run of runs) {
    pushVarint(table, run.first - after);
    pushVarint(table, run.count * 2 + (run.data === undefined ? 1 : 0));
    after = run.first + run.count;
    if (run.data) parts.push(run.data);
  }
  const head: number[] = [kind.pages];
  pushVarint(head, table.length);
  return Buffer.concat([Buffer.from(head), Buffer.from(table), ...parts]);
}

/** Decodes one chunk. Problem `image.corrupt` when it is not whole, not in order or holds more than it says. */
export function decodeChunk(bytes: Buffer): ChunkContent {
  switch (bytes[0]) {
    case kind.state:
      return { kind: 'state', bytes: bytes.subarray(1) };
    case kind.pages:
      return { kind: 'pages', runs: decodePages(bytes.subarray(1)) };
    case kind.end:
      return { kind: 'end', totals: decodeEnd(bytes.subarray(1)) };
    default:
      throw malformed('kind');
  }
}

function decodePages(bytes: Buffer): PageContent[] {
  const head = new VarintReader(bytes);
  const tableBytes = head.next();
  if (tableBytes === undefined || head.at + tableBytes > bytes.length) throw malformed('table');
  const contentsStart = head.at + tableBytes;
  const table = new VarintReader(bytes.subarray(head.at, contentsStart));
  const runs: PageContent[] = [];
  let after = 0;
  let offset = contentsStart;
  while (table.at < tableBytes) {
    const distance = table.next();
    const packed = table.next();
    if (distance === undefined || packed === undefined || packed < 2) throw malformed('table');
    const first = after + distance;
    const count = Math.floor(packed / 2);
    after = first + count;
    if (packed % 2 === 1) {
      runs.push({ first, count, data: undefined });
      continue;
    }
    const end = offset + count * pageBytes;
    if (end > bytes.length) throw malformed('contents');
    runs.push({ first, count, data: bytes.subarray(offset, end) });
    offset = end;
  }
  if (offset !== bytes.length) throw malformed('contents');
  return runs;
}

function decodeEnd(bytes: Buffer): ImageTotals {
  const reader = new VarintReader(bytes);
  const [stateBytes, pages, zeroPages] = [reader.next(), reader.next(), reader.next()];
  if (stateBytes === undefined || pages === undefined || zeroPages === undefined || reader.at !== bytes.length) throw malformed('end');
  return { stateBytes, pages, zeroPages };
}

function malformed(what: string): Problem {
  return new Problem('image.corrupt', { detail: `a chunk is malformed (${what})` });
}
