import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { SurfaceError } from './surface-error';
import { decoded, metadataOf, storeForm } from './upload';

const boundary = 'some-boundary';
const headers = { 'content-type': `multipart/form-data; boundary=${boundary}` };
const part = (path: string, body: Buffer) => Buffer.concat([Buffer.from(`--${boundary}\r\ncontent-disposition: form-data; name="file"; filename="${path}"\r\n\r\n`), body, Buffer.from('\r\n')]);
const end = Buffer.from(`--${boundary}--\r\n`);

/** The bytes in pieces of at most that size. */
function* pieces(bytes: Buffer, size: number): Generator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

it('stores what was sent, however it was cut', async () => {
  const files = fc.array(fc.uint8Array({ maxLength: 500 }).map((bytes) => Buffer.from(bytes)), { minLength: 1, maxLength: 8 });
  await fc.assert(
    fc.asyncProperty(files, fc.integer({ min: 1, max: 400 }), async (bodies, size) => {
      const form = Buffer.concat([...bodies.map((body, i) => part(`/f/${i}`, body)), end]);
      const stored: [string, string][] = [];
      await storeForm(Readable.from(pieces(form, size), { objectMode: false }), headers, '', async (path, bytes) => {
        stored.push([path, (await buffer(bytes)).toString('hex')]);
        return { name: path, path, type: 'file' };
      });
      expect(stored).toEqual(bodies.map((body, i) => [`/f/${i}`, body.toString('hex')]));
    }),
    { numRuns: 50 },
  );
});

it('refuses a torn form in its own words, wherever it was torn', async () => {
  const form = Buffer.concat([part('a', Buffer.alloc(200, 1)), part('b', Buffer.alloc(200, 2)), end]);
  for (let at = 0; at < form.length - 4; at += 7) {
    const torn = storeForm(Readable.from(pieces(form.subarray(0, at), 50), { objectMode: false }), headers, '', async (path, bytes) => {
      await buffer(bytes);
      return { name: path, path, type: 'file' };
    });
    await expect(torn).rejects.toBeInstanceOf(SurfaceError);
  }
});

it('takes no more of a form than there is room for, while a file waits to be stored', async () => {
  let read = 0;
  const form = Readable.from(
    (function* () {
      for (let i = 0; i < 500; i += 1) {
        const piece = part(`f${i}`, Buffer.alloc(50_000, 7));
        read += piece.length;
        yield piece;
      }
      yield end;
    })(),
    { objectMode: false },
  );
  let go = () => undefined as void;
  const gate = new Promise<void>((resolve) => (go = resolve));
  const storing = storeForm(form, headers, '', async (path, bytes) => {
    await gate;
    await buffer(bytes);
    return { name: path, path, type: 'file' };
  });
  for (let round = 0; round < 200; round += 1) await new Promise((next) => setImmediate(next));
  expect(read).toBeLessThan(1 << 20);
  go();
  expect(await storing).toHaveLength(500);
});

it('gives everybody the first failure', async () => {
  const form = Buffer.concat([part('a', Buffer.alloc(10)), part('b', Buffer.alloc(100_000)), end]);
  const stored: string[] = [];
  const storing = storeForm(Readable.from(pieces(form, 1000), { objectMode: false }), headers, '', async (path) => {
    stored.push(path);
    throw new SurfaceError('resource_exhausted', 'no room', 507);
  });
  await expect(storing).rejects.toMatchObject({ status: 507 });
  expect(stored).toEqual(['a']);
});

it('takes metadata of printable ASCII, in all no more than fits', () => {
  expect(metadataOf({ 'x-metadata-a': 'b', host: 'x' })).toEqual({ a: 'b' });
  expect(metadataOf({ host: 'x' })).toBeUndefined();
  for (const bad of [{ 'x-metadata-': 'x' }, { 'x-metadata-a': 'ü' }, { 'x-metadata-a': 'x'.repeat(4096) }]) expect(() => metadataOf(bad)).toThrow(SurfaceError);
});

it('reads no more out of a compressed body than one that is not compressed may have', async () => {
  const bytesMax = 1 << 20;
  const whole = gzipSync(Buffer.alloc(bytesMax));
  expect((await buffer(decoded(Readable.from([whole], { objectMode: false }), 'gzip', bytesMax))).length).toBe(bytesMax);
  const bomb = gzipSync(Buffer.alloc(bytesMax + 1));
  await expect(buffer(decoded(Readable.from([bomb], { objectMode: false }), 'gzip', bytesMax))).rejects.toMatchObject({ code: 'request.too_large' });
});
