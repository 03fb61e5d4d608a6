import { limits } from '@alcove/base';
import { encodePages, encodeState, isZeroPage, pageBytes, type PageContent, pagesPerChunk } from './image-chunks';

/** Runs in one chunk's table: bounds its size where every other page is written. */
const runsPerChunk = 1500;

/** Consecutive pages as they come from a guest. */
export interface PageRun {
  first: number;
  data: Buffer;
}

export function* packState(state: Buffer): Generator<Buffer> {
  const part = limits.image.chunkBytes / 2;
  for (let at = 0; at < state.length; at += part) yield encodeState(state.subarray(at, at + part));
}

/** Gathers page runs, given in ascending order, into chunks of about 1 MiB; pages of zeros are only counted. */
export class PagePacker {
  #runs: PageContent[] = [];
  #filled = 0;
  pages = 0;
  zeroPages = 0;

  /** Chunks that became full by adding this run. */
  *add(run: PageRun): Generator<Buffer> {
    const count = run.data.length / pageBytes;
    for (let index = 0; index < count; ) {
      const zero = isZeroPage(run.data, index * pageBytes);
      let end = index + 1;
      const room = zero ? count : index + pagesPerChunk - this.#filled;
      while (end < count && end < room && isZeroPage(run.data, end * pageBytes) === zero) end++;
      this.#append(run.first + index, end - index, zero ? undefined : run.data.subarray(index * pageBytes, end * pageBytes));
      if (this.#filled >= pagesPerChunk || this.#runs.length >= runsPerChunk) yield this.#take();
      index = end;
    }
  }

  /** What is left, if anything. */
  *finish(): Generator<Buffer> {
    if (this.#runs.length > 0) yield this.#take();
  }

  #append(first: number, count: number, data: Buffer | undefined): void {
    this.#runs.push({ first, count, data });
    this.pages += count;
    if (data) this.#filled += count;
    else this.zeroPages += count;
  }

  #take(): Buffer {
    const chunk = encodePages(this.#runs);
    this.#runs = [];
    this.#filled = 0;
    return chunk;
  }
}
