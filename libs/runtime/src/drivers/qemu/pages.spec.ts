import { spawnSync } from 'node:child_process';
import { mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { once } from 'node:events';
import { spawn } from 'node:child_process';
import { seededRandom } from '@alcove/base';
import { findMapping, findPrivatePages, pageBytes, type PageRun, PageWriter, readDifferentPages } from './pages';

/**
 * A process that maps a file privately as a VMM does, and writes to the pages that it is told. Python has mmap in its standard library; Node has none.
 */
const mapper = `
import mmap, sys
with open(sys.argv[1], 'rb') as file:
    memory = mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
print('mapped', flush=True)
for line in sys.stdin:
    page, byte = map(int, line.split())
    memory[page * 4096:(page + 1) * 4096] = bytes([byte]) * 4096
    print('written', flush=True)
`;
const hasPython = spawnSync('python3', ['--version']).status === 0;
const wherePython = hasPython ? describe : describe.skip;
const pages = 1024;

wherePython('the pages of a VMM', () => {
  let folder: string;
  let file: string;
  let child: ReturnType<typeof spawn>;
  let pid: number;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'alcove-pages-'));
    file = join(folder, 'mem');
    const handle = await open(file, 'w');
    for (let page = 0; page < pages; page++) await handle.write(Buffer.alloc(pageBytes, page % 251));
    await handle.close();
    child = spawn('python3', ['-c', mapper, file], { stdio: ['pipe', 'pipe', 'inherit'] });
    pid = child.pid as number;
    await said('mapped');
  });
  afterEach(async () => {
    child.kill('SIGKILL');
    await rm(folder, { recursive: true, force: true });
  });

  async function said(word: string): Promise<void> {
    const [text] = (await once(child.stdout as NonNullable<typeof child.stdout>, 'data')) as [Buffer];
    expect(text.toString()).toContain(word);
  }
  async function write(page: number, byte: number): Promise<void> {
    child.stdin?.write(`${page} ${byte}\n`);
    await said('written');
  }
  async function different(): Promise<Map<number, number>> {
    const mapping = await findMapping(pid, file);
    const { spans } = await findPrivatePages(mapping);
    const found = new Map<number, number>();
    for await (const run of readDifferentPages(mapping, spans, file)) {
      for (let at = 0; at < run.data.length; at += pageBytes) found.set(run.first + at / pageBytes, run.data[at] ?? -1);
    }
    return found;
  }

  it('are those that it has written, less those that hold what the file holds', async () => {
    expect(await different()).toEqual(new Map());
    await write(3, 200);
    await write(4, 201);
    await write(1023, 7);
    await write(10, 10);
    expect(await different()).toEqual(new Map([[3, 200], [4, 201], [1023, 7]]));
    const mapping = await findMapping(pid, file);
    expect((await findPrivatePages(mapping)).pages).toBe(4);
  });

  it('can be written from outside, and the file stays as it was', async () => {
    const random = seededRandom(7);
    const mapping = await findMapping(pid, file);
    const writer = await PageWriter.open(mapping);
    const runs: PageRun[] = [5, 100, 900].map((first) => ({ first, data: random.bytes(pageBytes * 3) }));
    for (const run of runs) await writer.write(run);
    await expect(writer.write({ first: pages - 1, data: Buffer.alloc(2 * pageBytes) })).rejects.toMatchObject({ code: 'image.corrupt' });
    await writer.close();
    const found = await different();
    expect([...found.keys()]).toEqual([5, 6, 7, 100, 101, 102, 900, 901, 902]);
    const handle = await open(file, 'r');
    const page = Buffer.alloc(pageBytes);
    await handle.read(page, 0, pageBytes, 5 * pageBytes);
    expect(page.equals(Buffer.alloc(pageBytes, 5))).toBe(true);
    await handle.close();
  });

  it('are not found where the file is not mapped', async () => {
    const other = join(folder, 'other');
    await (await open(other, 'w')).close();
    await expect(findMapping(pid, other)).rejects.toMatchObject({ code: 'engine.failed' });
  });
});
