import { type FileHandle, open, readFile, stat } from 'node:fs/promises';
import { readSync } from 'node:fs';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { assert } from '@alcove/base';
import { Problem } from '@alcove/contracts';
import type { MemoryFigures } from '../../driver';

/** Guest pages on x86-64; the host's are the same size. */
export const pageBytes = 4096;

/** Pages read between two turns of the event loop: 1 MiB, well under a millisecond. */
const slicePages = 256;

/** Where a VMM has the guest's memory mapped. */
export interface Mapping {
  pid: number;
  start: number;
  bytes: number;
}

/** Consecutive pages by number; `data` holds them one after the other. */
export interface PageRun {
  first: number;
  data: Buffer;
}

/** Pages first … first + count - 1. */
interface Span {
  first: number;
  count: number;
}

/** Finds the mapping of the template's memory file in a VMM: the one of that inode and size. Problem `engine.failed` when there is none. */
export async function findMapping(pid: number, memoryFile: string): Promise<Mapping> {
  const [maps, file] = await Promise.all([readFile(`/proc/${pid}/maps`, 'utf8'), stat(memoryFile)]);
  for (const line of maps.split('\n')) {
    // proc(5): address perms offset dev inode pathname
    const [range, , , , inode] = line.split(/\s+/, 6);
    if (inode !== String(file.ino) || range === undefined) continue;
    const [start, end] = range.split('-').map((hex) => Number.parseInt(hex, 16));
    if (start !== undefined && end !== undefined && end - start === file.size) return { pid, start, bytes: end - start };
  }
  throw new Problem('engine.failed', { detail: "the guest's memory is not mapped in its virtual machine" });
}

/**
 * The pages of a private file mapping that differ from the file because they were written: anonymous or swapped ones. In /proc/PID/pagemap that is
 * `(present and not file) or swapped`: bits 63, 61 and 62 (Linux, admin-guide/mm/pagemap).
 */
export async function findPrivatePages(mapping: Mapping): Promise<{ spans: Span[]; pages: number }> {
  const pagemap = await open(`/proc/${mapping.pid}/pagemap`, 'r');
  try {
    const total = mapping.bytes / pageBytes;
    const firstEntry = mapping.start / pageBytes;
    const block = Buffer.alloc(8 * Math.min(total, 65_536));
    const spans: Span[] = [];
    let pages = 0;
    for (let at = 0; at < total; ) {
      const wanted = Math.min(total - at, block.length / 8);
      const { bytesRead } = await pagemap.read(block, 0, wanted * 8, (firstEntry + at) * 8);
      assert(bytesRead === wanted * 8, 'the page map is as long as the mapping');
      pages += collectSpans(block, wanted, at, spans);
      at += wanted;
    }
    return { spans, pages };
  } finally {
    await pagemap.close();
  }
}

function collectSpans(entries: Buffer, count: number, firstPage: number, spans: Span[]): number {
  let last = spans.at(-1);
  let pages = 0;
  for (let index = 0; index < count; index++) {
    const high = entries.readUInt32LE(index * 8 + 4);
    const present = high >>> 31 === 1;
    const swapped = ((high >>> 30) & 1) === 1;
    const file = ((high >>> 29) & 1) === 1;
    if (!swapped && !(present && !file)) continue;
    pages++;
    const page = firstPage + index;
    if (last && last.first + last.count === page) {
      last.count++;
    } else {
      last = { first: page, count: 1 };
      spans.push(last);
    }
  }
  return pages;
}

/**
 * Reads the pages of a stopped guest that differ from its template, in slices of at most 1 MiB, in order. Pages that were written but hold what the template holds
 * are left out (about a hundred always are).
 */
export async function* readDifferentPages(mapping: Mapping, spans: readonly Span[], memoryFile: string): AsyncGenerator<PageRun> {
  const memory = await open(`/proc/${mapping.pid}/mem`, 'r');
  const template = await open(memoryFile, 'r');
  try {
    let sinceTurn = 0;
    for (const slice of slices(spans)) {
      const bytes = slice.count * pageBytes;
      const mine = Buffer.allocUnsafe(bytes);
      const base = Buffer.allocUnsafe(bytes);
      readFully(memory, mine, mapping.start + slice.first * pageBytes);
      readFully(template, base, slice.first * pageBytes);
      yield* differentRuns(slice.first, mine, base);
      sinceTurn += slice.count;
      if (sinceTurn >= slicePages) {
        sinceTurn = 0;
        await nextTurn();
      }
    }
  } finally {
    await Promise.all([memory.close(), template.close()]);
  }
}

function* slices(spans: readonly Span[]): Generator<Span> {
  for (const span of spans) {
    for (let done = 0; done < span.count; done += slicePages) {
      yield { first: span.first + done, count: Math.min(slicePages, span.count - done) };
    }
  }
}

/** Memory and page cache answer without waiting for a device, and a promise for each of some hundred short reads would take longer than the reads. */
function readFully(file: FileHandle, into: Buffer, position: number): void {
  for (let done = 0; done < into.length; ) {
    const read = readSync(file.fd, into, done, into.length - done, position + done);
    if (read === 0) throw new Problem('engine.failed', { detail: "the guest's memory ended early" });
    done += read;
  }
}

function* differentRuns(first: number, mine: Buffer, base: Buffer): Generator<PageRun> {
  const count = mine.length / pageBytes;
  let runStart = -1;
  for (let index = 0; index <= count; index++) {
    const from = index * pageBytes;
    const differs = index < count && mine.compare(base, from, from + pageBytes, from, from + pageBytes) !== 0;
    if (differs && runStart < 0) runStart = index;
    if (!differs && runStart >= 0) {
      yield { first: first + runStart, data: mine.subarray(runStart * pageBytes, from) };
      runStart = -1;
    }
  }
}

/** Writes pages into the memory of a VMM that has not started its guest: the kernel makes just these private. */
export class PageWriter {
  readonly #mapping: Mapping;
  readonly #memory: FileHandle;
  private constructor(mapping: Mapping, memory: FileHandle) {
    this.#mapping = mapping;
    this.#memory = memory;
  }
  static async open(mapping: Mapping): Promise<PageWriter> {
    return new PageWriter(mapping, await open(`/proc/${mapping.pid}/mem`, 'r+'));
  }
  /** Problem `image.corrupt` for pages outside the guest's memory. */
  async write(run: PageRun): Promise<void> {
    const offset = run.first * pageBytes;
    if (run.first < 0 || offset + run.data.length > this.#mapping.bytes) {
      throw new Problem('image.corrupt', { detail: "an image has pages outside the guest's memory" });
    }
    for (let done = 0; done < run.data.length; ) {
      const { bytesWritten } = await this.#memory.write(run.data, done, run.data.length - done, this.#mapping.start + offset + done);
      done += bytesWritten;
    }
  }
  close(): Promise<void> {
    return this.#memory.close();
  }
}

/** What a running VM costs in memory, guest and VMM apart. From /proc/PID/pagemap and smaps_rollup. */
export async function measureMemory(pid: number, memoryFile: string): Promise<MemoryFigures> {
  const mapping = await findMapping(pid, memoryFile);
  const [{ pages }, rollup] = await Promise.all([findPrivatePages(mapping), readFile(`/proc/${pid}/smaps_rollup`, 'utf8')]);
  const kibOf = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(rollup)?.[1] ?? 0);
  const guestPrivateBytes = pages * pageBytes;
  const anonymousBytes = (kibOf('Anonymous') + kibOf('Swap')) * 1024;
  return { guestPrivateBytes, vmmOverheadBytes: Math.max(0, anonymousBytes - guestPrivateBytes) };
}
