import { mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Secret, seededRandom } from '@alcove/base';
import { type ImageRef, isProblem, type ProblemCode } from '@alcove/contracts';
import fc from 'fast-check';
import type { PageRun } from './chunk-packer';
import { pageBytes } from './image-chunks';
import type { ImageHeader } from './image-header';
import { type ImagePart, openChunks, readImage } from './image-reader';
import { type ImageContent, resealImage, writeImage } from './image-writer';

const seed = 20_261_120;
const key = new Secret(Buffer.alloc(32, 5));
const header: ImageHeader = {
  id: `img_${'a'.repeat(20)}`,
  roomId: `room_${'b'.repeat(20)}`,
  incarnation: 3,
  generation: 7,
  templateId: `tpl_${'c'.repeat(20)}`,
  compatibility: 'd'.repeat(64),
  diskState: `ds_${'a'.repeat(20)}`,
  memoryBytes: 64 << 20,
  pageBytes,
};

let folder: string;
let path: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'alcove-image-'));
  path = join(folder, header.id);
});
afterEach(() => rm(folder, { recursive: true, force: true }));

describe('a sealed image', () => {
  it('holds what was put in: state, pages and zero pages', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.record({ gap: fc.nat(50), kinds: fc.array(fc.constantFrom('zero', 'text', 'random'), { minLength: 1, maxLength: 20 }) }), { maxLength: 30 }), fc.nat(200_000), async (shape, stateBytes) => {
        const runs = runsOf(shape);
        const state = seededRandom(stateBytes).bytes(stateBytes % 5000);
        await rm(path, { force: true });
        const image = await writeImage(path, header, key, { state, pages: each(runs) });
        const opened = await openAll(image);
        expect(opened.state).toEqual(state);
        expect(opened.pages).toEqual(pagesOf(runs));
        expect(image.pages).toBe(opened.pages.size);
        expect((await readFile(path)).length).toBe(image.bytes);
      }),
      { seed, numRuns: 30 },
    );
  });

  it('takes many chunks, and long state', async () => {
    const state = seededRandom(1).bytes(100_000);
    const long = Buffer.concat(Array.from({ length: 30 }, () => state));
    const runs = Array.from({ length: 40 }, (_, index): PageRun => ({ first: index * 300, data: seededRandom(index).bytes(pageBytes * 3) }));
    const wide: PageRun[] = [{ first: 13_000, data: Buffer.alloc(pageBytes * 700, 'a long run of text. ') }];
    const image = await writeImage(path, header, key, { state: long, pages: each([...runs, ...wide]) });
    const opened = await openAll(image);
    expect(opened.state).toEqual(long);
    expect(opened.pages.size).toBe(40 * 3 + 700);
  });

  it('leaves nothing behind when its content fails', async () => {
    const broken: ImageContent = {
      state: Buffer.alloc(10),
      pages: (async function* () {
        yield { first: 0, data: Buffer.alloc(pageBytes, 1) };
        throw Object.assign(new Error('no space'), { code: 'ENOSPC' });
      })(),
    };
    await expect(writeImage(path, header, key, broken)).rejects.toMatchObject({ code: 'host.disk_full' });
    expect(await readdir(folder)).toEqual([]);
  });
});

async function partsOf(parts: AsyncIterable<ImagePart>): Promise<ImagePart[]> {
  const all: ImagePart[] = [];
  for await (const part of parts) all.push(part);
  return all;
}

describe('an image that is sealed anew', () => {
  const other = new Secret(Buffer.alloc(32, 6));
  const target: ImageHeader = { ...header, id: `img_${'e'.repeat(20)}`, roomId: `room_${'f'.repeat(20)}`, incarnation: 1, generation: 2, diskState: `ds_${'e'.repeat(20)}` };
  const reseal = async (image: ImageRef, pages: number): Promise<ImageRef> => {
    const opened = await openChunks(path, image, key);
    return resealImage(join(folder, target.id), { ...opened.header, ...target }, other, opened.chunks, pages).finally(opened.close);
  };
  const runs = Array.from({ length: 400 }, (_, index): PageRun => ({ first: index * 3, data: seededRandom(index).bytes(pageBytes) }));

  it('holds the same, under another key and another name', async () => {
    const image = await writeImage(path, header, key, { state: Buffer.alloc(70_000, 's'), pages: each(runs) });
    const copy = await reseal(image, image.pages);
    expect(copy).toMatchObject({ id: target.id, roomId: target.roomId, incarnation: 1, generation: 2, pages: image.pages });
    const parts = await partsOf(readImage(join(folder, target.id), copy, other));
    expect(parts).toEqual(await partsOf(readImage(path, image, key)));
    await expect(partsOf(readImage(join(folder, target.id), copy, key))).rejects.toMatchObject({ code: 'image.wrong_key' });
  });

  it('is not made of a damaged one, nor of one that holds another number of pages, and then leaves nothing', async () => {
    const image = await writeImage(path, header, key, { state: Buffer.alloc(10), pages: each(runs) });
    await expect(reseal(image, image.pages + 1)).rejects.toMatchObject({ code: 'image.corrupt' });
    const bytes = await readFile(path);
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 700 * 8, max: bytes.length * 8 - 1 }), async (bit) => {
        const damaged = Buffer.from(bytes);
        damaged[bit >> 3] = (damaged[bit >> 3] ?? 0) ^ (1 << (bit & 7));
        await writeFile(path, damaged);
        await expect(reseal(image, image.pages)).rejects.toMatchObject({ code: 'image.corrupt' });
      }),
      { seed, numRuns: 20 },
    );
    expect(await readdir(folder)).toEqual([header.id]);
  });
});

