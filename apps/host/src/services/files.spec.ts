import { Readable } from 'node:stream';
import { Problem } from '@alcove/contracts';
import { readSmallFile } from './files';

const { signal } = new AbortController();

/** A guest that has one file, or none, and goes on sending for as long as it is read. */
function guestWith(chunks: Iterable<Buffer> | null): { body: Readable; readFile: () => Promise<{ size: number; mode: string; modifiedAt: string; body: Readable }> } {
  const body = Readable.from(chunks ?? [], { objectMode: false });
  return { body, readFile: () => (chunks ? Promise.resolve({ size: 0, mode: '644', modifiedAt: '2026-01-01T00:00:00.000Z', body }) : Promise.reject(new Problem('file.not_found'))) };
}

function* endless(): Generator<Buffer> {
  for (;;) yield Buffer.alloc(1000, 'x');
}

it('reads a small file whole, and knows when there is none', async () => {
  expect(await readSmallFile(guestWith([Buffer.from('zażół'), Buffer.from('ć')]), '/x', 100, signal)).toBe('zażółć');
  expect(await readSmallFile(guestWith(null), '/x', 100, signal)).toBeNull();
});

it('takes no more than the bound, and lets go of a guest that would go on', async () => {
  const guest = guestWith(endless());
  await expect(readSmallFile(guest, '/x', 5000, signal)).rejects.toMatchObject({ code: 'request.too_large' });
  expect(guest.body.destroyed).toBe(true);
});
