import { Readable } from 'node:stream';
import { Problem } from '@alcove/contracts';

/**
 * The same bytes, counted: fails with `request.too_large` beyond the bound, and calls `moved` for each piece. Reads no faster than it is read. Whoever stops
 * reading leaves the rest where it is: a request that is destroyed with its body takes its answer with it.
 */
export function countedBody(body: Readable, bytesMax: number, moved: () => void = () => undefined): Readable {
  return Readable.from(count(body, bytesMax, moved), { objectMode: false });
}

async function* count(body: Readable, bytesMax: number, moved: () => void): AsyncGenerator<Buffer> {
  let bytes = 0;
  for await (const chunk of body.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > bytesMax) throw new Problem('request.too_large');
    moved();
    yield chunk;
  }
}

/**
 * Exactly so many bytes of a body whose length was promised. What a file that grew meanwhile has beyond them is left; a body that ends before them fails with
 * `guest.io`, because whoever was promised more would wait for it for ever.
 */
export function exactBody(body: Readable, bytes: number): Readable {
  return Readable.from(cut(body, bytes), { objectMode: false });
}

async function* cut(body: Readable, bytes: number): AsyncGenerator<Buffer> {
  let left = bytes;
  if (left === 0) return;
  for await (const chunk of body.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    const part = chunk.subarray(0, left);
    left -= part.length;
    yield part;
    if (left === 0) return;
  }
  throw new Problem('guest.io', { detail: `a file ended ${left} bytes before its length` });
}

/** A stream into a guest may fail when nobody listens any more: that must not be the end of this process. */
export function quieted<T extends Readable>(stream: T): T {
  stream.on('error', () => undefined);
  return stream;
}
