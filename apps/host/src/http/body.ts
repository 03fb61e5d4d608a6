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

/** A stream into a guest may fail when nobody listens any more: that must not be the end of this process. */
export function quieted<T extends Readable>(stream: T): T {
  stream.on('error', () => undefined);
  return stream;
}