describe('a sealed image is refused', () => {
  let image: ImageRef;
  let bytes: Buffer;
  beforeEach(async () => {
    const runs = Array.from({ length: 60 }, (_, index): PageRun => ({ first: index * 20, data: seededRandom(index).bytes(pageBytes) }));
    const many = runs.concat({ first: 2000, data: Buffer.alloc(pageBytes * 600, 'text that compresses ') });
    image = await writeImage(path, header, key, { state: Buffer.alloc(4000, 's'), pages: each(many) });
    bytes = await readFile(path);
  });

  it('with any bit flipped', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(bytes.length * 8 - 1), async (bit) => {
        const damaged = Buffer.from(bytes);
        damaged[bit >> 3] = (damaged[bit >> 3] ?? 0) ^ (1 << (bit & 7));
        await writeFile(path, damaged);
        expect(await refusal(image)).toBe('image.corrupt');
      }),
      { seed, numRuns: 40 },
    );
    // Every bit of what stands in front of the chunks.
    for (let bit = 0; bit < 700 * 8; bit += 41) {
      const damaged = Buffer.from(bytes);
      damaged[bit >> 3] = (damaged[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      await writeFile(path, damaged);
      expect(await refusal(image)).toBe('image.corrupt');
    }
  }, 60_000);

  it('cut off anywhere, or with something after its end', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(bytes.length - 1), async (length) => {
        await writeFile(path, bytes);
        await truncate(path, length);
        expect(await refusal(image)).toBe('image.corrupt');
        // Even where somebody has made the reference fit.
        expect(await refusal({ ...image, bytes: length })).toBe('image.corrupt');
      }),
      { seed, numRuns: 40 },
    );
    await writeFile(path, Buffer.concat([bytes, Buffer.from([0])]));
    expect(await refusal(image)).toBe('image.corrupt');
    expect(await refusal({ ...image, bytes: image.bytes + 1 })).toBe('image.corrupt');
  });

  it('when it is not the one that was asked for', async () => {
    const wrong: [Partial<ImageRef>, ProblemCode][] = [
      [{ roomId: `room_${'e'.repeat(20)}` }, 'image.wrong_room'],
      [{ generation: 8 }, 'image.stale'],
      [{ generation: 6 }, 'image.stale'],
      [{ incarnation: 4 }, 'image.stale'],
      [{ id: `img_${'e'.repeat(20)}` }, 'image.stale'],
      [{ compatibility: 'e'.repeat(64) }, 'image.incompatible'],
      [{ templateId: `tpl_${'e'.repeat(20)}` }, 'image.incompatible'],
      [{ diskState: 'ds_other' }, 'image.disk_mismatch'],
    ];
    for (const [change, code] of wrong) expect(await refusal({ ...image, ...change })).toBe(code);
  });

  it('under another key, and when it is not there', async () => {
    expect(await refusal(image, new Secret(Buffer.alloc(32, 6)))).toBe('image.wrong_key');
    await rm(path);
    expect(await refusal(image)).toBe('image.missing');
  });

  it('with another header in front of its chunks, even one with a right checksum', async () => {
    const otherPath = join(folder, 'other');
    const other = await writeImage(otherPath, { ...header, generation: 8 }, key, { state: Buffer.alloc(10), pages: each([]) });
    const otherBytes = await readFile(otherPath);
    const startOf = (file: Buffer) => 12 + file.readUInt16LE(10) + 68 + 32;
    const forged = Buffer.concat([otherBytes.subarray(0, startOf(otherBytes)), bytes.subarray(startOf(bytes))]);
    await writeFile(path, forged);
    expect(await refusal({ ...other, bytes: forged.length })).toBe('image.corrupt');
  });

  async function refusal(wanted: ImageRef, with_: Secret<Buffer> = key): Promise<ProblemCode | 'opened'> {
    try {
      await openAll(wanted, with_);
      return 'opened';
    } catch (error) {
      if (isProblem(error)) return error.code;
      throw error;
    }
  }
});

async function openAll(image: ImageRef, with_: Secret<Buffer> = key): Promise<{ state: Buffer; pages: Map<number, string> }> {
  const state: Buffer[] = [];
  const pages = new Map<number, string>();
  for await (const part of readImage(path, image, with_)) {
    if (part.kind === 'state') state.push(part.bytes);
    else
      for (const run of part.runs) {
        for (let index = 0; index < run.count; index++) {
          const data = run.data?.subarray(index * pageBytes, (index + 1) * pageBytes) ?? Buffer.alloc(pageBytes);
          pages.set(run.first + index, data.toString('latin1'));
        }
      }
  }
  return { state: Buffer.concat(state), pages };
}

async function* each(runs: PageRun[]): AsyncGenerator<PageRun> {
  yield* runs;
}

function runsOf(shape: { gap: number; kinds: string[] }[]): PageRun[] {
  const runs: PageRun[] = [];
  let next = 0;
  for (const { gap, kinds } of shape) {
    const first = next + gap + 1;
    const pages = kinds.map((kind, index) => {
      if (kind === 'zero') return Buffer.alloc(pageBytes);
      return kind === 'text' ? Buffer.alloc(pageBytes, `page ${first + index} `) : seededRandom(first + index).bytes(pageBytes);
    });
    runs.push({ first, data: Buffer.concat(pages) });
    next = first + kinds.length;
  }
  return runs;
}

function pagesOf(runs: PageRun[]): Map<number, string> {
  const pages = new Map<number, string>();
  for (const run of runs) {
    for (let at = 0; at < run.data.length; at += pageBytes) pages.set(run.first + at / pageBytes, run.data.subarray(at, at + pageBytes).toString('latin1'));
  }
  return pages;
}
